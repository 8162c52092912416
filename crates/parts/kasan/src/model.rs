//! The plain model: one truth value for each byte of memory.

extern crate std;

use std::vec::Vec;

use rhumb_machine::{VirtAddr, VirtRange};

use crate::state::GRANULE_BYTES;

/// Memory at `start`, byte by byte.
pub(crate) struct Model {
    start: VirtAddr,
    allowed: Vec<bool>,
}

impl Model {
    pub(crate) fn new(range: VirtRange) -> Self {
        Self { start: range.start(), allowed: std::vec![true; range.bytes() as usize] }
    }

    fn offsets(&self, range: VirtRange) -> core::ops::Range<usize> {
        let end = self.start.plus(self.allowed.len() as u64);
        let inside = range.intersection(VirtRange::new(self.start, end).expect("a range"));
        if inside.is_empty() {
            return 0..0;
        }
        inside.start().since(self.start) as usize..inside.end().since(self.start) as usize
    }

    /// Allows the range, and the bytes before it in its first granule.
    pub(crate) fn allow(&mut self, range: VirtRange) {
        let offsets = self.offsets(range);
        if !offsets.is_empty() {
            let from = offsets.start - offsets.start % GRANULE_BYTES as usize;
            self.allowed[from..offsets.end].fill(true);
        }
    }

    /// Forbids the range, except in granules where an allowed byte would follow a forbidden one.
    pub(crate) fn forbid(&mut self, range: VirtRange) {
        let before = self.allowed.clone();
        let offsets = self.offsets(range);
        self.allowed[offsets].fill(false);
        for (new, old) in self.allowed.chunks_mut(8).zip(before.chunks(8)) {
            if !new.is_sorted_by(|before, after| before >= after) {
                new.copy_from_slice(old);
            }
        }
    }

    /// Returns the first byte of the range that is forbidden.
    pub(crate) fn first_bad(&self, range: VirtRange) -> Option<VirtAddr> {
        self.offsets(range).find(|&at| !self.allowed[at]).map(|at| self.start.plus(at as u64))
    }
}
