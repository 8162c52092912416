//! [`PageSet`]: a set of the 4-KiB pages of one block.

use core::ops::Range;

use crate::size::BLOCK_BYTES;
use crate::size::PAGE_BYTES;

/// Pages of a block.
pub(crate) const PAGES: usize = BLOCK_BYTES as usize / PAGE_BYTES;

/// A set of pages of a block, by their numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PageSet([u64; PAGES / 64]);

impl PageSet {
    pub(crate) const EMPTY: Self = Self([0; PAGES / 64]);
    pub(crate) const ALL: Self = Self([u64::MAX; PAGES / 64]);

    /// Adds the pages that bytes `bytes` of the block lie in.
    pub(crate) fn add_bytes(&mut self, bytes: Range<usize>) {
        if bytes.is_empty() {
            return;
        }
        for page in bytes.start / PAGE_BYTES..bytes.end.div_ceil(PAGE_BYTES).min(PAGES) {
            self.0[page / 64] |= 1 << (page % 64);
        }
    }

    /// Returns the pages that are in either.
    pub(crate) fn union(self, other: Self) -> Self {
        let mut both = self;
        for (word, more) in both.0.iter_mut().zip(other.0) {
            *word |= more;
        }
        both
    }

    pub(crate) fn contains(self, page: usize) -> bool {
        self.0.get(page / 64).is_some_and(|word| word & 1 << (page % 64) != 0)
    }

    /// Returns the pages in ascending order.
    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        (0..PAGES).filter(move |&page| self.contains(page))
    }
}
