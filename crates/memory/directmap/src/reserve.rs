//! The supply of changes: tables and records, set aside beforehand by the map's user; and owners.
//!
//! Only [`DirectMap::refill`] and [`DirectMap::add_record_page`] bring in memory, and neither is called by a change: no
//! change waits for memory, and no allocation waits for a change (I10).

use rhumb_machine::impossible;
use rhumb_pagetable::{ENTRIES, Entry, OutOfTables, TableMemory, TableSource};

use crate::error::ChangeError;
use crate::limits::Limits;
use crate::map::DirectMap;
use crate::records::{At, OwnerId, OwnerName};
use crate::rules::Rules;
use crate::slots::RecordPage;

/// Tables and records: those that are there, or those that a change takes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Reserve {
    /// Frames for page tables.
    pub tables: u64,
    /// Records of the journal.
    pub records: u64,
}

impl<T: TableMemory, R: Rules> DirectMap<T, R> {
    /// Returns the level of the reserve.
    pub const fn reserve(&self) -> Reserve {
        Reserve { tables: self.reserve.len(), records: self.journal.available() }
    }

    /// Takes tables from `source` until the reserve has `tables`.
    ///
    /// # Errors
    /// [`OutOfTables`] where the source runs out; the tables that it gave stay in the reserve.
    ///
    /// # Safety
    /// The tables of `source` lie in this map's memory: its numbers mean the frames that the map writes.
    ///
    /// ```compile_fail,E0133
    /// # use rhumb_directmap::{DirectMap, Rules};
    /// # use rhumb_pagetable::{TableMemory, TableSource};
    /// fn mixed<T: TableMemory, R: Rules, S: TableSource>(map: &mut DirectMap<T, R>, others: &mut S) {
    ///     let _ = map.refill(1, others); // frames of another machine: their numbers are in use here
    /// }
    /// ```
    #[expect(unsafe_code, reason = "the numbers of frames say nothing of the machine that they are of")]
    pub unsafe fn refill<S>(&mut self, tables: u64, source: &mut S) -> Result<(), OutOfTables>
    where
        S: TableSource + ?Sized,
    {
        while self.reserve.len() < tables {
            let table = source.take_zeroed_table()?;
            self.reserve.push(&mut self.tree.memory, table);
        }
        Ok(())
    }

    /// Gives tables back to `source`, zeroed, until the reserve has no more than `keep`.
    ///
    /// Cost: 512 writes for each table.
    ///
    /// # Safety
    /// The tables of this map came from `source`, or from another over the same memory that gives them up to it: those
    /// of [`DirectMap::refill`], and those that boot has built the map of.
    ///
    /// ```compile_fail,E0133
    /// # use rhumb_directmap::{DirectMap, Rules};
    /// # use rhumb_pagetable::{TableMemory, TableSource};
    /// fn mixed<T: TableMemory, R: Rules, S: TableSource>(map: &mut DirectMap<T, R>, others: &mut S) {
    ///     map.drain(0, others); // the tables of one map for another
    /// }
    /// ```
    #[expect(unsafe_code, reason = "the source trusts what comes back")]
    pub unsafe fn drain<S>(&mut self, keep: u64, source: &mut S)
    where
        S: TableSource + ?Sized,
    {
        while self.reserve.len() > keep {
            let Some(table) = self.reserve.pop(&mut self.tree.memory) else {
                return impossible!("a reserve of {} tables has one", self.reserve.len());
            };
            self.tree.memory.write_run(table, 0, Entry::EMPTY, 0, ENTRIES);
            // SAFETY: the caller promises that the map's tables came from this source, or from one that gives them up
            // to it; the table is zero, and was flushed since the map last used it (`reclaim_tables`, I6).
            unsafe { source.give_back(table) };
        }
    }

    /// Adds a page for records. The journal keeps it permanently, and uses records again that are struck out.
    pub fn add_record_page(&mut self, page: &'static mut RecordPage) {
        self.edits += 1;
        self.journal.add_page(page);
    }

    /// Registers an owner with its limits (I11). Takes a record.
    ///
    /// # Errors
    /// [`ChangeError::OutOfRecords`].
    pub fn add_owner(&mut self, name: OwnerName, limits: Limits) -> Result<OwnerId, ChangeError> {
        self.edits += 1;
        let left = self.journal.available();
        self.journal.add_owner(name, limits).ok_or(ChangeError::OutOfRecords { needed: 1, left })
    }

    /// Sets an owner's limits. An owner that is past them keeps its holds, and gets no more.
    ///
    /// # Errors
    /// [`ChangeError::UnknownOwner`], [`ChangeError::OtherMap`].
    pub fn set_limits(&mut self, owner: OwnerId, limits: Limits) -> Result<(), ChangeError> {
        self.journal.known(owner)?;
        self.journal.update_owner(owner, |owner| owner.set_limits(limits));
        Ok(())
    }

    /// Forgets an owner. Its number may be another's then: keep none.
    ///
    /// # Errors
    /// [`ChangeError::OwnerHolds`] while it holds anything; [`ChangeError::TooOften`] while it has not paid for its
    /// changes by its rate, since an owner that is added anew has no debt; [`ChangeError::UnknownOwner`],
    /// [`ChangeError::OtherMap`].
    pub fn remove_owner(&mut self, owner: OwnerId, at: At) -> Result<(), ChangeError> {
        self.edits += 1;
        self.journal.remove_owner(owner, at)
    }
}
