//! The journal: holds by address, splits by hold, totals by owner.
//!
//! One rule decides whether a split page may be merged again: *a block is split by holds if and only if the last hold
//! that begins before its end splits it*. For holds do not overlap: if that hold begins inside the block, its edge
//! splits the block; if it begins at or before the block's start, no other hold can reach into the block. So one
//! look-up answers, and no counter can be wrong.

use rhumb_machine::{Block, PageSize, Pfn, PfnRange, impossible};

use crate::error::ChangeError;
use crate::hold_tree::HoldTree;
use crate::limits::Limits;
use crate::map_id::MapId;
use crate::records::{At, Handle, HoldId, HoldRecord, Owner, OwnerId, OwnerName, Split, SplitId, breaks_of};
use crate::slot_id::SlotId;
use crate::slots::{RecordPage, Slot, Slots};

/// All records. See the module.
#[derive(Debug)]
pub(crate) struct Journal {
    /// The map that it is of: no owner of another map is found in it.
    pub(crate) map: MapId,
    pub(crate) slots: Slots,
    pub(crate) tree: HoldTree,
    owners: Option<SlotId>,
    largest: PageSize,
    pub(crate) holds: u64,
    pub(crate) splits: u64,
}

impl Journal {
    pub(crate) fn new(largest: PageSize, seed: u64) -> Self {
        Self {
            map: MapId::next(),
            slots: Slots::new(),
            tree: HoldTree::new(seed),
            owners: None,
            largest,
            holds: 0,
            splits: 0,
        }
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

    pub(crate) fn hold(&self, id: HoldId) -> Option<&HoldRecord> {
        self.slots.hold(id)
    }

    pub(crate) fn update_hold(&mut self, id: HoldId, update: impl FnOnce(&mut HoldRecord)) {
        self.slots.update_hold(id, update);
    }

    pub(crate) fn split(&self, id: SplitId) -> Option<&Split> {
        match self.slots.get(id.0)? {
            Slot::Split(split) => Some(split),
            _ => None,
        }
    }

    pub(crate) fn owner(&self, id: OwnerId) -> Option<&Owner> {
        match self.slots.get(self.slot_of(id)?)? {
            Slot::Owner(owner) => Some(owner),
            _ => None,
        }
    }

    pub(crate) fn update_owner(&mut self, id: OwnerId, update: impl FnOnce(&mut Owner)) {
        if let Some(Slot::Owner(owner)) = self.slot_of(id).and_then(|slot| self.slots.get_mut(slot)) {
            update(owner);
        }
    }

    /// Returns the owner, or why there is none.
    pub(crate) fn known(&self, id: OwnerId) -> Result<&Owner, ChangeError> {
        self.map.check(id.map)?;
        self.owner(id).ok_or(ChangeError::UnknownOwner)
    }

    const fn owner_id(&self, slot: SlotId) -> OwnerId {
        OwnerId { slot, map: self.map }
    }

    /// Returns the record of an owner of this map.
    fn slot_of(&self, id: OwnerId) -> Option<SlotId> {
        (id.map == self.map).then_some(id.slot)
    }

    pub(crate) fn name_of(&self, id: OwnerId) -> OwnerName {
        self.owner(id).map_or_else(
            || impossible!("the owner of a hold is registered" => OwnerName::of("unknown")),
            Owner::name,
        )
    }

    /// Returns the first owner, and after each the next.
    pub(crate) fn next_owner(&self, after: Option<OwnerId>) -> Option<OwnerId> {
        match after {
            None => self.owners,
            Some(id) => self.owner(id)?.next,
        }
        .map(|slot| self.owner_id(slot))
    }

    pub(crate) fn add_owner(&mut self, name: OwnerName, limits: Limits) -> Option<OwnerId> {
        let first = self.owners;
        let slot = self.slots.take(Slot::Owner(Owner::new(name, limits, first)))?;
        if let Some(first) = first {
            self.update_owner(self.owner_id(first), |owner| owner.previous = Some(slot));
        }
        self.owners = Some(slot);
        Some(self.owner_id(slot))
    }

    /// Forgets an owner that holds nothing and owes nothing.
    pub(crate) fn remove_owner(&mut self, id: OwnerId, at: At) -> Result<(), ChangeError> {
        let owner = *self.known(id)?;
        if owner.holds != 0 {
            return Err(ChangeError::OwnerHolds { owner: owner.name(), holds: u64::from(owner.holds) });
        }
        let wait_ns = owner.paid_until_ns.saturating_sub(at.time_ns);
        if owner.rate().is_some() && wait_ns > 0 {
            return Err(ChangeError::TooOften { owner: owner.name(), wait_ns });
        }
        match owner.previous {
            Some(previous) => {
                self.update_owner(self.owner_id(previous), |previous| previous.next = owner.next)
            }
            None => self.owners = owner.next,
        }
        if let Some(next) = owner.next {
            self.update_owner(self.owner_id(next), |next| next.previous = owner.previous);
        }
        self.slots.free(id.slot);
        Ok(())
    }

    /// Writes a hold down; `None` where no record is free.
    pub(crate) fn open(&mut self, hold: HoldRecord) -> Option<HoldId> {
        let id = HoldId(self.slots.take(Slot::Hold(hold))?);
        self.tree.enter(&mut self.slots, id);
        self.holds += 1;
        let breaks = breaks_of(hold.frames, hold.pinned, self.largest);
        self.update_owner(hold.cause.owner, |owner| {
            owner.holds += 1;
            owner.frames += hold.frames.frames();
            owner.breaks += breaks as u32;
        });
        Some(id)
    }

    /// Strikes a hold out and returns the list of its splits, which have no hold then.
    pub(crate) fn close(&mut self, id: HoldId) -> Option<SplitId> {
        let splits = self.uncharge_all(id);
        let hold = *self.hold(id)?;
        self.tree.remove(&mut self.slots, id);
        self.slots.free(id.0);
        self.holds -= 1;
        let breaks = breaks_of(hold.frames, hold.pinned, self.largest);
        self.update_owner(hold.cause.owner, |owner| {
            owner.holds -= 1;
            owner.frames -= hold.frames.frames();
            owner.breaks -= breaks as u32;
        });
        splits
    }

    /// Writes a split down and charges it to a hold.
    pub(crate) fn open_split(&mut self, block: Block, table: Pfn, holder: HoldId) {
        if let Some(id) = self.note_table(block, table) {
            self.charge(id, holder);
        }
    }

    /// Writes down a table without a hold: one that is about to be charged to one, or one of boot that was merged, until
    /// its flush.
    pub(crate) fn note_table(&mut self, block: Block, table: Pfn) -> Option<SplitId> {
        self.slots.take(Slot::Split(Split { block, table, next: None })).map(SplitId)
    }

    pub(crate) fn free_split(&mut self, id: SplitId) {
        self.slots.free(id.0);
    }

    /// Puts a split without a hold into a hold's list.
    pub(crate) fn charge(&mut self, id: SplitId, holder: HoldId) {
        let Some(hold) = self.hold(holder).copied() else {
            return impossible!("the holder of a split has a record");
        };
        self.set_next(id, hold.splits);
        self.update_hold(holder, |hold| hold.splits = Some(id));
        self.splits += 1;
        self.update_owner(hold.cause.owner, |owner| owner.splits += 1);
    }

    /// Takes all splits out of a hold's list.
    pub(crate) fn uncharge_all(&mut self, holder: HoldId) -> Option<SplitId> {
        let hold = *self.hold(holder)?;
        let mut next = hold.splits;
        let mut count = 0u32;
        while let Some(split) = next.and_then(|id| self.split(id)) {
            count += 1;
            next = split.next;
        }
        self.update_hold(holder, |hold| hold.splits = None);
        self.splits -= u64::from(count);
        self.update_owner(hold.cause.owner, |owner| owner.splits -= count);
        hold.splits
    }

    pub(crate) fn set_next(&mut self, id: SplitId, next: Option<SplitId>) {
        if let Some(Slot::Split(split)) = self.slots.get_mut(id.0) {
            split.next = next;
        }
    }

    /// Tells whether the split of `block` is charged to that hold.
    pub(crate) fn is_charged_to(&self, block: Block, holder: HoldId) -> bool {
        let mut next = self.hold(holder).and_then(|hold| hold.splits);
        while let Some(split) = next.and_then(|id| self.split(id)) {
            if split.block == block {
                return true;
            }
            next = split.next;
        }
        false
    }

    /// Returns the last hold that begins at `pfn` or before.
    pub(crate) fn floor(&self, pfn: Pfn) -> Option<HoldId> {
        self.tree.floor(&self.slots, pfn)
    }

    /// Returns the first hold that begins at `pfn` or after.
    pub(crate) fn ceiling(&self, pfn: Pfn) -> Option<HoldId> {
        self.tree.ceiling(&self.slots, pfn)
    }

    /// Returns the hold that covers `pfn`.
    pub(crate) fn covering(&self, pfn: Pfn) -> Option<HoldId> {
        self.floor(pfn).filter(|&id| self.hold(id).is_some_and(|hold| hold.frames.contains(pfn)))
    }

    /// Returns the first hold that has a frame in `frames`.
    pub(crate) fn first_in(&self, frames: PfnRange) -> Option<HoldId> {
        if frames.is_empty() {
            return None;
        }
        let first = self.covering(frames.start()).or_else(|| self.ceiling(frames.start()))?;
        self.hold(first)?.frames.overlaps(frames).then_some(first)
    }

    /// Returns the hold after this one.
    pub(crate) fn next_hold(&self, id: HoldId) -> Option<HoldId> {
        self.ceiling(self.hold(id)?.frames.end())
    }

    /// Returns a hold that breaks `block`, if any does. See the module.
    pub(crate) fn breaker(&self, block: Block) -> Option<HoldId> {
        let last = self.floor(Pfn::new(block.end().get() - 1))?;
        self.hold(last)?.breaks(block).then_some(last)
    }

    /// Returns the hold of exactly `frames` that `owner` has left.
    pub(crate) fn left_by(&self, owner: OwnerId, frames: PfnRange) -> Option<HoldId> {
        let id = self.floor(frames.start())?;
        let hold = self.hold(id)?;
        let is_it = hold.frames == frames && hold.cause.owner == owner && hold.handle == Handle::Left;
        is_it.then_some(id)
    }

    /// Returns a number for an owner that only the journal knows, the weight of the owner's part in sums.
    pub(crate) const fn weight(&self, owner: OwnerId) -> u64 {
        self.tree.hash(owner.slot.number() as u64) | 1
    }

    /// Returns how many large pages a hold of `frames` would break.
    pub(crate) fn breaks_of(&self, frames: PfnRange, pinned: Option<PageSize>) -> u64 {
        breaks_of(frames, pinned, self.largest)
    }
}
