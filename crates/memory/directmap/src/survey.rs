//! The survey before anything is done: the frames, the pages that must be split, the reserve, the limit.

use rhumb_machine::{Block, PageSize, Pfn, PfnRange, PhysAddr, PhysRange};
use rhumb_pagetable::{ENTRIES, TableMemory};

use crate::error::ChangeError;
use crate::map::DirectMap;
use crate::records::{At, OwnerId};
use crate::reserve::Reserve;
use crate::rules::Rules;
use crate::state::{Change, Presence, State};

/// Entries that a pin, which is made in one step, looks at or writes.
pub(crate) const PIN_ENTRIES: u64 = 4096;

/// Returns the frames that `bytes` at `start` are.
///
/// # Errors
/// [`ChangeError::Empty`], [`ChangeError::Unaligned`], [`ChangeError::Wraps`].
pub fn frames_at(start: PhysAddr, bytes: u64) -> Result<PfnRange, ChangeError> {
    let Some(range) = PhysRange::of_length(start, bytes) else {
        return Err(ChangeError::Wraps { start, bytes });
    };
    if !range.is_aligned(PageSize::Size4K) {
        return Err(ChangeError::Unaligned { start, bytes });
    }
    if range.is_empty() { Err(ChangeError::Empty) } else { Ok(range.whole_frames()) }
}

/// Pages to be split: at most one of each size at each of two edges, the larger ones first.
#[derive(Clone, Copy, Default)]
pub(crate) struct SplitList([Option<Block>; 4]);

impl SplitList {
    pub(crate) fn iter(self) -> impl Iterator<Item = Block> {
        self.0.into_iter().flatten()
    }

    pub(crate) fn len(self) -> u64 {
        self.iter().count() as u64
    }

    fn push(&mut self, block: Block) {
        if self.iter().any(|known| known == block) {
            return;
        }
        if let Some(room) = self.0.iter_mut().find(|room| room.is_none()) {
            *room = Some(block);
        }
    }
}

impl<T: TableMemory, R: Rules> DirectMap<T, R> {
    /// Returns the tables and records that `change` of `frames` by `owner` would take from the reserve, or why it
    /// cannot be made whatever the reserve has.
    ///
    /// # Errors
    /// As [`DirectMap::change`], but for the reserve and the owner's limit.
    pub fn needs(&self, owner: OwnerId, frames: PfnRange, change: Change) -> Result<Reserve, ChangeError> {
        let Ok(state) = State::ORDINARY.after(change) else { return Err(ChangeError::WriteExecute) };
        self.survey_claim(owner, frames, state)?;
        self.survey_pages(&mut frames.start(), frames.end(), u64::MAX, &mut 0)?;
        if state.is_ordinary() {
            return Ok(Reserve::default());
        }
        let tables = self.tables_of(self.splits_at([frames.start(), frames.end()]));
        Ok(Reserve { tables, records: tables + 1 })
    }

    /// Returns how many of the splits take a table from the reserve: those whose own table is not kept.
    pub(crate) fn tables_of(&self, splits: SplitList) -> u64 {
        splits.iter().filter(|&block| !self.quarantine.keeps(block)).count() as u64
    }

    /// Returns the tables and records that [`DirectMap::pin_small`] of `frames` takes from the reserve at most: as if
    /// no table of the blocks there were kept. For the map changes before the pin, and others may take kept tables, or
    /// have them leave.
    ///
    /// # Errors
    /// As [`DirectMap::pin_small`], but for the reserve and the owner's limit.
    pub fn needs_to_pin(&self, frames: PfnRange, size: PageSize) -> Result<Reserve, ChangeError> {
        let tables = self.survey_pin(frames, size)?;
        Ok(Reserve { tables, records: tables + 1 })
    }

    /// Whether `owner` may claim frames, if they are ordinary, to make them `state`.
    pub(crate) fn survey_claim(
        &self,
        owner: OwnerId,
        frames: PfnRange,
        state: State,
    ) -> Result<(), ChangeError> {
        self.journal.map.check(owner.map)?;
        self.survey_range(frames)?;
        if let Some(id) = self.journal.first_in(frames)
            && let Some(hold) = self.journal.hold(id)
        {
            let owner = self.journal.name_of(hold.cause.owner);
            let both = |of: State| of.presence == Presence::Absent;
            return Err(if both(hold.state) && both(state) {
                ChangeError::AlreadyRemoved { frames: hold.frames, owner }
            } else {
                ChangeError::Held { frames: hold.frames, owner }
            });
        }
        Ok(self.rules.check(owner, frames, state)?)
    }

    /// Goes on from `next`, as long as frames are ordinary, to `end` or past `budget` entries, and adds to `entries`
    /// how many it was.
    pub(crate) fn survey_pages(
        &self,
        next: &mut Pfn,
        end: Pfn,
        budget: u64,
        entries: &mut u64,
    ) -> Result<(), ChangeError> {
        let mut scan = self.tree.scan(PfnRange::new(*next, end).unwrap_or_default());
        let until = entries.saturating_add(budget);
        while *next < end && *entries < until {
            let Some((leaf, pages)) = self.tree.next_run(&mut scan, until - *entries) else {
                return Err(ChangeError::NotInMap { pfn: *next });
            };
            let first = self.tree.pfn(leaf.virt);
            if first > *next {
                return Err(ChangeError::NotInMap { pfn: *next });
            }
            // The pages of a run have the same bits, and each its own frame: the first speaks for all.
            if leaf.entry != State::ORDINARY.entry(first.addr(), leaf.size) {
                return Err(ChangeError::NotOrdinary { pfn: first, entry: leaf.entry });
            }
            *next = first.plus(pages * leaf.size.frames()).min(end);
            *entries += pages;
        }
        Ok(())
    }

    /// Returns how many pages must be split to keep `frames` in pages of `size`.
    pub(crate) fn survey_pin(&self, frames: PfnRange, size: PageSize) -> Result<u64, ChangeError> {
        self.survey_range(frames)?;
        if size >= self.largest || !frames.addrs().is_aligned(size) {
            return Err(ChangeError::BadPin { size });
        }
        if let Some(hold) = self.journal.first_in(frames).and_then(|id| self.journal.hold(id)) {
            let owner = self.journal.name_of(hold.cause.owner);
            return Err(ChangeError::Held { frames: hold.frames, owner });
        }
        let mut scan = self.tree.scan(frames);
        let mut next = frames.start();
        let (mut splits, mut entries) = (0, 0);
        while next < frames.end() {
            let Some((leaf, pages)) = self.tree.next_run(&mut scan, u64::MAX) else { break };
            let first = self.tree.pfn(leaf.virt);
            if first > next {
                break;
            }
            next = first.plus(pages * leaf.size.frames());
            entries += pages;
            if leaf.size > size {
                splits += pages;
            }
            if leaf.size == PageSize::Size1G && size == PageSize::Size4K {
                let run = PfnRange::new(first, next).unwrap_or_default();
                let within = run.intersection(frames).addrs();
                let blocks = within.align_outward(PageSize::Size2M).unwrap_or(within);
                splits += blocks.bytes() >> PageSize::Size2M.shift();
            }
            if entries > PIN_ENTRIES || splits * ENTRIES as u64 > PIN_ENTRIES {
                return Err(ChangeError::PinTooLarge { most: PIN_ENTRIES });
            }
        }
        if next < frames.end() { Err(ChangeError::NotInMap { pfn: next }) } else { Ok(splits) }
    }

    pub(crate) fn survey_range(&self, frames: PfnRange) -> Result<(), ChangeError> {
        if frames.is_empty() {
            return Err(ChangeError::Empty);
        }
        if frames.end().get() > self.tree.frames {
            let pfn = frames.start().max(Pfn::new(self.tree.frames));
            return Err(ChangeError::NotInMap { pfn });
        }
        Ok(())
    }

    /// Returns the pages that are whole across one of `edges`.
    pub(crate) fn splits_at(&self, edges: [Pfn; 2]) -> SplitList {
        let mut splits = SplitList::default();
        for edge in edges {
            // The walk ends at the page that lies across the edge, or at one that begins there. A block of that size or
            // a smaller one that lies across the edge is whole, because the page covers it.
            let Some((_, whole)) = self.tree.end_of_walk(edge) else { continue };
            for size in [PageSize::Size1G, PageSize::Size2M] {
                let block = Block::around(edge, size);
                if size <= whole && block.is_split_at(edge) {
                    splits.push(block);
                }
            }
        }
        splits
    }

    /// Whether `owner` may have holds that break `more` large pages, and change the map at all now.
    pub(crate) fn allow(&self, owner: OwnerId, more: u64, at: At) -> Result<(), ChangeError> {
        let owner = self.journal.known(owner)?;
        let (totals, name) = (owner.totals(), owner.name());
        if more > totals.limit.saturating_sub(totals.breaks) {
            let (broken, limit) = (totals.breaks, totals.limit);
            return Err(ChangeError::OverLimit { owner: name, broken, more, limit });
        }
        let wait_ns = owner.rate().map_or(0, |rate| rate.wait_ns(owner.paid_until_ns, at.time_ns));
        if wait_ns > 0 { Err(ChangeError::TooOften { owner: name, wait_ns }) } else { Ok(()) }
    }

    /// Has `owner` pay for `steps`.
    pub(crate) fn charge_time(&mut self, owner: OwnerId, at: At, steps: u64) {
        self.journal.update_owner(owner, |owner| {
            if let Some(rate) = owner.rate() {
                owner.paid_until_ns = rate.charged(owner.paid_until_ns, at.time_ns, steps);
            }
        });
    }

    /// Whether the reserve has `tables`, with a record for each, and `records` more.
    pub(crate) const fn provide(&self, tables: u64, records: u64) -> Result<(), ChangeError> {
        let Reserve { tables: left, records: records_left } = self.reserve();
        if tables > left {
            return Err(ChangeError::OutOfTables { needed: tables, left });
        }
        let needed = tables + records;
        if needed > records_left {
            return Err(ChangeError::OutOfRecords { needed, left: records_left });
        }
        Ok(())
    }
}
