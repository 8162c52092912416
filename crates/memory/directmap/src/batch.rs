//! The flush that changes leave due, and the tables that may be used again only after it (I6).
//!
//! ```text
//!   change, restore ──> Batch { pages to flush, merged tables } ──flush──> FlushedBatch ──reclaim_tables──> reserve
//! ```
//!
//! A merged table comes here when it leaves the [quarantine](crate::quarantine). It keeps its entries until the flush
//! is over: a CPU that still walks it finds in it the very translations of the large page that took its place. So the
//! list of such tables runs through their records, not through the tables.
//!
//! The flush of a batch that has a table drops everything, on lazy CPUs, too: each CPU may hold the entry that referred
//! to the table, which it may walk on speculation, and any of the table's 512 pages, of which none may be left when the
//! map forgets that there may be such.

use rhumb_machine::{CpuWords, Pinned, Tlb};
use rhumb_pagetable::flush::{FlushBatch, Flushed, Rounds, Unflushed, Waiting};

use crate::journal::Journal;
use crate::map_id::{MapId, OtherMap};
use crate::planted::{self, Fault};
use crate::records::SplitId;

/// Tables that nothing refers to any more, but that a CPU may still walk, and the map that they are of.
#[derive(Debug, Default)]
pub struct MergedTables {
    first: Option<SplitId>,
    tables: u64,
    /// The flush is due now.
    is_due: bool,
    pub(crate) map: Option<MapId>,
}

/// The right to let merged tables wait for a batch, which is this module's.
#[derive(Clone, Copy, Debug)]
pub struct MergedTablesKey(());

const KEY: MergedTablesKey = MergedTablesKey(());

impl Waiting for MergedTables {
    type Key = MergedTablesKey;
}

impl MergedTables {
    const NONE: Self = Self { first: None, tables: 0, is_due: false, map: None };

    fn push(&mut self, journal: &mut Journal, id: SplitId) {
        journal.set_next(id, self.first);
        self.first = Some(id);
        self.tables += 1;
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn pop(&mut self, journal: &Journal) -> Option<SplitId> {
        let id = self.first?;
        self.first = journal.split(id)?.next;
        self.tables -= 1;
        Some(id)
    }
}

/// A flushed batch: its tables are on their way to the reserve, and can go no other way.
///
/// ```compile_fail,E0133
/// # use rhumb_directmap::{Batch, DirectMap, Rules};
/// # use rhumb_pagetable::TableMemory;
/// fn reuse<T: TableMemory, R: Rules>(map: &mut DirectMap<T, R>, batch: Batch) {
///     map.reclaim_tables(batch.never_walked()); // a CPU may walk them
/// }
/// ```
///
/// Tables that another machine has flushed, whose CPUs do not walk them, cannot wait for an empty batch of the map's
/// own machine:
///
/// ```compile_fail,E0061
/// # use rhumb_directmap::{Batch, FlushedBatch};
/// # use rhumb_machine::{Machine, Pinned, Tlb};
/// # use rhumb_pagetable::flush::Unflushed;
/// fn launder<M: Tlb>(batch: &mut Batch, other: &M, there: Pinned<'_>, mine: &M, here: Pinned<'_>) -> FlushedBatch {
///     let merged = batch.flush(other, there).redeem(other.identity()).unwrap();
///     Unflushed::new(merged).flush(mine, here)
/// }
/// ```
/// ```compile_fail,E0423
/// # use rhumb_directmap::MergedTables;
/// # use rhumb_directmap::batch::MergedTablesKey;
/// # use rhumb_pagetable::flush::Unflushed;
/// fn wait_anew(merged: MergedTables) -> Unflushed<MergedTables> {
///     Unflushed::new(merged, MergedTablesKey(()))
/// }
/// ```
pub type FlushedBatch = Flushed<MergedTables>;

/// The pages and tables that any number of changes of one map leave behind. One flush does for all of them, and empties
/// the batch. The first map that is given an empty batch is its map, and no other map takes it.
#[must_use = "CPUs go on using the old translations until the batch is flushed"]
#[derive(Debug)]
pub struct Batch(Unflushed<MergedTables>);

impl Batch {
    /// Makes an empty batch.
    pub const fn new() -> Self {
        Self(Unflushed::new(MergedTables::NONE, KEY))
    }

    /// Returns the pages that are to be flushed.
    pub const fn flush_batch(&self) -> &FlushBatch {
        self.0.batch()
    }

    /// Tells whether nothing needs a flush: so after a change that only filled in what was absent.
    pub const fn is_empty(&self) -> bool {
        self.flush_batch().is_empty() && self.tables() == 0
    }

    /// Returns how many tables wait for the flush.
    pub const fn tables(&self) -> u64 {
        self.0.waiting().tables
    }

    /// Tells whether the work that was given the batch goes on only when the batch has been flushed and its tables
    /// reclaimed.
    pub const fn is_due(&self) -> bool {
        self.0.waiting().is_due
    }

    /// Says that the flush is due. Some table waits for it.
    pub(crate) const fn ask_for_flush(&mut self) {
        self.0.waiting_mut(KEY).is_due = true;
    }

    /// Flushes on all CPUs that may hold a translation ([`Tlb::flush_targets`]). The map's lock need not be held.
    ///
    /// Cost: one local flush, one interrupt for each other CPU; nothing where the batch is empty.
    pub fn flush<M>(&mut self, machine: &M, pinned: Pinned<'_>) -> FlushedBatch
    where
        M: Tlb + ?Sized,
    {
        self.0.flush(machine, pinned)
    }

    /// Flushes as [`Batch::flush`] does, or by a round that another CPU makes for several: see [`Unflushed::flush_in`].
    pub fn flush_in<M: Tlb>(
        &mut self,
        rounds: &Rounds,
        machine: &M,
        pinned: Pinned<'_>,
        wait: impl FnMut(),
    ) -> FlushedBatch {
        self.0.flush_in(rounds, machine, pinned, wait)
    }

    /// Flushes on the CPUs of `targets` only.
    ///
    /// # Safety
    /// No other CPU holds a translation of the map, nor walks its tables.
    #[expect(unsafe_code, reason = "claims what the type cannot show")]
    pub unsafe fn flush_on<M>(
        &mut self,
        machine: &M,
        pinned: Pinned<'_>,
        targets: &(impl CpuWords + ?Sized),
    ) -> FlushedBatch
    where
        M: Tlb + ?Sized,
    {
        // SAFETY: the caller promises that no other CPU holds a translation of the map or walks its tables.
        unsafe { self.0.flush_on(machine, pinned, targets) }
    }

    /// Makes the ticket for a map that no CPU walks: one that is being built, or a simulated one.
    ///
    /// # Safety
    /// No CPU holds a translation of the map, nor walks its tables, on speculation included.
    #[expect(unsafe_code, reason = "claims what the type cannot show")]
    pub unsafe fn never_walked(self) -> FlushedBatch {
        // SAFETY: the caller promises that no CPU holds a translation of the map or walks its tables.
        unsafe { self.0.never_walked() }
    }

    /// Makes it the batch of `map`, unless another map has used it.
    pub(crate) fn enter(&mut self, map: MapId) -> Result<(), OtherMap> {
        map.check(*self.0.waiting_mut(KEY).map.get_or_insert(map))
    }

    /// Makes it the batch of `map`, where the caller has no error to answer with.
    ///
    /// # Panics
    /// If another map has used it.
    #[track_caller]
    pub(crate) fn demand(&mut self, map: MapId) {
        map.demand(*self.0.waiting_mut(KEY).map.get_or_insert(map));
    }

    /// Returns the pages to be flushed, for adding more.
    pub(crate) const fn pages_mut(&mut self) -> &mut FlushBatch {
        self.0.batch_mut(KEY)
    }

    /// Has a table wait for the flush, which drops everything everywhere.
    pub(crate) fn add_merged(&mut self, journal: &mut Journal, table: SplitId) {
        self.0.waiting_mut(KEY).push(journal, table);
        if planted::is(Fault::TablesUnflushed) {
            return;
        }
        self.pages_mut().add_everything();
        if !planted::is(Fault::LazyTables) {
            self.pages_mut().refuse_laziness();
        }
    }

    /// Adds a change of cache mode: from the flush on no CPU may read through a translation of the old mode, not even
    /// on speculation. So everything is dropped everywhere, since not all such translations are those of pages that are
    /// in the map now: a CPU that idles may hold one of a page that was taken out before, and a window that was closed
    /// leaves one behind.
    pub(crate) fn add_cache_change(&mut self) {
        if planted::is(Fault::CacheChangeOfPages) {
            return;
        }
        self.pages_mut().add_everything();
        if !planted::is(Fault::LazyCacheChange) {
            self.pages_mut().refuse_laziness();
        }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}
