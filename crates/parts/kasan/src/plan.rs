//! Which addresses have a shadow, and how much memory that takes.
//!
//! Ranges come in ascending order. Neighbours with a small hole between them become one, shadow of the hole included:
//! firmware cuts RAM into many pieces, and each region more is a comparison more on the way to a shadow.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_machine::{PageSize, VirtRange};

use crate::shadow::{MAX_REGIONS, Region, Shadow, WORD_COVERS_BYTES};

/// A hole this wide or less gets a shadow, too: 2 MiB of it at most.
pub const BRIDGED_BYTES: u64 = 16 << 20;

/// The ranges to watch.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    ranges: [VirtRange; MAX_REGIONS],
    count: usize,
}

/// Why there is no such plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlanError {
    /// More ranges than a shadow holds, even with small holes bridged. The range is not watched.
    TooManyRanges,
    /// Ranges must come in ascending order and must not overlap.
    OutOfOrder,
    /// The shadow needs this many words and was given fewer.
    TooFewWords(usize),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyRanges => write!(f, "memory is in more than {MAX_REGIONS} pieces"),
            Self::OutOfOrder => f.write_str("ranges to watch overlap, or do not ascend"),
            Self::TooFewWords(words) => write!(f, "the shadow needs {words} words of memory"),
        }
    }
}

impl core::error::Error for PlanError {}

impl Plan {
    /// Makes a plan that watches nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Watches `range` as well, rounded outward to whole pages. Above all ranges so far.
    ///
    /// # Errors
    /// [`PlanError::OutOfOrder`], [`PlanError::TooManyRanges`]; nothing has changed then.
    pub fn watch(&mut self, range: VirtRange) -> Result<(), PlanError> {
        let range = range.align_outward(PageSize::Size4K).ok_or(PlanError::OutOfOrder)?;
        if range.is_empty() {
            return Ok(());
        }
        if let Some(last) = self.count.checked_sub(1).and_then(|last| self.ranges.get_mut(last)) {
            if range.start() < last.end() {
                return Err(PlanError::OutOfOrder);
            }
            if range.start().since(last.end()) <= BRIDGED_BYTES {
                *last = VirtRange::new(last.start(), range.end()).unwrap_or(*last);
                return Ok(());
            }
        }
        *self.ranges.get_mut(self.count).ok_or(PlanError::TooManyRanges)? = range;
        self.count += 1;
        Ok(())
    }

    /// Returns the ranges that will be watched, ascending.
    pub fn ranges(&self) -> &[VirtRange] {
        self.ranges.get(..self.count).unwrap_or_default()
    }

    /// Returns how many 8-byte words the shadow takes.
    pub fn words(&self) -> usize {
        self.ranges().iter().map(|&range| words_for(range)).sum()
    }

    /// Returns the shadow in `words`, which are overwritten: everything is allowed. Cost: a store for each 64 bytes
    /// watched.
    ///
    /// # Errors
    /// [`PlanError::TooFewWords`].
    pub fn lay_out<'words>(&self, words: &'words [AtomicU64]) -> Result<Shadow<'words>, PlanError> {
        let mut rest = words.get(..self.words()).ok_or(PlanError::TooFewWords(self.words()))?;
        // One by one: a compiler's `memset` may go by bytes, which emulators do one at a time.
        rest.iter().for_each(|word| word.store(0, Relaxed));
        let mut shadow = Shadow::default();
        for (&range, region) in self.ranges().iter().zip(&mut shadow.regions) {
            let (mine, others) = rest.split_at(words_for(range));
            *region = Region { range, words: mine };
            rest = others;
        }
        shadow.count = self.count;
        Ok(shadow)
    }
}

const fn words_for(range: VirtRange) -> usize {
    (range.bytes() / WORD_COVERS_BYTES) as usize
}
