//! Changes that find too few tables or records in the reserve: each waits for a flush that brings them, or is refused.
//!
//! Merged tables, with their records, come to the reserve by a flush. So a change that lacks some looks at those first:
//!
//! ```text
//!   the reserve ──────────────────────────────────── has enough ──> the change goes on
//!   with all kept tables, and those of its batch ─── has enough ──> they leave; the batch is due, and brings them
//!   with those that other CPUs flush ─────────────── has enough ──> the change waits: each step is a look
//!   else ─────────────────────────────────────────────────────────> it is refused; the kept tables stay where they are
//! ```
//!
//! The third line is for a change that comes after another CPU has emptied the quarantine and before the tables are
//! back: they are in that CPU's batch. Without the wait the change would be refused although the tables are in the
//! reserve a moment later.
//!
//! **A wait ends.** An interrupt handler's change may wait for the flush of the very code that the handler has
//! interrupted. That flush comes only after the handler's change has been refused. So a change looks at most [`LOOKS`]
//! times in all. It begins at most [`WAITS`] waits, because other changes may take the tables that a wait has brought.

use rhumb_pagetable::TableMemory;

use crate::batch::Batch;
use crate::error::ChangeError;
use crate::map::DirectMap;
use crate::rules::Rules;
use crate::survey::SplitList;

/// Waits that one change begins at most, each for its own flush or another CPU's: one for the record of its claim, one
/// for its tables, and as many again.
const WAITS: u8 = 4;

/// Looks of all waits of a change together. Two looks are 0.1 us apart at least, because the CPU serves calls in
/// between: so all of them take 1.6 ms or more, and a flush of a thousand CPUs takes less.
const LOOKS: u32 = 1 << 14;

/// Tables and records that a change lacks.
#[derive(Clone, Copy, Debug)]
struct Lack {
    /// Pages to be split.
    splits: u64,
    /// Those of the pages whose own tables are not kept.
    tables: u64,
    /// Records besides those of the tables.
    records: u64,
}

/// The waits and looks that a change has left, and the tables and records for which it waits now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    waits: u8,
    looks: u32,
    lack: Option<Lack>,
}

impl Patience {
    pub(crate) const NEW: Self = Self { waits: WAITS, looks: LOOKS, lack: None };
}

impl<T: TableMemory, R: Rules> DirectMap<T, R> {
    /// Tells whether a change, which is to split `splits` and takes `records` besides, begins to wait for tables.
    ///
    /// # Errors
    /// [`ChangeError::OutOfTables`], [`ChangeError::OutOfRecords`]: no flush would bring enough, or the change has
    /// waited often enough.
    pub(crate) fn waits_for(
        &mut self,
        splits: SplitList,
        records: u64,
        patience: &mut Patience,
        batch: &mut Batch,
    ) -> Result<bool, ChangeError> {
        let tables = self.tables_of(splits);
        let Err(error) = self.provide(tables, records) else { return Ok(false) };
        let lack = Lack { splits: splits.len(), tables, records };
        let Some(waits) = patience.waits.checked_sub(1) else { return Err(error) };
        if self.is_at_hand(lack, batch) {
            self.empty_quarantine(batch);
            batch.ask_for_flush();
        } else if !self.is_under_way(lack, batch) {
            return Err(error);
        }
        (patience.waits, patience.lack) = (waits, Some(lack));
        Ok(true)
    }

    /// Tells whether a change that waits goes on waiting. Takes one of its looks.
    pub(crate) fn waits_on(&self, patience: &mut Patience, batch: &Batch) -> bool {
        let Some(lack) = patience.lack else { return false };
        let is_there = self.provide(lack.tables, lack.records).is_ok() || self.is_at_hand(lack, batch);
        if !is_there && self.is_under_way(lack, batch) {
            match patience.looks.checked_sub(1) {
                Some(looks) => {
                    patience.looks = looks;
                    return true;
                }
                None => patience.waits = 0,
            }
        }
        patience.lack = None;
        false
    }

    /// Returns the error with which a change that waits would be refused now.
    pub(crate) fn waited_for(&self, patience: &Patience) -> Option<ChangeError> {
        patience.lack.and_then(|lack| self.provide(lack.tables, lack.records).err())
    }

    /// Tells whether the reserve will have enough once the change's own batch is flushed, with all kept tables in it.
    const fn is_at_hand(&self, lack: Lack, batch: &Batch) -> bool {
        let more = self.quarantine.kept() + batch.tables();
        more > 0 && self.has_with(lack, more)
    }

    /// Tells whether the reserve will have enough once the batches of other CPUs are flushed, too.
    const fn is_under_way(&self, lack: Lack, batch: &Batch) -> bool {
        let more = self.quarantine.tables();
        more > self.quarantine.kept() + batch.tables() && self.has_with(lack, more)
    }

    /// Tells whether the reserve has enough with `more` tables, each of which brings its record. The kept tables of the
    /// very blocks that are to be split are among them.
    const fn has_with(&self, lack: Lack, more: u64) -> bool {
        let reserve = self.reserve();
        reserve.tables + more >= lack.splits && reserve.records + more >= lack.splits + lack.records
    }
}
