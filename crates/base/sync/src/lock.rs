//! [`Lock`]: a spin lock that is taken with interrupts off; a leaf where `unsafe` lives.
//!
//! One locked exchange takes it, one plain store releases it. As a rule, a lock is held for some hundred nanoseconds,
//! so that a queue of waiters would not be worth its second locked operation.
//!
//! Taking the lock takes a proof that interrupts are off, and the guard keeps the proof, so that no interrupt handler
//! can wait for the lock on the CPU that holds it. The proof is a token ([`IrqOff`]), which cannot outlive the guard
//! that turned interrupts off, or that guard itself ([`IrqGuard`]), which turns them on again after the lock is
//! released.
//!
//! Why [`Lock::lock`] takes no closure to run while it waits: a kernel whose CPUs must serve others while they wait
//! calls [`Lock::try_lock`] in a loop of its own.

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use rhumb_machine::{IrqGuard, IrqOff, Machine};

use crate::atomic::{Acquire, AtomicBool, IS_MODELLED, Relaxed, Release, relax};

/// A proof that interrupts are off on this CPU for as long as the value lives.
///
/// # Safety
/// While the value or the [kept](InterruptsOff::Kept) part of it lives, no interrupt handler runs on the CPU that holds
/// it. Both stay on that CPU: neither is `Send` nor `Sync`.
pub unsafe trait InterruptsOff {
    /// The part of the proof that the lock's guard keeps.
    type Kept;

    /// Returns the part of the proof that is kept.
    fn keep(self) -> Self::Kept;
}

// SAFETY: interrupts are off for the token's lifetime, which is kept; neither a token nor its `PhantomData` is `Send`.
unsafe impl<'guard> InterruptsOff for IrqOff<'guard> {
    type Kept = PhantomData<IrqOff<'guard>>;

    #[inline(always)]
    fn keep(self) -> Self::Kept {
        PhantomData
    }
}

// SAFETY: the guard keeps interrupts off until it is dropped, and is not `Send`.
unsafe impl<M: Machine> InterruptsOff for IrqGuard<'_, M> {
    type Kept = Self;

    #[inline(always)]
    fn keep(self) -> Self {
        self
    }
}

/// A value that one CPU at a time can reach.
#[derive(Default)]
pub struct Lock<T> {
    is_taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the lock lets one CPU at a time reach the value.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("is_taken", &self.is_taken()).finish_non_exhaustive()
    }
}

impl<T> Lock<T> {
    crate::const_fn! {
        /// Makes a lock that is not taken.
        pub fn new(value: T) -> Self {
            Self { is_taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
        }
    }

    /// Waits for the lock and takes it. A holder that asks again waits permanently.
    #[inline]
    pub fn lock<P: InterruptsOff>(&self, proof: P) -> Guard<'_, T, P> {
        while !self.take() {
            relax();
            // The wait reads a line of the CPU's own cache. In a model the exchange alone waits, because a checker ends
            // only loops that yield to the holder.
            while !IS_MODELLED && self.is_taken() {
                relax();
            }
        }
        Guard { lock: self, _proof: proof.keep() }
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    /// The proof comes back where the lock is taken.
    #[inline]
    pub fn try_lock<P: InterruptsOff>(&self, proof: P) -> Result<Guard<'_, T, P>, P> {
        if self.take() { Ok(Guard { lock: self, _proof: proof.keep() }) } else { Err(proof) }
    }

    #[inline]
    fn take(&self) -> bool {
        let took = self.is_taken.compare_exchange(false, true, Acquire, Relaxed).is_ok();
        #[cfg(rhumb_counted)]
        if took {
            crate::counted::lock_taken();
        }
        took
    }

    /// Returns whether the lock is taken, which may have changed since.
    #[inline]
    pub fn is_taken(&self) -> bool {
        self.is_taken.load(Relaxed)
    }

    /// Takes the lock from its holder.
    ///
    /// # Safety
    /// The holder uses the value no more, and never drops its guard, because a guard that is dropped later releases the
    /// lock under its next holder.
    pub unsafe fn force_unlock(&self) {
        self.is_taken.store(false, Release);
    }
}

/// A lock that is held, with the proof that interrupts are off. A guard stays on its CPU, because the proof does.
///
/// ```compile_fail,E0277
/// fn is_send<T: Send>() {}
/// is_send::<rhumb_sync::Guard<'_, u32, rhumb_machine::IrqOff<'_>>>();
/// ```
/// ```compile_fail,E0277
/// fn is_send<T: Send>() {}
/// fn check<M: rhumb_machine::Machine>() {
///     is_send::<rhumb_sync::Guard<'static, u32, rhumb_machine::IrqGuard<'static, M>>>();
/// }
/// ```
///
/// Nor is it shared with others:
/// ```compile_fail,E0277
/// fn is_sync<T: Sync>() {}
/// fn check<M: rhumb_machine::Machine>() {
///     is_sync::<rhumb_sync::Guard<'static, u32, rhumb_machine::IrqGuard<'static, M>>>();
/// }
/// ```
///
/// Interrupts do not come back before it is dropped:
/// ```compile_fail,E0505
/// fn check<M: rhumb_machine::Machine>(machine: &M, lock: &rhumb_sync::Lock<u32>) {
///     let off = machine.irq_off();
///     let held = lock.lock(off.irq_off());
///     drop(off);
///     drop(held);
/// }
/// ```
#[must_use = "the lock is released when the guard is dropped"]
pub struct Guard<'a, T, P: InterruptsOff> {
    lock: &'a Lock<T>,
    _proof: P::Kept,
}

impl<T, P: InterruptsOff> Deref for Guard<'_, T, P> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard proves that this CPU alone holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T, P: InterruptsOff> DerefMut for Guard<'_, T, P> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard proves that this CPU alone holds the lock, and the guard is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T, P: InterruptsOff> Drop for Guard<'_, T, P> {
    /// Releases the lock; the proof is dropped after that.
    #[inline]
    fn drop(&mut self) {
        self.lock.is_taken.store(false, Release);
    }
}
