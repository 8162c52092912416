//! The kernel's locks: they spin, with interrupts off while held. [`IrqMutex`] is for data that is held for a moment;
//! [`TablesMutex`] has a queue, and is for the page tables, which are held for microseconds.
//!
//! A CPU that waits for one of them serves cross-calls meanwhile, so a holder may flush other CPUs' translations
//! without a deadlock. Its interrupts are on, if its code has them on.

#[cfg(feature = "lab")]
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_machine::{IrqGuard, Machine, Pinned};
use rhumb_sync::{Guard, Lock, QueueLock};

use super::machine::{KernelMachine, MACHINE};
use super::{area, call};

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

/// A value that CPUs reach in the order in which they ask for it: that of the page tables. A CPU's
/// [`tables_place`](area::Here::tables_place) is in the queue of this one lock.
///
/// A CPU that waits serves calls, and its interrupts may be on. Where these take long, its turn is passed over.
pub struct TablesMutex<T> {
    queue: QueueLock<T>,
    /// How often it was taken. Its holder writes it.
    #[cfg(feature = "lab")]
    taken: AtomicU64,
}

/// A held lock, as [`IrqMutexGuard`].
pub type TablesMutexGuard<'a, T> = Guard<'a, T, IrqGuard<'static, KernelMachine>>;

impl<T> TablesMutex<T> {
    /// Returns an open lock. There is to be one, because a CPU has one place.
    pub const fn new(value: T) -> Self {
        Self {
            queue: QueueLock::new(value),
            #[cfg(feature = "lab")]
            taken: AtomicU64::new(0),
        }
    }

    /// Waits for its turn and takes the lock. Not reentrant: a holder that asks again waits permanently.
    #[track_caller]
    pub fn lock(&self) -> TablesMutexGuard<'_, T> {
        let proof = MACHINE.irq_off();
        let place = area::here(proof.irq_off().pinned()).tables_place();
        match self.queue.look(proof, place) {
            Ok(guard) => self.counted(guard),
            Err(proof) => {
                // The place is this CPU's, so the code stays here until it has had its turn.
                let pin = MACHINE.pin();
                drop(proof);
                self.wait(pin.pinned())
            }
        }
    }

    /// Waits for the turn of a CPU that has a ticket.
    #[cold]
    #[track_caller]
    fn wait(&self, pinned: Pinned<'_>) -> TablesMutexGuard<'_, T> {
        let place = area::here(pinned).tables_place();
        loop {
            while self.queue.waits(place) {
                call::serve_if_here();
                core::hint::spin_loop();
            }
            if let Ok(guard) = self.queue.look(MACHINE.irq_off(), place) {
                return self.counted(guard);
            }
        }
    }

    /// Returns the lock if it is open now and no CPU waits for it.
    #[track_caller]
    pub fn try_lock(&self) -> Option<TablesMutexGuard<'_, T>> {
        self.queue.try_lock(MACHINE.irq_off()).ok().map(|guard| self.counted(guard))
    }

    #[inline(always)]
    fn counted<'a>(&self, guard: TablesMutexGuard<'a, T>) -> TablesMutexGuard<'a, T> {
        #[cfg(feature = "lab")]
        self.taken.store(self.taken.load(Relaxed) + 1, Relaxed);
        guard
    }

    /// Returns how often it was taken.
    #[cfg(feature = "lab")]
    pub fn times_taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }
}
