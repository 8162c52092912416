//! [`DirectMap`]: the map while the system runs, its holds, and the steps that every change is made of.
//!
//! # Holds
//! A change returns a [`Hold`]: the frames are its holder's until it gives them back with [`DirectMap::restore`]. No
//! other owner can change them meanwhile. Restoring makes them ordinary and merges every large page that nothing keeps
//! split any more, up to 1 GiB; it needs nothing, so it cannot fail: the tables that are in use are those that it gives
//! back.
//!
//! A large page is kept split by the *edges* of holds, and by nothing else. So a hold that covers a large page whole
//! never splits it, and one that is as large as possible is best: two that adjoin share no large page: to give one of
//! them back, the page would have to be split again, which takes a table, and restoring takes none.
//!
//! # Locking
//! None: `&mut self` is the one writer (I8). The tables that the map writes, those at levels 1 to 3 below its address
//! range, have no other holder.

use rhumb_machine::{Block, PageSize, Pfn, PfnRange, VirtAddr, impossible};
use rhumb_pagetable::{CachedAs, Levels, PageCounts, Root, TableChain, TableMemory};

use crate::address_range::address_range;
use crate::batch::Batch;
use crate::error::ChangeError;
use crate::journal::Journal;
use crate::map_id::MapId;
use crate::planted::{self, Fault};
use crate::quarantine::{KEPT_MAX, Quarantine};
use crate::records::{At, Cause, Handle, HoldId, HoldRecord, SplitId};
use crate::rules::Rules;
use crate::state::{Presence, State};
use crate::tree::Tree;

/// The map as boot has built it.
#[derive(Clone, Copy, Debug)]
pub struct BootMap {
    /// The tree that it is in.
    pub root: Root,
    /// The virtual address of physical address 0.
    pub base: VirtAddr,
    /// The largest page that the CPU has.
    pub largest: PageSize,
    /// Its pages: [`crate::Built::pages`].
    pub pages: PageCounts,
    /// A random number that no owner can know: it keeps the journal's tree flat against owners that pick their frames.
    pub seed: u64,
    /// The machine whose CPUs walk it: its [`identity`](rhumb_machine::Machine::identity).
    pub machine: u32,
}

/// How often what was done, since boot.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// 2-MiB pages split.
    pub level2_splits: u64,
    /// 1-GiB pages split.
    pub level3_splits: u64,
    /// 2-MiB pages merged.
    pub level2_collapses: u64,
    /// 1-GiB pages merged.
    pub level3_collapses: u64,
    /// Splits that took back the table of the block's last merge.
    pub tables_taken_back: u64,
    /// Changes made.
    pub changes: u64,
    /// Changes restored.
    pub restores: u64,
    /// Changes refused.
    pub refusals: u64,
}

/// Frames whose state in the map is their holder's to decide, until given back to [`DirectMap::restore`]. The handle is
/// good for the map that it came from, and refused by others.
///
/// Dropping it leaves the frames as they are, permanently: the journal goes on naming the owner. To do so on purpose,
/// and have it back some day, use [`DirectMap::leave`] and [`DirectMap::adopt`].
#[must_use = "the frames stay changed until the handle is given to `DirectMap::restore`"]
#[derive(Debug)]
pub struct Hold {
    pub(crate) map: MapId,
    pub(crate) frames: PfnRange,
    /// `None` where the frames are ordinary: the change changed nothing, or was restored.
    pub(crate) hold: Option<HoldId>,
}

impl Hold {
    /// Returns the frames.
    pub const fn frames(&self) -> PfnRange {
        self.frames
    }

    /// Tells whether the frames differ from ordinary ones at all, or are pinned.
    pub const fn is_in_force(&self) -> bool {
        self.hold.is_some()
    }
}

/// The direct map of a running system. See the module.
#[derive(Debug)]
pub struct DirectMap<T: TableMemory, R: Rules> {
    pub(crate) tree: Tree<T>,
    pub(crate) rules: R,
    pub(crate) journal: Journal,
    pub(crate) reserve: TableChain,
    /// Merged tables that CPUs may still walk.
    pub(crate) quarantine: Quarantine,
    pub(crate) largest: PageSize,
    /// The machine whose CPUs walk it.
    pub(crate) machine: u32,
    pub(crate) counters: Counters,
    /// Goes up with whatever is done to the map: two looks with the same number between them see one state.
    pub(crate) edits: u64,
}

impl<T: TableMemory, R: Rules> DirectMap<T, R> {
    /// Takes over the map that boot has built. From now on no other code writes its tables. The reserve is empty.
    ///
    /// # Panics
    /// If the program has made 2^32 - 1 maps already: no number is left to tell this one's handles by.
    pub fn new(boot_map: BootMap, memory: T, rules: R) -> Self {
        let BootMap { root, base, largest, pages, seed, machine } = boot_map;
        let end = address_range(root.levels).end();
        let frames = if base < end { end.since(base) >> 12 } else { 0 };
        Self {
            tree: Tree { memory, root, base, frames, pages },
            rules,
            journal: Journal::new(largest, seed),
            reserve: TableChain::new(),
            quarantine: Quarantine::new(),
            largest,
            machine,
            counters: Counters::default(),
            edits: 0,
        }
    }

    /// Returns the tables, for reading.
    pub const fn memory(&self) -> &T {
        &self.tree.memory
    }

    /// Returns the tables' memory, for writing tables that are not the map's.
    ///
    /// # Safety
    /// The caller writes no table of this map, and the entries that it writes into other tables map no memory in a way
    /// that the memory's holder does not expect.
    ///
    /// ```compile_fail,E0133
    /// # use rhumb_directmap::{DirectMap, Rules};
    /// # use rhumb_machine::Pfn;
    /// # use rhumb_pagetable::{Entry, TableMemory};
    /// fn behind_its_back<T: TableMemory, R: Rules>(map: &mut DirectMap<T, R>, table: Pfn) {
    ///     map.memory_mut().write(table, 0, Entry::EMPTY);
    /// }
    /// ```
    #[expect(unsafe_code, reason = "the caller can write any table")]
    pub const unsafe fn memory_mut(&mut self) -> &mut T {
        &mut self.tree.memory
    }

    /// Returns how deep the tables are.
    pub const fn levels(&self) -> Levels {
        self.tree.root.levels
    }

    /// Counts a change that was made or refused.
    pub(crate) fn note<H>(&mut self, result: Result<H, ChangeError>) -> Result<H, ChangeError> {
        match result {
            Ok(_) => self.counters.changes += 1,
            Err(_) => self.counters.refusals += 1,
        }
        result
    }

    pub(crate) fn open(
        &mut self,
        frames: PfnRange,
        state: State,
        pinned: Option<PageSize>,
        handle: Handle,
        cause: Cause,
        at: At,
    ) -> Option<HoldId> {
        let hold =
            HoldRecord { frames, state, pinned, handle, cause, at, splits: None, left: None, right: None };
        self.journal.open(hold)
    }

    /// Splits a page: with the table of the block's last merge, if it is kept, else with a table and a record that the
    /// reserve was found to have.
    ///
    /// # Panics
    /// If the reserve has no table. The survey has counted wrong then, and to go on would change the rest of the large
    /// page, whose frames other holders use.
    pub(crate) fn split(&mut self, block: Block, holder: HoldId) {
        if !self.split_again(block, holder) {
            let Some(table) = self.reserve.pop(&mut self.tree.memory) else {
                panic!("the reserve has no table for a split that was provided for");
            };
            self.tree.split(block, table);
            self.journal.open_split(block, table, holder);
        }
        match block.size() {
            PageSize::Size1G => self.counters.level3_splits += 1,
            _ => self.counters.level2_splits += 1,
        }
        self.rules.note_split(block, || self.journal.hold(holder).map(|hold| hold.cause));
    }

    /// Splits a page with the table of the block's last merge, if it is kept.
    fn split_again(&mut self, block: Block, holder: HoldId) -> bool {
        let Some(id) = self.quarantine.take(block) else { return false };
        let Some(table) = self.journal.split(id).map(|split| split.table) else {
            return impossible!("a kept table has a record" => false);
        };
        self.tree.split_again(block, table);
        if planted::is(Fault::TableInTwoPlaces) {
            self.quarantine.keep(block, id);
        }
        self.journal.charge(id, holder);
        self.counters.tables_taken_back += 1;
        true
    }

    /// Gives `frames` the entries of `new`, as far as `budget` goes, and takes from it; returns where it has stopped.
    pub(crate) fn set_pages(
        &mut self,
        frames: PfnRange,
        old: State,
        new: State,
        budget: &mut u64,
        batch: &mut Batch,
    ) -> Pfn {
        if old.cache != new.cache {
            batch.add_cache_change();
        }
        if old.presence == Presence::Absent && new.presence == Presence::Absent {
            return frames.end();
        }
        let unflushed = match (old.is_ordinary(), new.is_ordinary()) {
            (true, _) => Fault::ChangeUnflushed,
            (false, false) => Fault::AlterUnflushed,
            (false, true) => Fault::RestoreUnflushed,
        };
        let cached = self.release_tables_of(frames, batch);
        if planted::is(unflushed) {
            return self.tree.set(frames, new, cached, budget, &mut Batch::new());
        }
        self.tree.set(frames, new, cached, budget, batch)
    }

    /// Has the kept tables of all blocks in `frames`, whose pages are about to be set, leave with the batch: they say
    /// what the pages said until now. Returns how CPUs may have cached the pages. Once for each step of a change: a
    /// table that is leaving leaves no second time.
    fn release_tables_of(&mut self, frames: PfnRange, batch: &mut Batch) -> CachedAs {
        if planted::is(Fault::OldTableKept) {
            return CachedAs::Smallest;
        }
        let cached = self.quarantine.release_in(frames, |table| batch.add_merged(&mut self.journal, table));
        if planted::is(Fault::SmallPagesForgotten) { CachedAs::Mapped } else { cached }
    }

    /// Has all kept tables leave with the batch, whose flush drops everything on every CPU: they go to the reserve with
    /// it. Returns how many. For when the reserve is low, and for a quiet moment: a split that comes after it fills a
    /// table anew.
    ///
    /// # Panics
    /// If the batch is another map's.
    ///
    /// Cost: a look at a record for each of them, 64 at most.
    pub fn empty_quarantine(&mut self, batch: &mut Batch) -> u64 {
        batch.demand(self.journal.map);
        self.edits += 1;
        let before = self.quarantine.kept();
        let all = PfnRange::below(Pfn::new(u64::MAX));
        self.quarantine.release_in(all, |table| batch.add_merged(&mut self.journal, table));
        before - self.quarantine.kept()
    }

    /// Charges each split of a list without a hold to a hold that keeps its block split, or makes the block
    /// whole: 2 MiB first, 1 GiB after that.
    pub(crate) fn place(&mut self, splits: Option<SplitId>, batch: &mut Batch) {
        let mut large = splits;
        let mut huge = None;
        let later = if planted::is(Fault::LargestFirst) { PageSize::Size2M } else { PageSize::Size1G };
        while let Some(id) = large {
            let Some(split) = self.journal.split(id).copied() else {
                impossible!("a split of a list has a record");
                break;
            };
            large = split.next;
            if split.block.size() == later {
                self.journal.set_next(id, huge);
                huge = Some(id);
            } else {
                self.place_one(id, batch);
            }
        }
        while let Some(id) = huge {
            huge = self.journal.split(id).and_then(|split| split.next);
            self.place_one(id, batch);
        }
    }

    fn place_one(&mut self, id: SplitId, batch: &mut Batch) {
        let Some(split) = self.journal.split(id).copied() else {
            return impossible!("a split of a list has a record");
        };
        match self.journal.breaker(split.block) {
            Some(holder) => self.journal.charge(id, holder),
            None => {
                self.merge(split.block, split.table);
                self.keep(id, split.block, batch);
            }
        }
    }

    /// Keeps a merged table until it is wanted again, or a flush frees it with many others. Where as many are kept as
    /// may be, all of them leave with the batch first.
    fn keep(&mut self, id: SplitId, block: Block, batch: &mut Batch) {
        if self.quarantine.kept() == KEPT_MAX as u64 {
            self.empty_quarantine(batch);
        }
        if !self.quarantine.keep(block, id) {
            self.send_off(id, block, batch);
        }
    }

    /// Has a merged table leave with the batch.
    pub(crate) fn send_off(&mut self, id: SplitId, block: Block, batch: &mut Batch) {
        self.quarantine.add_leaving(block, id);
        batch.add_merged(&mut self.journal, id);
    }

    /// Makes a block whole whose pages are alike. The table is to be kept, or to leave.
    pub(crate) fn merge(&mut self, block: Block, table: Pfn) {
        self.tree.merge(block, table);
        match block.size() {
            PageSize::Size1G => self.counters.level3_collapses += 1,
            _ => self.counters.level2_collapses += 1,
        }
        self.rules.note_merge(block);
    }

    pub(crate) const fn out_of_records(&self) -> ChangeError {
        ChangeError::OutOfRecords { needed: 1, left: self.journal.available() }
    }
}
