//! Whose turn it is to move frames, and where to.

use crate::sync::{Acquire, AtomicBool, Release};

/// Where what is moved goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// Broken blocks only: a compaction that breaks a block gains nothing.
    Broken,
    /// Anywhere.
    Any,
}

/// Whose turn it is to isolate blocks.
#[derive(Default)]
pub(crate) struct Isolation(AtomicBool);

impl Isolation {
    pub(crate) fn take(&self) -> Option<Turn<'_>> {
        (!self.0.swap(true, Acquire)).then_some(Turn(self))
    }
}

/// The turn, until it is dropped.
pub(crate) struct Turn<'isolation>(&'isolation Isolation);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.0.store(false, Release);
    }
}
