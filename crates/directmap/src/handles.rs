//! Handles parted, joined, left behind and found again.
//!
//! An edge is what keeps a large page broken. Parting a handle makes one, so it may take tables and can be refused;
//! joining two takes one away, so it needs nothing.

use rhumb_machine::{Pfn, PfnRange};
use rhumb_pagetable::TableMemory;

use crate::batch::Batch;
use crate::change::{DirectMap, Held};
use crate::error::ChangeError;
use crate::records::{Block, Handle, HoldId, OwnerId};
use crate::rules::Rules;

impl<T: TableMemory, R: Rules> DirectMap<T, R> {
    /// Parts a handle in two: `held` keeps the frames below `middle`, those from `middle` on are returned.
    ///
    /// # Errors
    /// [`ChangeError::NotInside`]; an empty reserve or the owner's limit, since the new edge may cut large pages.
    pub fn split(&mut self, held: &mut Held, middle: Pfn, batch: &mut Batch) -> Result<Held, ChangeError> {
        let upper = self.try_split(held, middle, batch);
        self.note(upper)
    }

    /// Makes two handles that adjoin, `left` below, and are of one owner and state, one: `left`. Large pages that only
    /// the border between them kept broken are whole again. Needs nothing.
    ///
    /// # Errors
    /// Gives `right` back where they are not so.
    pub fn join(&mut self, left: &mut Held, right: Held, batch: &mut Batch) -> Result<(), Held> {
        let Some(frames) = PfnRange::new(left.frames.start(), right.frames.end()) else { return Err(right) };
        if left.frames.end() != right.frames.start() {
            return Err(right);
        }
        match (left.hold, right.hold) {
            (None, None) => {}
            (Some(lower), Some(upper)) if self.are_alike(lower, upper) => {
                let mut splits = self.journal.close(upper);
                while let Some(id) = splits {
                    splits = self.journal.split(id).and_then(|split| split.next);
                    self.journal.charge(id, lower);
                }
                self.journal.resize(lower, frames);
                let splits = self.journal.uncharge_all(lower);
                self.place(splits, batch);
            }
            _ => return Err(right),
        }
        left.frames = frames;
        Ok(())
    }

    /// Gives up a handle without giving back the frames: its owner can have it again.
    pub fn leave(&mut self, held: Held) {
        if let Some(id) = held.hold {
            self.journal.update_hold(id, |hold| hold.handle = Handle::Left);
        }
    }

    /// The handle of frames of `owner`, some of them in `within`, that was left: the lowest.
    ///
    /// Cost: a look at each hold in `within` below it.
    pub fn adopt(&mut self, owner: OwnerId, within: PfnRange) -> Option<Held> {
        let id = self.journal.left_by(owner, within)?;
        self.journal.update_hold(id, |hold| hold.handle = Handle::Out);
        Some(Held { frames: self.journal.hold(id)?.frames, hold: Some(id) })
    }

    fn try_split(&mut self, held: &mut Held, middle: Pfn, batch: &mut Batch) -> Result<Held, ChangeError> {
        let frames = held.frames;
        let not_inside = ChangeError::NotInside { pfn: middle };
        let (Some(lower), Some(upper)) =
            (PfnRange::new(frames.start(), middle), PfnRange::new(middle, frames.end()))
        else {
            return Err(not_inside);
        };
        if lower.is_empty() || upper.is_empty() {
            return Err(not_inside);
        }
        let mut new = None;
        if let Some(id) = held.hold {
            let hold = *self.journal.hold(id).ok_or(ChangeError::NothingHeld)?;
            if let Some(size) = hold.pinned
                && Block::around(middle, size).is_cut_at(middle)
            {
                return Err(ChangeError::BadPin { size });
            }
            let cuts = self.cuts_at([middle, middle]);
            self.afford(hold.cause.owner, cuts.len(), 1)?;
            self.journal.resize(id, lower);
            new = self.open(upper, hold.state, hold.pinned, hold.cause, hold.at);
            for block in cuts.iter() {
                self.cut(block, id, batch);
            }
            // What the upper edge keeps broken is the new handle's now.
            let splits = self.journal.uncharge_all(id);
            self.place(splits, batch);
        }
        held.frames = lower;
        Ok(Held { frames: upper, hold: new })
    }

    fn are_alike(&self, one: HoldId, other: HoldId) -> bool {
        match (self.journal.hold(one), self.journal.hold(other)) {
            (Some(one), Some(other)) => {
                one.state == other.state && one.pinned == other.pinned && one.cause.owner == other.cause.owner
            }
            _ => false,
        }
    }
}
