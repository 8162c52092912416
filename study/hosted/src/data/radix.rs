//! A radix tree from a number to an address, with the shape of the one that Linux keeps a file's pages in.
//!
//! A node has 64 slots and takes 576 bytes of a slab. The tree is as high as its largest number needs.

use rhumb_machine::Pinned;

use crate::error::Error;
use crate::memory::Memory;

const SLOT_BITS: u32 = 6;
const SLOTS: u64 = 1 << SLOT_BITS;
const NODE_BYTES: usize = 576;
/// The place of the first slot: after the words that a kernel's node begins with.
const FIRST_SLOT: u64 = 64;

/// A tree. Its root lies with its owner, as a file's does.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Radix {
    root: u64,
    height: u32,
}

impl Radix {
    /// Returns the address under `key`; 0 where there is none.
    #[inline(always)]
    pub(crate) fn get(self, memory: &Memory, key: u64) -> u64 {
        if !self.reaches(key) {
            return 0;
        }
        let mut at = self.root;
        for level in (0..self.height).rev() {
            if at == 0 {
                return 0;
            }
            at = memory.ram().word(slot(at, key, level));
        }
        at
    }

    /// Puts `value` under `key`.
    ///
    /// # Errors
    /// No memory for a node. The tree has all that it had.
    pub(crate) fn insert(
        &mut self,
        memory: &mut Memory,
        pinned: Pinned<'_>,
        key: u64,
        value: u64,
    ) -> Result<(), Error> {
        while !self.reaches(key) {
            let root = node(memory, pinned)?;
            memory.ram_mut().set_word(root + FIRST_SLOT, self.root);
            *self = Self { root, height: self.height + 1 };
        }
        let mut at = self.root;
        for level in (1..self.height).rev() {
            let place = slot(at, key, level);
            at = match memory.ram().word(place) {
                0 => {
                    let fresh = node(memory, pinned)?;
                    memory.ram_mut().set_word(place, fresh);
                    fresh
                }
                known => known,
            };
        }
        memory.ram_mut().set_word(slot(at, key, 0), value);
        Ok(())
    }

    /// Tells whether the tree is high enough for `key`.
    #[inline(always)]
    const fn reaches(self, key: u64) -> bool {
        let bits = self.height * SLOT_BITS;
        bits >= u64::BITS || key < (1 << bits) && self.height > 0
    }
}

#[inline(always)]
const fn slot(node: u64, key: u64, level: u32) -> u64 {
    node + FIRST_SLOT + ((key >> (level * SLOT_BITS)) & (SLOTS - 1)) * 8
}

fn node(memory: &mut Memory, pinned: Pinned<'_>) -> Result<u64, Error> {
    let at = memory.object(pinned, NODE_BYTES)?;
    memory.ram_mut().zero(at, NODE_BYTES as u64);
    Ok(at)
}
