//! How much was flushed, and why.

use core::fmt;

use crate::flush::stats::FlushStats;
use rhumb_sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why tables were changed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FlushCause {
    /// A large page of the direct map was split.
    Split,
    /// Small pages of the direct map were merged.
    Collapse,
    /// Attributes of the direct map changed.
    Attributes,
    /// Frames were taken out of the direct map.
    Remove,
    /// Frames were put back into the direct map.
    Restore,
    /// A block went into or out of the pool of unmapped frames.
    Pool,
    /// A window was turned over.
    Window,
    /// Something in the kernel's own map was unmapped.
    KernelMap,
    /// Anything else.
    Other,
}

impl FlushCause {
    /// All, in the order in which they are listed.
    pub const ALL: [Self; 9] = [
        Self::Split,
        Self::Collapse,
        Self::Attributes,
        Self::Remove,
        Self::Restore,
        Self::Pool,
        Self::Window,
        Self::KernelMap,
        Self::Other,
    ];

    /// Returns its name in the lines of `vmstat`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Collapse => "collapse",
            Self::Attributes => "attributes",
            Self::Remove => "remove",
            Self::Restore => "restore",
            Self::Pool => "pool",
            Self::Window => "window",
            Self::KernelMap => "kernel_map",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for FlushCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The flushes for one cause.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FlushCounts {
    /// Rounds: batches that were not empty, less those that went into the rounds of other CPUs.
    pub flushes: u64,
    /// Of those, full flushes.
    pub full: u64,
    /// Pages dropped one by one, counted once however many CPUs dropped them.
    pub pages: u64,
    /// CPUs that were interrupted.
    pub interrupts: u64,
    /// CPUs that were lazy and not interrupted.
    pub left_to_lazy: u64,
    /// Batches that went into the rounds of other CPUs.
    pub shared: u64,
}

#[derive(Debug)]
struct Cell {
    flushes: AtomicU64,
    full: AtomicU64,
    pages: AtomicU64,
    interrupts: AtomicU64,
    left_to_lazy: AtomicU64,
    shared: AtomicU64,
}

/// Counts of flushes by cause. Any CPU counts: a flush costs far more than a locked addition.
#[derive(Debug)]
pub struct FlushCounters([Cell; FlushCause::ALL.len()]);

impl FlushCounters {
    rhumb_sync::const_fn! {
        /// Makes counts that are all zero.
        pub fn new() -> Self {
            Self(rhumb_sync::atomics!(Cell {
                flushes: AtomicU64::new(0),
                full: AtomicU64::new(0),
                pages: AtomicU64::new(0),
                interrupts: AtomicU64::new(0),
                left_to_lazy: AtomicU64::new(0),
                shared: AtomicU64::new(0),
            }))
        }
    }

    /// Counts one flush. One of an empty batch counts nothing.
    pub fn count(&self, cause: FlushCause, flushed: FlushStats) {
        if flushed.was_empty() {
            return;
        }
        let cell = &self.0[cause as usize];
        if flushed.is_shared() {
            cell.shared.fetch_add(1, Relaxed);
            return;
        }
        cell.flushes.fetch_add(1, Relaxed);
        for (counter, count) in [
            (&cell.full, u32::from(flushed.is_full())),
            (&cell.pages, flushed.pages()),
            (&cell.interrupts, flushed.interrupts()),
            (&cell.left_to_lazy, flushed.left_to_lazy()),
        ] {
            if count > 0 {
                counter.fetch_add(u64::from(count), Relaxed);
            }
        }
    }

    /// Returns the counts for `cause`.
    pub fn read(&self, cause: FlushCause) -> FlushCounts {
        let cell = &self.0[cause as usize];
        FlushCounts {
            flushes: cell.flushes.load(Relaxed),
            full: cell.full.load(Relaxed),
            pages: cell.pages.load(Relaxed),
            interrupts: cell.interrupts.load(Relaxed),
            left_to_lazy: cell.left_to_lazy.load(Relaxed),
            shared: cell.shared.load(Relaxed),
        }
    }
}

impl Default for FlushCounters {
    fn default() -> Self {
        Self::new()
    }
}
