//! [`Faults`]: the counts of refused frees, and the last frame that was refused.

use rhumb_machine::Pfn;

use rhumb_sync::atomic::{AtomicU64, Relaxed};

/// Refused frees, and the countdown to a failure on purpose.
#[derive(Default)]
pub(crate) struct Faults {
    refused: AtomicU64,
    /// The last refused frame plus one.
    last: AtomicU64,
    /// Allocations that still succeed before one fails, plus one; 0 is never. Only checked builds count down.
    pub(crate) countdown: AtomicU64,
}

impl Faults {
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    pub(crate) fn last(&self) -> Option<Pfn> {
        self.last.load(Relaxed).checked_sub(1).map(Pfn::new)
    }

    #[cold]
    pub(crate) fn refuse(&self, pfn: Pfn) {
        self.refused.fetch_add(1, Relaxed);
        self.last.store(pfn.get() + 1, Relaxed);
    }
}
