//! [`Block`]: the parts of one block, in the order of their addresses.
//!
//! Why not a tree: parts are found by halving, and a hole by one walk through some kilobytes, of which [`MOST_PARTS`] is
//! the limit; either takes microseconds, beside the hundred that a change takes. And lists need no `unsafe`.

use alloc::vec::Vec;

use rhumb_frames::Owner;

use crate::kind::Kind;
use crate::part::PartName;
use crate::request::Shape;
use crate::size::BLOCK_BYTES;

/// Parts that a block has at most, so that each hold of the index's lock is bounded: 160 KiB are moved for one, which
/// takes some ten microseconds. BPF programs are some 500 bytes and more, so that a block is full before.
pub(crate) const MOST_PARTS: usize = 4096;

/// A block's place in the pool's range, counted in blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot(pub(crate) u16);

impl Slot {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The record of a part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    /// From the block's first byte.
    pub(crate) offset: u32,
    /// As asked for.
    pub(crate) bytes: u32,
    /// In whole granules.
    pub(crate) rounded: u32,
    pub(crate) owner: Owner,
    pub(crate) is_written: bool,
    pub(crate) name: PartName,
}

impl Record {
    pub(crate) const fn end(&self) -> u32 {
        self.offset + self.rounded
    }
}

/// A hole: where it begins, and the place in the list of the part that comes behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hole {
    pub(crate) offset: u32,
    pub(crate) position: usize,
}

/// The parts of a block.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) kind: Kind,
    /// Bytes of its parts, in whole granules.
    pub(crate) used: u32,
    pub(crate) parts: Vec<Record>,
}

impl Block {
    /// Returns the first hole for a request, so that the upper blocks and the upper ends of blocks empty.
    pub(crate) fn hole(&self, shape: Shape) -> Option<Hole> {
        let free = BLOCK_BYTES as u32 - self.used;
        if self.parts.len() >= MOST_PARTS || free < shape.bytes {
            return None;
        }
        let mut end = 0;
        for position in 0..=self.parts.len() {
            let next = self.parts.get(position).map_or(BLOCK_BYTES as u32, |part| part.offset);
            let offset = u32::next_multiple_of(end, shape.align);
            if offset.checked_add(shape.bytes).is_some_and(|hole_end| hole_end <= next) {
                return Some(Hole { offset, position });
            }
            end = self.parts.get(position).map_or(next, Record::end);
        }
        None
    }

    /// Returns the size of its largest hole.
    pub(crate) fn largest_hole(&self) -> u32 {
        let ends = core::iter::once(0).chain(self.parts.iter().map(Record::end));
        let starts = self.parts.iter().map(|part| part.offset).chain([BLOCK_BYTES as u32]);
        ends.zip(starts).map(|(end, start)| start.saturating_sub(end)).max().unwrap_or(0)
    }

    /// Returns the place in the list of the part that begins at `offset`.
    pub(crate) fn position_of(&self, offset: u32) -> Option<usize> {
        self.parts.binary_search_by_key(&offset, |part| part.offset).ok()
    }

    /// Returns the part that the byte at `offset` lies in.
    pub(crate) fn at(&self, offset: u32) -> Option<&Record> {
        let behind = self.parts.partition_point(|part| part.offset <= offset);
        self.parts.get(behind.checked_sub(1)?).filter(|part| offset < part.end())
    }
}
