//! [`QueueLock`]: a spin lock that CPUs take in the order in which they asked for it; a leaf where `unsafe` lives.
//!
//! ```text
//!   look ──draws a ticket, keeps it in the CPU's Place──> look, look, ... ──the ticket is served──> guard
//!                                                                               dropped: serves the next ticket
//! ```
//!
//! A CPU that waits *looks* again and again, and is free between two looks: it answers calls, and interrupts may be on.
//! So the ticket belongs to the CPU, in its [`Place`], and not to the code that waits: an interrupt
//! handler that asks for the lock meanwhile looks with the same ticket. The handler takes the lock by it, and the code
//! that it has interrupted draws another one. Were the handler given a later ticket, it would wait for code that cannot
//! run before the handler ends.
//!
//! **Fair.** Between the first look of a CPU and its turn, each other CPU takes the lock once at most, because a CPU has
//! one ticket at a time. A CPU whose turn has come keeps the others waiting until it looks. So code that runs on a CPU
//! in between, an interrupt handler or a call's function, must not wait for a lock whose holder waits for this one.
//!
//! Taking a free lock is one locked addition, releasing it a plain store. It is for a lock that is held for some
//! microseconds, where an exchange in a loop lets the CPU win that is nearest to the line. For shorter ones there is
//! [`Lock`](crate::Lock).
//!
//! Why not an MCS queue, whose waiters spin on lines of their own: a node of that queue is the running code's, and a
//! handler's node would lie behind the one of the code that it has interrupted.
//!
//! Source: D. Reed and R. Kanodia, "Synchronization with Eventcounts and Sequencers", 1979 (tickets).

use core::cell::UnsafeCell;
use core::fmt;
use core::ops::{Deref, DerefMut};

use crate::atomic::{Acquire, AtomicU32, AtomicU64, Relaxed, Release};
use crate::lock::InterruptsOff;

/// A CPU's place in the queue of one lock: the ticket that it has drawn, if it waits.
#[derive(Debug)]
pub struct Place(AtomicU64);

/// No ticket: past all of them.
const NONE: u64 = u64::MAX;

impl Place {
    crate::const_fn! {
        /// Makes the place of a CPU that does not wait.
        ///
        /// # Safety
        /// It is given to looks of one CPU alone, and at one lock alone.
        pub unsafe fn new() -> Self {
            Self(AtomicU64::new(NONE))
        }
    }
}

/// A value that one CPU at a time can reach, in turns.
pub struct QueueLock<T> {
    /// The ticket that is drawn next.
    next: AtomicU32,
    /// The ticket whose CPU has the lock, or may take it.
    serving: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the lock lets one CPU at a time reach the value.
unsafe impl<T: Send> Sync for QueueLock<T> {}

impl<T> fmt::Debug for QueueLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueLock").field("drawn", &self.drawn()).finish_non_exhaustive()
    }
}

impl<T> QueueLock<T> {
    crate::const_fn! {
        /// Makes a lock that is not taken.
        pub fn new(value: T) -> Self {
            Self { next: AtomicU32::new(0), serving: AtomicU32::new(0), value: UnsafeCell::new(value) }
        }
    }

    /// Makes a lock of which `drawn` tickets were drawn and served.
    #[cfg(test)]
    pub(crate) fn after(drawn: u32, value: T) -> Self {
        Self { next: AtomicU32::new(drawn), serving: AtomicU32::new(drawn), value: UnsafeCell::new(value) }
    }

    /// Takes the lock if it is this CPU's turn. If not, the CPU is in the queue from now on, and must look again until it
    /// has the lock, because the others wait for its turn.
    ///
    /// # Errors
    /// The proof comes back where it is another CPU's turn.
    #[inline]
    pub fn look<P: InterruptsOff>(&self, proof: P, place: &Place) -> Result<QueueGuard<'_, T, P>, P> {
        let kept = place.0.load(Relaxed);
        let ticket = if kept == NONE { self.next.fetch_add(1, Relaxed) } else { kept as u32 };
        if self.serving.load(Acquire) != ticket {
            place.0.store(u64::from(ticket), Relaxed);
            return Err(proof);
        }
        if kept != NONE {
            place.0.store(NONE, Relaxed);
        }
        Ok(self.taken(proof))
    }

    /// Takes the lock if it is free and no CPU waits for it.
    ///
    /// # Errors
    /// The proof comes back where the lock is not taken.
    #[inline]
    pub fn try_lock<P: InterruptsOff>(&self, proof: P) -> Result<QueueGuard<'_, T, P>, P> {
        let ticket = self.serving.load(Acquire);
        // If the exchange succeeds, no ticket was drawn since the read, so that the one that was read is still served.
        match self.next.compare_exchange(ticket, ticket.wrapping_add(1), Relaxed, Relaxed) {
            Ok(_) => Ok(self.taken(proof)),
            Err(_) => Err(proof),
        }
    }

    #[inline(always)]
    fn taken<P: InterruptsOff>(&self, proof: P) -> QueueGuard<'_, T, P> {
        #[cfg(rhumb_counted)]
        crate::counted::lock_taken();
        QueueGuard { lock: self, _proof: proof.keep() }
    }

    /// Tells whether a look is worth its while: the turn is that of the place, or it has no ticket.
    #[inline]
    pub fn is_turn(&self, place: &Place) -> bool {
        let kept = place.0.load(Relaxed);
        kept == NONE || self.serving.load(Relaxed) == kept as u32
    }

    /// Returns how many tickets were drawn, modulo 2^32: how often the lock was taken, and how many CPUs wait besides.
    pub fn drawn(&self) -> u32 {
        self.next.load(Relaxed)
    }
}

/// A [`QueueLock`] that is held, with the proof that interrupts are off. A guard stays on its CPU, because the proof
/// does.
#[must_use = "the lock is released when the guard is dropped"]
pub struct QueueGuard<'a, T, P: InterruptsOff> {
    lock: &'a QueueLock<T>,
    _proof: P::Kept,
}

impl<T, P: InterruptsOff> Deref for QueueGuard<'_, T, P> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard proves that this CPU alone holds the lock: tickets are drawn once, one is served at a time,
        // and a place belongs to one CPU.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T, P: InterruptsOff> DerefMut for QueueGuard<'_, T, P> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard proves that this CPU alone holds the lock, because tickets are drawn once and served one at
        // a time; and the guard is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T, P: InterruptsOff> Drop for QueueGuard<'_, T, P> {
    /// Serves the next ticket; the proof is dropped after that.
    #[inline]
    fn drop(&mut self) {
        // Only the holder writes it.
        let served = self.lock.serving.load(Relaxed);
        self.lock.serving.store(served.wrapping_add(1), Release);
    }
}
