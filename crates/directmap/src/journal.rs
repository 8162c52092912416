//! The journal: holds by address, splits by hold, totals by owner.
//!
//! One rule decides whether a broken block may be whole again: *a block is broken by holds if and only if the last hold
//! that begins before its end breaks it*. For holds do not overlap: if that hold begins inside the block, its edge cuts
//! the block; if it begins at or before the block's start, no other hold can reach into the block. So one look-up
//! answers, and no counter can be wrong.

use rhumb_machine::{Pfn, PfnRange};

use crate::error::ChangeError;
use crate::records::{Block, Handle, Hold, HoldId, Owner, OwnerId, OwnerName, Split, SplitId, Totals};
use crate::slots::{RecordPage, Slot, Slots};

/// All records. See the module.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    slots: Slots,
    pub(crate) root: Option<HoldId>,
    owners: Option<OwnerId>,
}

impl Journal {
    pub(crate) const fn new() -> Self {
        Self { slots: Slots::new(), root: None, owners: None }
    }

    pub(crate) fn add_page(&mut self, page: &'static mut RecordPage) {
        self.slots.add_page(page);
    }

    pub(crate) const fn available(&self) -> u64 {
        self.slots.available()
    }

    pub(crate) const fn capacity(&self) -> u64 {
        self.slots.capacity()
    }

    pub(crate) fn hold(&self, id: HoldId) -> Option<&Hold> {
        match self.slots.get(id.0)? {
            Slot::Hold(hold) => Some(hold),
            _ => None,
        }
    }

    pub(crate) fn update_hold(&mut self, id: HoldId, update: impl FnOnce(&mut Hold)) {
        if let Some(Slot::Hold(hold)) = self.slots.get_mut(id.0) {
            update(hold);
        }
    }

    pub(crate) fn split(&self, id: SplitId) -> Option<&Split> {
        match self.slots.get(id.0)? {
            Slot::Split(split) => Some(split),
            _ => None,
        }
    }

    pub(crate) fn owner(&self, id: OwnerId) -> Option<&Owner> {
        match self.slots.get(id.0)? {
            Slot::Owner(owner) => Some(owner),
            _ => None,
        }
    }

    fn update_owner(&mut self, id: OwnerId, update: impl FnOnce(&mut Totals)) {
        if let Some(Slot::Owner(owner)) = self.slots.get_mut(id.0) {
            update(&mut owner.totals);
        }
    }

    pub(crate) fn name_of(&self, id: OwnerId) -> OwnerName {
        self.owner(id).map_or(OwnerName::of("nobody"), |owner| owner.name)
    }

    /// The first owner, and after each the next.
    pub(crate) fn next_owner(&self, after: Option<OwnerId>) -> Option<OwnerId> {
        match after {
            None => self.owners,
            Some(id) => self.owner(id)?.next,
        }
    }

    pub(crate) fn add_owner(&mut self, name: OwnerName, limit: u64) -> Option<OwnerId> {
        let totals = Totals { holds: 0, frames: 0, splits: 0, limit };
        let id = OwnerId(self.slots.take(Slot::Owner(Owner { name, totals, next: self.owners }))?);
        self.owners = Some(id);
        Some(id)
    }

    pub(crate) fn set_limit(&mut self, id: OwnerId, limit: u64) {
        self.update_owner(id, |totals| totals.limit = limit);
    }

    /// Forgets an owner that holds nothing.
    pub(crate) fn remove_owner(&mut self, id: OwnerId) -> Result<(), ChangeError> {
        let owner = *self.owner(id).ok_or(ChangeError::UnknownOwner)?;
        if owner.totals.holds != 0 {
            return Err(ChangeError::OwnerHolds { owner: owner.name, holds: owner.totals.holds });
        }
        if self.owners == Some(id) {
            self.owners = owner.next;
        } else {
            let mut at = self.owners;
            while let Some(before) = at {
                at = self.next_owner(Some(before));
                if at == Some(id)
                    && let Some(Slot::Owner(before)) = self.slots.get_mut(before.0)
                {
                    before.next = owner.next;
                }
            }
        }
        self.slots.free(id.0);
        Ok(())
    }

    /// Writes a hold down; `None` where no record is free.
    pub(crate) fn open(&mut self, hold: Hold) -> Option<HoldId> {
        let id = HoldId(self.slots.take(Slot::Hold(hold))?);
        self.enter(id);
        self.update_owner(hold.cause.owner, |totals| {
            totals.holds += 1;
            totals.frames += hold.frames.frames();
        });
        Some(id)
    }

    /// Strikes a hold out and returns the list of its splits, which are nobody's then.
    pub(crate) fn close(&mut self, id: HoldId) -> Option<SplitId> {
        let splits = self.uncharge_all(id);
        let hold = *self.hold(id)?;
        self.remove(id);
        self.slots.free(id.0);
        self.update_owner(hold.cause.owner, |totals| {
            totals.holds -= 1;
            totals.frames -= hold.frames.frames();
        });
        splits
    }

    /// Gives a hold other frames. They begin where they began, so its place in the order is the same.
    pub(crate) fn resize(&mut self, id: HoldId, frames: PfnRange) {
        let Some(hold) = self.hold(id).copied() else { return };
        self.update_hold(id, |hold| hold.frames = frames);
        self.update_owner(hold.cause.owner, |totals| {
            totals.frames = totals.frames - hold.frames.frames() + frames.frames();
        });
    }

    /// Writes a split down and charges it to a hold.
    pub(crate) fn open_split(&mut self, block: Block, table: Pfn, holder: HoldId) {
        if let Some(id) = self.note_table(block, table) {
            self.charge(id, holder);
        }
    }

    /// Writes down a table that is nobody's: one that only waits for a flush.
    pub(crate) fn note_table(&mut self, block: Block, table: Pfn) -> Option<SplitId> {
        self.slots.take(Slot::Split(Split { block, table, next: None })).map(SplitId)
    }

    pub(crate) fn free_split(&mut self, id: SplitId) {
        self.slots.free(id.0);
    }

    /// Puts a split that is nobody's into a hold's list.
    pub(crate) fn charge(&mut self, id: SplitId, holder: HoldId) {
        let Some(hold) = self.hold(holder).copied() else { return };
        self.set_next(id, hold.splits);
        self.update_hold(holder, |hold| hold.splits = Some(id));
        self.update_owner(hold.cause.owner, |totals| totals.splits += 1);
    }

    /// Takes all splits out of a hold's list.
    pub(crate) fn uncharge_all(&mut self, holder: HoldId) -> Option<SplitId> {
        let hold = *self.hold(holder)?;
        let mut next = hold.splits;
        let mut count = 0;
        while let Some(split) = next.and_then(|id| self.split(id)) {
            count += 1;
            next = split.next;
        }
        self.update_hold(holder, |hold| hold.splits = None);
        self.update_owner(hold.cause.owner, |totals| totals.splits -= count);
        hold.splits
    }

    pub(crate) fn set_next(&mut self, id: SplitId, next: Option<SplitId>) {
        if let Some(Slot::Split(split)) = self.slots.get_mut(id.0) {
            split.next = next;
        }
    }

    /// The hold that covers `pfn`.
    pub(crate) fn covering(&self, pfn: Pfn) -> Option<HoldId> {
        self.floor(pfn).filter(|&id| self.hold(id).is_some_and(|hold| hold.frames.contains(pfn)))
    }

    /// The first hold that has a frame in `frames`.
    pub(crate) fn first_in(&self, frames: PfnRange) -> Option<HoldId> {
        if frames.is_empty() {
            return None;
        }
        let first = self.covering(frames.start()).or_else(|| self.ceiling(frames.start()))?;
        self.hold(first)?.frames.overlaps(frames).then_some(first)
    }

    /// The hold after this one.
    pub(crate) fn next_hold(&self, id: HoldId) -> Option<HoldId> {
        self.ceiling(self.hold(id)?.frames.end())
    }

    /// A hold that breaks `block`, if any does. See the module.
    pub(crate) fn breaker(&self, block: Block) -> Option<HoldId> {
        let last = self.floor(Pfn::new(block.end().get() - 1))?;
        self.hold(last)?.breaks(block).then_some(last)
    }

    /// The lowest hold of `owner` whose handle was left and that has a frame in `within`.
    pub(crate) fn left_by(&self, owner: OwnerId, within: PfnRange) -> Option<HoldId> {
        let mut next = self.first_in(within);
        while let Some(id) = next {
            let hold = self.hold(id).filter(|hold| hold.frames.overlaps(within))?;
            if hold.cause.owner == owner && hold.handle == Handle::Left {
                return Some(id);
            }
            next = self.next_hold(id);
        }
        None
    }
}
