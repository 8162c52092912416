//! The kernel's lock: spins, with interrupts off while held.
//!
//! A CPU that waits for it serves cross-calls meanwhile, so a holder may flush other CPUs' translations without a
//! deadlock.

use rhumb_machine::{IrqGuard, Machine};
use rhumb_sync::{Guard, Lock};

use super::call;
use super::machine::{KernelMachine, MACHINE};

/// A value that one CPU at a time may touch, interrupt handlers included.
pub struct IrqMutex<T>(Lock<T>);

/// A held lock, with interrupts off: first the lock opens, then interrupts come back, if this was the CPU's last guard.
/// So guards of several locks may be dropped in any order.
pub type IrqMutexGuard<'a, T> = Guard<'a, T, IrqGuard<'static, KernelMachine>>;

impl<T> IrqMutex<T> {
    /// Returns an open lock.
    pub const fn new(value: T) -> Self {
        Self(Lock::new(value))
    }

    /// Waits for the lock. Not reentrant: a holder that asks again waits permanently.
    #[track_caller]
    pub fn lock(&self) -> IrqMutexGuard<'_, T> {
        loop {
            if let Some(guard) = self.try_lock() {
                return guard;
            }
            while self.0.is_taken() {
                call::serve_if_here();
                core::hint::spin_loop();
            }
        }
    }

    /// Returns the lock if it is open now.
    #[track_caller]
    pub fn try_lock(&self) -> Option<IrqMutexGuard<'_, T>> {
        self.0.try_lock(MACHINE.irq_off()).ok()
    }

    /// Takes the lock from its holder.
    ///
    /// # Safety
    /// Only on the way to a stop: the holder uses the value no more and never drops its guard, or the lock would open
    /// under its next holder. The value may be half changed.
    pub unsafe fn force_unlock(&self) {
        // SAFETY: the holder uses the value no more and never drops its guard, by the caller's promise.
        unsafe { self.0.force_unlock() }
    }
}
