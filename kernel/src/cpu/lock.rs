//! The kernel's lock: spins, with interrupts off while held.
//!
//! A CPU that waits for it serves cross-calls meanwhile, so a holder may flush other CPUs' translations without a
//! deadlock.

use core::ops::{Deref, DerefMut};

use rhumb_machine::{IrqGuard, Machine};
use spin::mutex::{SpinMutex, SpinMutexGuard};

use super::call;
use super::machine::{KernelMachine, MACHINE};

/// A value that one CPU at a time may touch, interrupt handlers included.
pub struct IrqMutex<T>(SpinMutex<T>);

/// A held lock, with interrupts off. Fields drop in order: first the lock opens, then interrupts come back, if this was
/// the CPU's last guard. So guards of several locks may be dropped in any order. A guard stays on its CPU: it is
/// neither `Send` nor `Sync`, because an [`IrqGuard`] is neither.
pub struct IrqMutexGuard<'a, T> {
    value: SpinMutexGuard<'a, T>,
    _irq: IrqGuard<'static, KernelMachine>,
}

impl<T> IrqMutex<T> {
    /// Returns an open lock.
    pub const fn new(value: T) -> Self {
        Self(SpinMutex::new(value))
    }

    /// Waits for the lock. Not reentrant: a holder that asks again waits permanently.
    #[track_caller]
    pub fn lock(&self) -> IrqMutexGuard<'_, T> {
        loop {
            let irq = MACHINE.irq_off();
            if let Some(value) = self.0.try_lock() {
                return IrqMutexGuard { value, _irq: irq };
            }
            drop(irq);
            while self.0.is_locked() {
                call::serve_if_here();
                core::hint::spin_loop();
            }
        }
    }

    /// Returns the lock if it is open now.
    #[track_caller]
    pub fn try_lock(&self) -> Option<IrqMutexGuard<'_, T>> {
        let irq = MACHINE.irq_off();
        self.0.try_lock().map(|value| IrqMutexGuard { value, _irq: irq })
    }

    /// Takes the lock from its holder.
    ///
    /// # Safety
    /// Only on the way to a stop: the holder does not run any more, or its half-done work does not matter.
    pub unsafe fn force_unlock(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.0.force_unlock() }
    }
}

impl<T> Deref for IrqMutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for IrqMutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}
