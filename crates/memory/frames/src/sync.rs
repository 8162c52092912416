//! The atomics and the lock of this crate, so that loom and shuttle can stand in for them.
//!
//! Everything that two CPUs can see is an atomic, also what a lock protects: a relaxed load or store is the same
//! instruction as a plain one, and no code here needs `unsafe` to reach it. The lock gives the ordering.

#[cfg(not(feature = "model"))]
pub(crate) use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
#[cfg(all(feature = "loom", not(feature = "shuttle")))]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
#[cfg(feature = "shuttle")]
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};

pub(crate) use core::sync::atomic::Ordering::{self, Acquire, Relaxed, Release};

/// Stops the compiler, not the CPU, from moving memory accesses: an interrupt handler on the same CPU sees them in
/// program order.
#[inline(always)]
pub(crate) fn handler_fence() {
    core::sync::atomic::compiler_fence(Ordering::SeqCst);
}

/// Waits a moment for another CPU.
#[inline(always)]
pub(crate) fn relax() {
    #[cfg(not(feature = "model"))]
    core::hint::spin_loop();
    #[cfg(all(feature = "loom", not(feature = "shuttle")))]
    loom::thread::yield_now();
    #[cfg(feature = "shuttle")]
    shuttle::thread::yield_now();
}

/// A spin lock without data: one locked exchange to take, one plain store to release. Taken with interrupts off only,
/// and held for some 300 ns as a rule (3 us for a block of 1 GiB, 18 us where parts of it are isolated), so that waiting in order is not worth its
/// second locked operation.
#[derive(Default)]
pub(crate) struct SpinLock(AtomicBool);

impl SpinLock {
    #[inline]
    pub(crate) fn acquire(&self) {
        while self.0.compare_exchange(false, true, Acquire, Relaxed).is_err() {
            relax();
            // Waiting reads a line of its own cache. The model checkers follow the exchange alone: it ends.
            while cfg!(not(feature = "model")) && self.0.load(Relaxed) {
                relax();
            }
        }
    }

    #[inline]
    pub(crate) fn release(&self) {
        self.0.store(false, Release);
    }
}
