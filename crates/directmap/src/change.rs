//! [`DirectMap`]: the map while the system runs. Changes, all or nothing, and their undoing, which cannot fail.
//!
//! # The way of a change
//! 1. *Survey*: are all frames RAM in the map, is none held or off limits, which large pages must be cut?
//! 2. *Check*: has the reserve the tables and records, may the owner break so much?
//! 3. *Do*: write down the hold, cut the pages, change the entries. Nothing of this can fail (I7).
//!
//! Nothing is allocated on the way and nothing sleeps: a change may be made with interrupts off. Whoever owns the map
//! refills its reserve beforehand, with the map's lock and nothing else held ([`DirectMap::refill`]).
//!
//! # Holds
//! A change returns a [`Held`]: the frames are its holder's until it gives them back with [`DirectMap::restore`].
//! Nobody else can change them meanwhile. Restoring makes them ordinary and merges every large page that nothing keeps
//! broken any more, up to 1 GiB; it needs nothing, so it cannot fail: the tables that are in use are those that it
//! gives back.
//!
//! A large page is kept broken by the *edges* of holds, and by nothing else. So a hold that covers a large page whole
//! never breaks it, and one that is as large as possible is best: two that adjoin and are alike can be made one
//! ([`DirectMap::join`]). Why two such holds do not share a large page before: to give one of them back, the page would
//! have to be cut again, which takes a table, and restoring takes none.
//!
//! # Flushing
//! Every operation puts into the caller's [`Batch`] what CPUs may have cached. What was true before the operation may
//! be used by a CPU until that batch is flushed, which may happen after the map's lock is released.
//!
//! # Locking
//! None: `&mut self` is the one writer (I8). The tables that the map writes, those at levels 1 to 3 below its window,
//! are nobody else's.

use rhumb_machine::{PageSize, Pfn, PfnRange, VirtAddr};
use rhumb_pagetable::{Levels, PageCounts, Root, TableChain, TableMemory};

use crate::batch::Batch;
use crate::error::ChangeError;
use crate::journal::Journal;
use crate::records::{At, Block, Cause, Handle, Hold, HoldId, SplitId};
use crate::rules::Rules;
use crate::state::{BadChange, Change, State};
use crate::tree::Tree;
use crate::window::window;

/// The map as boot has built it.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// The tree that it stands in.
    pub root: Root,
    /// Where physical address 0 stands.
    pub base: VirtAddr,
    /// The largest page that the CPU has.
    pub largest: PageSize,
    /// Its pages: [`crate::Built::pages`].
    pub pages: PageCounts,
}

/// How often what was done, since boot.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// 2-MiB pages cut.
    pub level2_splits: u64,
    /// 1-GiB pages cut.
    pub level3_splits: u64,
    /// 2-MiB pages made whole.
    pub level2_collapses: u64,
    /// 1-GiB pages made whole.
    pub level3_collapses: u64,
    /// Changes made.
    pub changes: u64,
    /// Changes undone.
    pub restores: u64,
    /// Changes refused.
    pub refusals: u64,
}

/// Frames whose state in the map is their holder's to decide, until given back to [`DirectMap::restore`].
///
/// Dropping it leaves the frames as they are, for ever: the journal goes on naming the owner. To do so on purpose, and
/// have it back some day, use [`DirectMap::leave`] and [`DirectMap::adopt`].
#[must_use = "the frames stay changed until the handle is given to `DirectMap::restore`"]
#[derive(Debug)]
pub struct Held {
    pub(crate) frames: PfnRange,
    /// `None` where the frames are ordinary: the change changed nothing, or was undone.
    pub(crate) hold: Option<HoldId>,
}

impl Held {
    /// The frames.
    pub const fn frames(&self) -> PfnRange {
        self.frames
    }

    /// Whether the frames differ from ordinary ones at all, or are pinned.
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
    pub(crate) largest: PageSize,
    pub(crate) counters: Counters,
}

impl<T: TableMemory, R: Rules> DirectMap<T, R> {
    /// Takes over the map that boot has built. From now on nobody else writes its tables. The reserve is empty.
    pub fn new(standing: Standing, memory: T, rules: R) -> Self {
        let Standing { root, base, largest, pages } = standing;
        let end = window(root.levels).end();
        let frames = if base < end { end.since(base) >> 12 } else { 0 };
        Self {
            tree: Tree { memory, root, base, frames, pages, waiting: 0 },
            rules,
            journal: Journal::new(),
            reserve: TableChain::new(),
            largest,
            counters: Counters::default(),
        }
    }

    /// Changes how `frames` stand in the map: all of them, or none.
    ///
    /// A change that changes nothing succeeds, breaks nothing, and holds nothing. `batch` takes what is to be flushed.
    ///
    /// # Errors
    /// Each says which rule would be broken: a frame that is not RAM in the map, is held or off limits, writable and
    /// executable; an empty reserve; the owner's limit.
    ///
    /// Cost: reads as many entries as it changes; writes one for each page changed, 513 for each large page cut (at
    /// most four); no allocation. Finding its place among `n` holds takes about `2 log2 n` steps.
    pub fn change(
        &mut self,
        frames: PfnRange,
        change: Change,
        cause: Cause,
        at: At,
        batch: &mut Batch,
    ) -> Result<Held, ChangeError> {
        let held = self.try_change(frames, change, cause, at, batch);
        self.note(held)
    }

    /// Keeps `frames` in pages of `size` at most, whatever else would fit, with their attributes as they are.
    ///
    /// # Errors
    /// As [`DirectMap::change`], and where `frames` are not whole pages of `size`, or `size` is the largest there is.
    ///
    /// Cost: 513 writes for each large page cut.
    pub fn pin_small(
        &mut self,
        frames: PfnRange,
        size: PageSize,
        cause: Cause,
        at: At,
        batch: &mut Batch,
    ) -> Result<Held, ChangeError> {
        let held = self.try_pin(frames, size, cause, at, batch);
        self.note(held)
    }

    /// Makes the frames ordinary again and merges all that nothing else keeps broken. Cannot fail.
    ///
    /// The frames can be reached through the map when it returns. Frames that hold a secret are zeroed through a window
    /// first (I5).
    ///
    /// Cost: one write for each page, one for each large page made whole; no allocation.
    pub fn restore(&mut self, held: Held, batch: &mut Batch) {
        if let Some(id) = held.hold {
            self.release(id, batch);
        }
    }

    /// Changes held frames once more. Needs nothing from the reserve.
    ///
    /// Where that makes them ordinary, they are held no longer ([`Held::is_in_force`]): as after a restore.
    ///
    /// # Errors
    /// [`ChangeError::WriteExecute`], [`ChangeError::AlreadyRemoved`], [`ChangeError::Forbidden`],
    /// [`ChangeError::Pinned`], or [`ChangeError::NothingHeld`] where the handle is not in force.
    pub fn alter(&mut self, held: &mut Held, change: Change, batch: &mut Batch) -> Result<(), ChangeError> {
        let altered = self.try_alter(held, change, batch);
        self.note(altered)
    }

    /// The tables, for reading.
    pub const fn memory(&self) -> &T {
        &self.tree.memory
    }

    /// The tables' memory, for whoever writes tables that are not the map's.
    pub const fn memory_mut(&mut self) -> &mut T {
        &mut self.tree.memory
    }

    /// The rules, to change what they know.
    pub const fn rules_mut(&mut self) -> &mut R {
        &mut self.rules
    }

    /// How deep the tables are.
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

    fn try_change(
        &mut self,
        frames: PfnRange,
        change: Change,
        cause: Cause,
        at: At,
        batch: &mut Batch,
    ) -> Result<Held, ChangeError> {
        let state = match State::ORDINARY.after(change) {
            Ok(state) => state,
            Err(_) => return Err(ChangeError::WriteExecute),
        };
        self.survey_change(cause.owner, frames, state)?;
        if state.is_ordinary() {
            return Ok(Held { frames, hold: None });
        }
        let cuts = self.cuts_at([frames.start(), frames.end()]);
        self.afford(cause.owner, cuts.len(), 1)?;
        let Some(hold) = self.open(frames, state, None, cause, at) else { return Err(self.out_of_records()) };
        for block in cuts.iter() {
            self.cut(block, hold, batch);
        }
        self.paint(frames, State::ORDINARY, state, batch);
        Ok(Held { frames, hold: Some(hold) })
    }

    fn try_pin(
        &mut self,
        frames: PfnRange,
        size: PageSize,
        cause: Cause,
        at: At,
        batch: &mut Batch,
    ) -> Result<Held, ChangeError> {
        let cuts = self.survey_pin(frames, size)?;
        self.afford(cause.owner, cuts, 1)?;
        let hold = self.open(frames, State::ORDINARY, Some(size), cause, at);
        let Some(hold) = hold else { return Err(self.out_of_records()) };
        let mut next = frames.start();
        while next < frames.end() {
            let Some((_, found)) = self.tree.end_of_walk(next) else { break };
            if found > size {
                self.cut(Block::around(next, found), hold, batch);
            } else {
                next = Block::around(next, found).end();
            }
        }
        Ok(Held { frames, hold: Some(hold) })
    }

    fn try_alter(&mut self, held: &mut Held, change: Change, batch: &mut Batch) -> Result<(), ChangeError> {
        let id = held.hold.ok_or(ChangeError::NothingHeld)?;
        let hold = *self.journal.hold(id).ok_or(ChangeError::NothingHeld)?;
        let frames = hold.frames;
        if hold.pinned.is_some() {
            return Err(ChangeError::Pinned { frames });
        }
        let next = match hold.state.after(change) {
            Ok(next) => next,
            Err(BadChange::WriteExecute) => return Err(ChangeError::WriteExecute),
            Err(BadChange::AlreadyRemoved) => {
                let owner = self.journal.name_of(hold.cause.owner);
                return Err(ChangeError::AlreadyRemoved { frames, owner });
            }
        };
        if next.is_ordinary() {
            self.release(id, batch);
            held.hold = None;
        } else if next != hold.state {
            self.rules.check(hold.cause.owner, frames, next)?;
            self.paint(frames, hold.state, next, batch);
            self.journal.update_hold(id, |hold| hold.state = next);
        }
        Ok(())
    }

    pub(crate) fn open(
        &mut self,
        frames: PfnRange,
        state: State,
        pinned: Option<PageSize>,
        cause: Cause,
        at: At,
    ) -> Option<HoldId> {
        let handle = Handle::Out;
        let hold = Hold { frames, state, pinned, handle, cause, at, splits: None, left: None, right: None };
        self.journal.open(hold)
    }

    /// Cuts a page, with a table and a record that the reserve was found to have.
    pub(crate) fn cut(&mut self, block: Block, holder: HoldId, batch: &mut Batch) {
        let Some(table) = self.reserve.pop(&mut self.tree.memory) else { return };
        self.tree.cut(block, table, batch);
        self.journal.open_split(block, table, holder);
        match block.size() {
            PageSize::Size1G => self.counters.level3_splits += 1,
            _ => self.counters.level2_splits += 1,
        }
    }

    fn paint(&mut self, frames: PfnRange, old: State, new: State, batch: &mut Batch) {
        if old.cache != new.cache {
            batch.refuse_laziness();
        }
        self.tree.paint(frames, new, batch);
    }

    /// Undoes a hold.
    fn release(&mut self, id: HoldId, batch: &mut Batch) {
        let Some(hold) = self.journal.hold(id).copied() else { return };
        if hold.pinned.is_none() {
            self.paint(hold.frames, hold.state, State::ORDINARY, batch);
        }
        let splits = self.journal.close(id);
        self.place(splits, batch);
        self.counters.restores += 1;
    }

    /// Each split of a list that is nobody's is charged to a hold that keeps its block broken, or the block is made
    /// whole: 2 MiB first, 1 GiB after that.
    pub(crate) fn place(&mut self, splits: Option<SplitId>, batch: &mut Batch) {
        let mut large = splits;
        let mut huge = None;
        while let Some(id) = large {
            let Some(split) = self.journal.split(id).copied() else { break };
            large = split.next;
            if split.block.size() == PageSize::Size1G {
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
        let Some(split) = self.journal.split(id).copied() else { return };
        match self.journal.breaker(split.block) {
            Some(holder) => self.journal.charge(id, holder),
            None => self.merge(id, split.block, split.table, batch),
        }
    }

    /// Makes a block whole whose pages are alike; its table waits for the flush.
    pub(crate) fn merge(&mut self, id: SplitId, block: Block, table: Pfn, batch: &mut Batch) {
        self.tree.merge(block, table, batch);
        batch.add_merged(&mut self.journal, id);
        match block.size() {
            PageSize::Size1G => self.counters.level3_collapses += 1,
            _ => self.counters.level2_collapses += 1,
        }
    }

    const fn out_of_records(&self) -> ChangeError {
        ChangeError::OutOfRecords { needed: 1, left: self.journal.available() }
    }
}
