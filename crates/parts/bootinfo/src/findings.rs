//! Oddities that are not fatal: a bounded list, and a count that is not bounded.
//!
//! Firmware that is wrong once is often wrong a hundred times. The first findings tell the cause; of the rest the count
//! is enough. So a list keeps [`KEPT`] findings and counts all. Where it is full, the first finding of a kind that the
//! list does not hold yet takes the place of one of a kind that it holds twice: a hundred small oddities of one table
//! never hide that another table is damaged.

use arrayvec::ArrayVec;

/// How many findings a list keeps: enough that the cause is among them, few enough for half a screen.
pub const KEPT: usize = 12;

/// A finding as a list sees it.
pub trait Finding: PartialEq {
    /// Tells whether `other` says the same of something else, so that one of the two is an example of both.
    fn is_like(&self, other: &Self) -> bool;
}

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

impl<F: Finding> Findings<F> {
    /// Counts `finding`, and keeps it if there is room or if it is the first of its kind. A finding that is kept
    /// already is not counted again.
    pub fn push(&mut self, finding: F) {
        if self.kept.contains(&finding) {
            return;
        }
        self.total += 1;
        if self.kept.is_full() {
            let is_new = self.kept.iter().all(|kept| !kept.is_like(&finding));
            let Some(at) = self.last_repeated().filter(|_| is_new) else { return };
            self.kept.remove(at);
        }
        self.kept.push(finding);
    }

    /// Returns the last finding of whose kind there is an earlier one.
    fn last_repeated(&self) -> Option<usize> {
        (0..self.kept.len()).rev().find(|&at| self.kept[..at].iter().any(|kept| kept.is_like(&self.kept[at])))
    }
}

impl<F> Findings<F> {
    /// Returns the findings that were kept.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &F> {
        self.kept.iter()
    }

    /// Returns how many there were, kept or not.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Returns how many were counted but not kept.
    pub fn omitted(&self) -> usize {
        self.total - self.kept.len()
    }

    /// Tells whether nothing was odd.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }
}

#[cfg(test)]
mod tests;
