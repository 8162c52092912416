//! What was odd but not fatal: a bounded list, and a count that is not bounded.
//!
//! Firmware that is wrong once is often wrong a hundred times. The first findings tell what is wrong; the rest only how
//! often. So a list keeps the first [`KEPT`] and counts all.

use arrayvec::ArrayVec;

/// How many findings a list keeps: enough that the cause is among them, few enough for half a screen.
pub const KEPT: usize = 12;

/// Findings of one parser, in the order in which they were met. Each displays as one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings<F> {
    kept: ArrayVec<F, KEPT>,
    total: usize,
}

impl<F> Default for Findings<F> {
    fn default() -> Self {
        Self { kept: ArrayVec::new_const(), total: 0 }
    }
}

impl<F> Findings<F> {
    /// Counts `finding`, and keeps it if there is room.
    pub fn push(&mut self, finding: F) {
        self.total += 1;
        // A full list keeps what came first; the count tells that there was more.
        let _ = self.kept.try_push(finding);
    }

    /// Those that were kept.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &F> {
        self.kept.iter()
    }

    /// How many there were, kept or not.
    pub fn total(&self) -> usize {
        self.total
    }

    /// How many were counted but not kept.
    pub fn omitted(&self) -> usize {
        self.total - self.kept.len()
    }

    /// Whether nothing was odd.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }
}
