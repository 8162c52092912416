//! Changes that find the reserve short: which of them wait, for what, and how long.
//!
//! Merged tables, with their records, come to the reserve by a flush. So a change that lacks some looks at these first:
//!
//! ```text
//!   the reserve ─────────────────────── has enough ──> the change goes on
//!   with all kept, and its own batch ── has enough ──> they leave; the batch is due, and its flush brings them
//!   with those that others flush ────── has enough ──> the change waits: each step is a look, until they are there
//!   else ────────────────────────────────────────────> it is refused; the kept tables stay where they are
//! ```
//!
//! The third line is for the time between the emptying of the quarantine and the return of its tables, which are in
//! the batch of another CPU then: a change that comes meanwhile is not refused for what is there a moment later.
//!
//! **A wait ends.** The flush waited for may be that of the very code that an interrupt handler has interrupted, and
//! comes only when the handler's change has been refused. So a change looks [`LOOKS`] times in all, and begins at most
//! [`WAITS`] waits, because others may take what a wait has brought.

use rhumb_pagetable::TableMemory;

use crate::batch::Batch;
use crate::error::ChangeError;
use crate::map::DirectMap;
use crate::rules::Rules;
use crate::survey::SplitList;

/// Waits that one change begins, each with a flush of its own or of others: one for the record of its claim, one for
/// its tables, and as many again.
const WAITS: u8 = 4;

/// Looks of all waits of a change. Between two looks its CPU serves calls, in 0.1 us at least: so they last for 1 to 2
/// ms, and a flush of a thousand CPUs for less.
const LOOKS: u32 = 1 << 14;

/// Tables and records that a change lacks.
#[derive(Clone, Copy, Debug)]
struct Lack {
    /// Pages to be split.
    splits: u64,
    /// Those of them whose own tables are not kept.
    tables: u64,
    /// Records besides those of the tables.
    records: u64,
}

/// How much longer a change may wait, and for what it waits now.
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
    /// Tells whether the work, which is to split `splits` and takes `records` more, waits for tables.
    ///
    /// # Errors
    /// [`ChangeError::OutOfTables`], [`ChangeError::OutOfRecords`]: there are too few, or it has waited enough.
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

    /// Tells whether a change that waits goes on waiting: one look, of which it has a bounded number.
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

    /// Returns why a change that waits cannot go on as things are.
    pub(crate) fn waited_for(&self, patience: &Patience) -> Option<ChangeError> {
        patience.lack.and_then(|lack| self.provide(lack.tables, lack.records).err())
    }

    /// Tells whether the reserve has enough as soon as the batch is flushed, with all kept tables in it.
    const fn is_at_hand(&self, lack: Lack, batch: &Batch) -> bool {
        let more = self.quarantine.kept() + batch.tables();
        more > 0 && self.has_with(lack, more)
    }

    /// Tells whether the reserve has enough as soon as the batches of others are flushed, too.
    const fn is_under_way(&self, lack: Lack, batch: &Batch) -> bool {
        let more = self.quarantine.tables();
        more > self.quarantine.kept() + batch.tables() && self.has_with(lack, more)
    }

    /// Tells whether the reserve has enough with `more` tables, those that are kept of the blocks themselves among
    /// them. Each has its record.
    const fn has_with(&self, lack: Lack, more: u64) -> bool {
        let reserve = self.reserve();
        reserve.tables + more >= lack.splits && reserve.records + more >= lack.splits + lack.records
    }
}
