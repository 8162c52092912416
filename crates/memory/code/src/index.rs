//! [`Index`]: which parts there are, for changes and for reports.
//!
//! A change writes it within its turn, so what one hold of the lock has found is true in the next.

use alloc::vec::Vec;

use rhumb_machine::impossible;

use crate::block::{Block, Hole, Record, Slot};
use crate::kind::Kind;
use crate::part::Contents;
use crate::request::Shape;

/// The parts of a pool: a kernel keeps this behind a lock that is held for short. Empty at first.
#[derive(Debug, Default)]
pub struct Index {
    pub(crate) blocks: Vec<Option<Block>>,
}

impl Index {
    /// Returns the index of a pool without blocks.
    pub const fn new() -> Self {
        Self { blocks: Vec::new() }
    }

    /// Returns how many slots had a block so far: the slots above have none.
    pub(crate) fn slots(&self) -> usize {
        self.blocks.len()
    }

    pub(crate) fn block(&self, slot: Slot) -> Option<&Block> {
        self.blocks.get(slot.index())?.as_ref()
    }

    pub(crate) fn kind_of(&self, slot: Slot) -> Option<Kind> {
        self.block(slot).map(|block| block.kind)
    }

    /// Returns the first hole of a block of `kind`.
    pub(crate) fn hole_in(&self, slot: Slot, kind: Kind, shape: Shape) -> Option<Hole> {
        self.block(slot).filter(|block| block.kind == kind)?.hole(shape)
    }

    /// Returns the lowest slot below `slots` without a block.
    pub(crate) fn free_slot(&self, slots: u16) -> Option<Slot> {
        (0..slots).map(Slot).find(|&slot| self.block(slot).is_none())
    }

    pub(crate) fn block_mut(&mut self, slot: Slot) -> Option<&mut Block> {
        self.blocks.get_mut(slot.index())?.as_mut()
    }

    /// Enters a part, for which there is room.
    pub(crate) fn insert(&mut self, slot: Slot, hole: Hole, part: Record) {
        let Some(block) = self.block_mut(slot) else {
            return impossible!("a part is entered into no block");
        };
        block.used += part.rounded;
        block.parts.insert(hole.position, part);
    }

    /// Takes a part out.
    pub(crate) fn remove(&mut self, slot: Slot, offset: u32) {
        let Some(block) = self.block_mut(slot) else { return impossible!("a part is of no block") };
        let Some(position) = block.position_of(offset) else {
            return impossible!("a part with a handle has no record");
        };
        let part = block.parts.remove(position);
        block.used -= part.rounded;
    }

    /// Notes that a part was written.
    pub(crate) fn note(&mut self, slot: Slot, offset: u32, contents: Contents) {
        let part = self.block_mut(slot).and_then(|block| {
            let position = block.position_of(offset)?;
            block.parts.get_mut(position)
        });
        match part {
            Some(part) => part.is_written = contents == Contents::Written,
            None => impossible!("a part with a handle has no record"),
        }
    }

    /// Enters a block into a slot for which there is room.
    pub(crate) fn open(&mut self, slot: Slot, block: Block) {
        match self.blocks.get_mut(slot.index()) {
            Some(place) => *place = Some(block),
            None => impossible!("a block's slot has no place"),
        }
    }

    /// Takes a block out, for its memory to be freed with the lock released.
    pub(crate) fn close(&mut self, slot: Slot) -> Option<Block> {
        self.blocks.get_mut(slot.index())?.take()
    }
}
