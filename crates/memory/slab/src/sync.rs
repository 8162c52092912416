//! The atomics and the lock of this crate, so that loom and shuttle can stand in for them; a leaf where `unsafe` lives.
//!
//! What stands in a slab's header or in a magazine belongs to whoever holds the lock, or the magazine, and is plain
//! memory. What a CPU keeps for itself is relaxed atomics, which are plain instructions.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};

use rhumb_machine::IrqOff;

#[cfg(not(feature = "model"))]
pub(crate) use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, fence};
#[cfg(all(feature = "loom", not(feature = "shuttle")))]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, fence};
#[cfg(feature = "shuttle")]
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, fence};

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

/// A value that one CPU at a time may touch. Taken with interrupts off only, and held for short: it spins.
pub(crate) struct Lock<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the lock lets one CPU at a time reach the value.
unsafe impl<T: Send> Sync for Lock<T> {}

/// The lock is held. It cannot outlive the proof that interrupts are off.
pub(crate) struct Guard<'a, T> {
    lock: &'a Lock<T>,
    _irq_off: IrqOff<'a>,
}

impl<T> Lock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    #[inline]
    pub(crate) fn lock<'a>(&'a self, irq_off: IrqOff<'a>) -> Guard<'a, T> {
        while self.taken.compare_exchange(false, true, Acquire, Relaxed).is_err() {
            relax();
            // Waiting reads a line of its own cache. The model checkers follow the exchange alone: it ends.
            while cfg!(not(feature = "model")) && self.taken.load(Relaxed) {
                relax();
            }
        }
        Guard { lock: self, _irq_off: irq_off }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard proves that this CPU alone holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and the guard is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.taken.store(false, Release);
    }
}
