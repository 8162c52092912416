//! [`Hand`]: the place of the CPU that pages out, and its room to work.

use arrayvec::ArrayVec;
use rhumb_machine::{Pfn, VirtAddr};

/// Pages that one flush serves at most.
pub(crate) const BATCH: usize = 32;

/// The place at which the last look ended, and what one CPU at a time needs to page out.
pub(crate) struct Hand<Scratch> {
    pub(crate) at: u64,
    pub(crate) victims: ArrayVec<(VirtAddr, Pfn), BATCH>,
    pub(crate) scratch: Scratch,
}

impl<Scratch> Hand<Scratch> {
    pub(crate) const fn new(scratch: Scratch) -> Self {
        Self { at: 0, victims: ArrayVec::new_const(), scratch }
    }
}
