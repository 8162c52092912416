//! [`Counters`]: the counts behind a report.

use rhumb_sync::atomic::{AtomicU64, Relaxed};

use crate::entry::State;

/// Counts of faults and of paging out. Neither is a common path, so that CPUs may share the line.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) resident: AtomicU64,
    pub(crate) out: AtomicU64,
    pub(crate) zeroed: AtomicU64,
    pub(crate) paged_in: AtomicU64,
    pub(crate) paged_out: AtomicU64,
    pub(crate) scanned: AtomicU64,
}

impl Counters {
    /// Counts a page that is in memory now, and was in this state before.
    pub(crate) fn note_fault(&self, before: State) {
        self.resident.fetch_add(1, Relaxed);
        if let State::Out(_) = before {
            self.out.fetch_sub(1, Relaxed);
            self.paged_in.fetch_add(1, Relaxed);
        } else {
            self.zeroed.fetch_add(1, Relaxed);
        }
    }

    /// Counts a page that is out now.
    pub(crate) fn note_out(&self) {
        self.resident.fetch_sub(1, Relaxed);
        self.out.fetch_add(1, Relaxed);
        self.paged_out.fetch_add(1, Relaxed);
    }
}
