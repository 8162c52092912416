//! A hash table with chains, with the shape of a kernel's: buckets in a block of frames, nodes in a slab.
//!
//! ```text
//!   buckets  | first | first | ...          node  | next | key | two words of the owner's | ... |
//! ```

use rhumb_machine::{Order, PageSize, Pinned};

use crate::error::Error;
use crate::memory::Memory;

/// The factor of Fibonacci hashing: 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

const NEXT: u64 = 0;
const KEY: u64 = 8;
/// The place of the owner's two words in a node.
pub(crate) const OWNED: u64 = 16;

/// A table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hash {
    buckets: u64,
    bits: u32,
    node_bytes: usize,
}

impl Hash {
    /// Makes a table for about `keys` keys, whose nodes have `node_bytes` bytes: 32 at least.
    ///
    /// # Errors
    /// No memory for the buckets.
    pub(crate) fn new(
        memory: &mut Memory,
        pinned: Pinned<'_>,
        keys: u64,
        node_bytes: usize,
    ) -> Result<Self, Error> {
        let count = keys.next_power_of_two().max(PageSize::Size4K.bytes() / 8);
        let order = Order::holding(count * 8 / PageSize::Size4K.bytes()).ok_or(Error::NoMemory)?;
        let buckets = memory.frames(pinned, order)?;
        memory.ram_mut().zero(buckets, count * 8);
        Ok(Self { buckets, bits: count.trailing_zeros(), node_bytes: node_bytes.max(32) })
    }

    #[inline(always)]
    fn bucket(self, key: u64) -> u64 {
        self.buckets + (key.wrapping_mul(GOLDEN) >> (u64::BITS - self.bits)) * 8
    }

    /// Returns the node of `key`; 0 where there is none.
    #[inline(always)]
    pub(crate) fn find(self, memory: &Memory, key: u64) -> u64 {
        let mut node = memory.ram().word(self.bucket(key));
        while node != 0 && memory.ram().word(node + KEY) != key {
            node = memory.ram().word(node + NEXT);
        }
        node
    }

    /// Adds a node for `key`, which the table does not have, and returns it. All its other words are zero.
    ///
    /// # Errors
    /// No memory for the node. The table is as it was.
    pub(crate) fn insert(self, memory: &mut Memory, pinned: Pinned<'_>, key: u64) -> Result<u64, Error> {
        let node = memory.object(pinned, self.node_bytes)?;
        let bucket = self.bucket(key);
        let first = memory.ram().word(bucket);
        let ram = memory.ram_mut();
        ram.zero(node, self.node_bytes as u64);
        ram.set_word(node + NEXT, first);
        ram.set_word(node + KEY, key);
        ram.set_word(bucket, node);
        Ok(node)
    }
}
