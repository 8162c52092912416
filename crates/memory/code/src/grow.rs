//! Blocks that come, when no hole serves a request, and go, when their last part does.

use rhumb_machine::impossible;

use crate::block::{Block, Slot};
use crate::changes::{Changes, Spare};
use crate::error::CodeError;
use crate::home::Home;
use crate::kind::Kind;
use crate::pages::PageSet;
use crate::planted::{self, Fault};
use crate::pool::CodePool;
use crate::room;

impl<H: Home> CodePool<H> {
    /// Adds a block without parts. All that can fail comes before all that lasts.
    pub(crate) fn grow(&self, changes: &mut Changes<H::Frames>, kind: Kind) -> Result<Slot, CodeError> {
        let free = self.home.with_index(|index| index.free_slot(self.slots()));
        let slot = free.ok_or(CodeError::Exhausted)?;
        changes.make_room(slot)?;
        room::for_block(&self.home, slot)?;
        let parts = room::first_parts()?;
        let frames = self.home.take_frames(kind.fill()).map_err(CodeError::NoFrames)?;
        if kind.is_switched() && changes.spare.is_none() {
            match self.home.take_frames(kind.fill()) {
                Ok(spare) => {
                    changes.spare = Some(Spare { frames: spare, twin: None, stale: PageSet::EMPTY });
                }
                Err(error) => {
                    self.home.give_frames(frames);
                    return Err(CodeError::NoFrames(error));
                }
            }
        }
        // Nothing was mapped there since the flush of the block before, if there was one: no CPU has a translation.
        self.home.map(self.place(slot), &frames, kind.access());
        match changes.frames.get_mut(slot.index()) {
            Some(place) => *place = Some(frames),
            None => impossible!("room was made for the frames of slot {}", slot.index()),
        }
        self.home.with_index(|index| index.open(slot, Block { kind, used: 0, parts }));
        Ok(slot)
    }

    /// Ends a block whose parts are all to go, and the spare frames with the last block that needs them.
    pub(crate) fn release(&self, changes: &mut Changes<H::Frames>, slot: Slot) {
        let place = self.place(slot);
        self.home.unmap(place);
        if !planted::is(Fault::ReleaseUnflushed) {
            self.home.flush(place);
        }
        let closed = self.home.with_index(|index| index.close(slot));
        drop(closed);
        match changes.frames.get_mut(slot.index()).and_then(Option::take) {
            Some(frames) => self.home.give_frames(frames),
            None => impossible!("block {} has no frames", slot.index()),
        }
        if let Some(spare) = &mut changes.spare
            && spare.twin == Some(slot)
        {
            spare.twin = None;
        }
        let is_wanted = self.home.with_index(|index| {
            (0..self.slots())
                .any(|slot| index.block(Slot(slot)).is_some_and(|block| block.kind.is_switched()))
        });
        if !is_wanted
            && !planted::is(Fault::SpareKept)
            && let Some(spare) = changes.spare.take()
        {
            self.home.give_frames(spare.frames);
        }
    }
}
