//! What is looked at before anything is done: the frames, the pages that must be cut, the reserve, the limit.

use rhumb_machine::{PageSize, Pfn, PfnRange, PhysAddr, PhysRange};
use rhumb_pagetable::TableMemory;

use crate::change::DirectMap;
use crate::error::ChangeError;
use crate::records::{Block, OwnerId};
use crate::reserve::Reserve;
use crate::rules::Rules;
use crate::state::{Change, Presence, State};

/// The frames that `bytes` at `start` are.
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

/// Pages to be cut: at most one of each size at each of two edges, the larger ones first.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cuts([Option<Block>; 4]);

impl Cuts {
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
    /// What `change` of `frames` by `owner` would take from the reserve, or why it cannot be made whatever the reserve
    /// has.
    ///
    /// # Errors
    /// As [`DirectMap::change`], but for the reserve and the owner's limit.
    pub fn needs(&self, owner: OwnerId, frames: PfnRange, change: Change) -> Result<Reserve, ChangeError> {
        let Ok(state) = State::ORDINARY.after(change) else { return Err(ChangeError::WriteExecute) };
        self.survey_change(owner, frames, state)?;
        if state.is_ordinary() {
            return Ok(Reserve::default());
        }
        let tables = self.cuts_at([frames.start(), frames.end()]).len();
        Ok(Reserve { tables, records: tables + 1 })
    }

    /// What [`DirectMap::pin_small`] of `frames` would take from the reserve.
    ///
    /// # Errors
    /// As [`DirectMap::pin_small`], but for the reserve and the owner's limit.
    pub fn needs_to_pin(&self, frames: PfnRange, size: PageSize) -> Result<Reserve, ChangeError> {
        let tables = self.survey_pin(frames, size)?;
        Ok(Reserve { tables, records: tables + 1 })
    }

    /// Whether ordinary frames may become `state`, held by `owner`.
    pub(crate) fn survey_change(
        &self,
        owner: OwnerId,
        frames: PfnRange,
        state: State,
    ) -> Result<(), ChangeError> {
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
        self.rules.check(owner, frames, state)?;
        let mut next = frames.start();
        for leaf in self.tree.leaves(frames) {
            let first = self.tree.pfn(leaf.virt);
            if first > next {
                return Err(ChangeError::NotInMap { pfn: next });
            }
            if leaf.entry != State::ORDINARY.entry(first.addr(), leaf.size) {
                return Err(ChangeError::NotOrdinary { pfn: first, entry: leaf.entry });
            }
            next = Block::around(first, leaf.size).end();
        }
        if next < frames.end() { Err(ChangeError::NotInMap { pfn: next }) } else { Ok(()) }
    }

    /// How many pages must be cut to keep `frames` in pages of `size`.
    pub(crate) fn survey_pin(&self, frames: PfnRange, size: PageSize) -> Result<u64, ChangeError> {
        self.survey_range(frames)?;
        if size >= self.largest || !frames.addrs().is_aligned(size) {
            return Err(ChangeError::BadPin { size });
        }
        if let Some(hold) = self.journal.first_in(frames).and_then(|id| self.journal.hold(id)) {
            let owner = self.journal.name_of(hold.cause.owner);
            return Err(ChangeError::Held { frames: hold.frames, owner });
        }
        let mut next = frames.start();
        let mut cuts = 0;
        for leaf in self.tree.leaves(frames) {
            let page = Block::around(self.tree.pfn(leaf.virt), leaf.size);
            if page.start() > next {
                return Err(ChangeError::NotInMap { pfn: next });
            }
            next = page.end();
            cuts += u64::from(leaf.size > size);
            if leaf.size == PageSize::Size1G && size == PageSize::Size4K {
                let within = page.frames().intersection(frames).addrs();
                let blocks = within.align_outward(PageSize::Size2M).unwrap_or(within);
                cuts += blocks.bytes() >> PageSize::Size2M.shift();
            }
        }
        if next < frames.end() { Err(ChangeError::NotInMap { pfn: next }) } else { Ok(cuts) }
    }

    fn survey_range(&self, frames: PfnRange) -> Result<(), ChangeError> {
        if frames.is_empty() {
            return Err(ChangeError::Empty);
        }
        if frames.end().get() > self.tree.frames {
            let pfn = frames.start().max(Pfn::new(self.tree.frames));
            return Err(ChangeError::NotInMap { pfn });
        }
        Ok(())
    }

    /// The pages that are whole across one of `edges`.
    pub(crate) fn cuts_at(&self, edges: [Pfn; 2]) -> Cuts {
        let mut cuts = Cuts::default();
        for size in [PageSize::Size1G, PageSize::Size2M] {
            for edge in edges {
                let block = Block::around(edge, size);
                if block.is_cut_at(edge) && self.tree.is_whole(block) {
                    cuts.push(block);
                }
            }
        }
        cuts
    }

    /// Whether the reserve has `tables`, with a record for each, and `records` more, and `owner` may break so many
    /// pages.
    pub(crate) fn afford(&self, owner: OwnerId, tables: u64, records: u64) -> Result<(), ChangeError> {
        let owner = self.journal.owner(owner).ok_or(ChangeError::UnknownOwner)?;
        let (broken, limit) = (owner.totals.splits, owner.totals.limit);
        if tables > limit.saturating_sub(broken) && tables > 0 {
            return Err(ChangeError::OverLimit { owner: owner.name, broken, more: tables, limit });
        }
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
