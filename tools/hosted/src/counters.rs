//! The requests of the memory crates to the hardware, counted on the CPU that made them.

use core::fmt;
use core::iter::Sum;
use core::ops::{Add, Sub};
use core::sync::atomic::{AtomicU64, Ordering};

/// Counts since the machine was made. The difference of two of them is what happened in between.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Local TLB flushes.
    pub local_flushes: u64,
    /// Remote flush rounds, one per call that had a target.
    pub remote_flushes: u64,
    /// Flush interrupts sent to other CPUs: one per target and round.
    pub flush_interrupts: u64,
    /// Injected interrupts whose handler ran.
    pub injected_interrupts: u64,
}

impl Counters {
    /// Tells whether there was no flush and no flush interrupt: what invariant I2 asks of an allocation.
    pub fn is_silent(&self) -> bool {
        self.local_flushes == 0 && self.remote_flushes == 0 && self.flush_interrupts == 0
    }
}

impl Add for Counters {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            local_flushes: self.local_flushes + other.local_flushes,
            remote_flushes: self.remote_flushes + other.remote_flushes,
            flush_interrupts: self.flush_interrupts + other.flush_interrupts,
            injected_interrupts: self.injected_interrupts + other.injected_interrupts,
        }
    }
}

impl Sub for Counters {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            local_flushes: self.local_flushes - earlier.local_flushes,
            remote_flushes: self.remote_flushes - earlier.remote_flushes,
            flush_interrupts: self.flush_interrupts - earlier.flush_interrupts,
            injected_interrupts: self.injected_interrupts - earlier.injected_interrupts,
        }
    }
}

impl Sum for Counters {
    fn sum<I: Iterator<Item = Self>>(counters: I) -> Self {
        counters.fold(Self::default(), Add::add)
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} local flushes, {} remote flushes, {} flush interrupts, {} injected interrupts",
            self.local_flushes, self.remote_flushes, self.flush_interrupts, self.injected_interrupts
        )
    }
}

/// One CPU's own counters: only its thread adds, any thread may read.
#[derive(Debug, Default)]
pub(crate) struct CpuCounters {
    local_flushes: AtomicU64,
    remote_flushes: AtomicU64,
    flush_interrupts: AtomicU64,
    injected_interrupts: AtomicU64,
}

impl CpuCounters {
    pub(crate) fn count_local_flush(&self) {
        self.local_flushes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_remote_flush(&self, targets: usize) {
        self.remote_flushes.fetch_add(1, Ordering::Relaxed);
        self.flush_interrupts.fetch_add(targets as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_injected(&self, strikes: u64) {
        self.injected_interrupts.fetch_add(strikes, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Counters {
        Counters {
            local_flushes: self.local_flushes.load(Ordering::Relaxed),
            remote_flushes: self.remote_flushes.load(Ordering::Relaxed),
            flush_interrupts: self.flush_interrupts.load(Ordering::Relaxed),
            injected_interrupts: self.injected_interrupts.load(Ordering::Relaxed),
        }
    }
}
