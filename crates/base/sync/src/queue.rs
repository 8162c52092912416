//! [`QueueLock`]: a spin lock that CPUs take in the order in which they asked for it.
//!
//! ```text
//!   look ── free, and no CPU waits ──> guard
//!     └── else: draws a ticket, keeps it in the CPU's Place ──> waits, looks, waits, looks ... its turn ──> guard
//! ```
//!
//! A CPU that waits *looks* again and again. Between two looks it answers calls, and its interrupts may be on. So the
//! ticket belongs to the CPU, in its [`Place`], and not to the code that waits: an interrupt handler that asks for the
//! lock meanwhile looks with the same ticket. If the handler takes the lock with it, the interrupted code draws another
//! ticket.
//!
//! **Fair.** Between the first look of a CPU and its turn, each other CPU takes the lock once at most, because a CPU
//! has one ticket at a time. Tickets only say which CPU may try to take the lock within; that lock alone keeps CPUs
//! apart.
//!
//! **A turn that is not used is passed over**, when a CPU that waits has found the lock free in the same turn
//! [`PATIENCE`] times in a row. The CPU whose turn it is may be in an interrupt handler, which may even wait for one of
//! the CPUs that wait here. Or it is a virtual CPU that its host has stopped running, and the others would wait for
//! milliseconds. A CPU that was passed over draws another ticket when it looks again.
//!
//! Taking a free lock is one locked exchange, releasing it a plain store. This lock is for data that a CPU holds for
//! some microseconds: there, exchanges in a loop would favour the CPU that is nearest to the cache line. For shorter
//! holds there is [`Lock`](crate::Lock).
//!
//! Why not an MCS queue, whose waiters spin on lines of their own: a node of such a queue belongs to the running code,
//! so a handler's node would lie behind that of the code that the handler has interrupted.
//!
//! Source: D. Reed and R. Kanodia, "Synchronization with Eventcounts and Sequencers", 1979 (tickets).

use core::fmt;

use crate::atomic::{AtomicU32, AtomicU64, IS_MODELLED, Relaxed};
use crate::lock::{Guard, InterruptsOff, Lock};

/// How many times in a row a CPU finds the lock free in another CPU's turn before it passes that CPU over. A waiting
/// CPU that runs uses its turn sooner: an iteration of its loop takes some 50 ns, and the line comes to it in less than
/// 1 us.
pub const PATIENCE: u32 = if IS_MODELLED { 2 } else { 128 };

/// A CPU's place in the queue of one lock: the ticket that the CPU has drawn, if it waits. Each CPU has a place of its
/// own for each lock: CPUs that share a place, or a place that serves two locks, would wait out of turn.
#[derive(Debug)]
pub struct Place {
    ticket: AtomicU64,
    /// How many times in a row this CPU has found the lock free in the turn of the ticket `seen`.
    unused: AtomicU32,
    seen: AtomicU64,
}

/// No ticket: past all of them.
const NONE: u64 = u64::MAX;

impl Place {
    crate::const_fn! {
        /// Makes the place of a CPU that does not wait.
        pub fn new() -> Self {
            Self { ticket: AtomicU64::new(NONE), unused: AtomicU32::new(0), seen: AtomicU64::new(NONE) }
        }
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

/// A value that one CPU at a time can reach, in turns.
pub struct QueueLock<T> {
    lock: Lock<T>,
    /// The ticket that is drawn next. 64 bits never wrap, so a ticket that was passed over long ago never comes up
    /// again.
    next: AtomicU64,
    /// The ticket whose CPU may take the lock. Equal to `next` where no CPU waits.
    serving: AtomicU64,
}

impl<T> fmt::Debug for QueueLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueLock").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

impl<T> QueueLock<T> {
    crate::const_fn! {
        /// Makes a lock that is not taken.
        pub fn new(value: T) -> Self {
            Self { lock: Lock::new(value), next: AtomicU64::new(0), serving: AtomicU64::new(0) }
        }
    }

    /// Makes a lock of which `drawn` tickets were drawn and served.
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(crate) const fn after(drawn: u64, value: T) -> Self {
        Self { lock: Lock::new(value), next: AtomicU64::new(drawn), serving: AtomicU64::new(drawn) }
    }

    /// Takes the lock if it is free, and either no CPU waits or it is this CPU's turn. Otherwise the CPU is in the
    /// queue from now on, and must look again.
    ///
    /// # Errors
    /// The proof comes back where the lock is not taken.
    #[inline]
    pub fn look<P: InterruptsOff>(&self, proof: P, place: &Place) -> Result<Guard<'_, T, P>, P> {
        let proof = if place.ticket.load(Relaxed) == NONE {
            match self.try_lock(proof) {
                Ok(guard) => return Ok(guard),
                Err(proof) => proof,
            }
        } else {
            proof
        };
        self.look_in_turn(proof, place)
    }

    /// Takes the lock in the turn of the ticket in the place, or of a new one.
    #[cold]
    fn look_in_turn<P: InterruptsOff>(&self, proof: P, place: &Place) -> Result<Guard<'_, T, P>, P> {
        let kept = self.ticket_in(place);
        let ticket = kept.unwrap_or_else(|| self.next.fetch_add(1, Relaxed));
        let taken = if self.serving.load(Relaxed) == ticket { self.lock.try_lock(proof) } else { Err(proof) };
        if taken.is_ok() {
            // Another CPU may have passed the ticket over at the last moment.
            self.end_turn(ticket);
            place.ticket.store(NONE, Relaxed);
        } else if kept.is_none() {
            place.ticket.store(ticket, Relaxed);
        }
        taken
    }

    /// Takes the lock if it is free and no CPU waits for it.
    ///
    /// # Errors
    /// The proof comes back where the lock is not taken.
    #[inline]
    pub fn try_lock<P: InterruptsOff>(&self, proof: P) -> Result<Guard<'_, T, P>, P> {
        if self.waiting() == 0 { self.lock.try_lock(proof) } else { Err(proof) }
    }

    /// Tells whether a CPU that has looked in vain goes on waiting; if not, its next look is likely to take the lock.
    /// Passes over a CPU that does not use its turn.
    pub fn waits(&self, place: &Place) -> bool {
        let is_free = !self.lock.is_taken();
        let serving = self.serving.load(Relaxed);
        match self.ticket_in(place) {
            Some(ticket) if ticket != serving => {}
            _ => return !is_free,
        }
        let is_same = is_free && place.seen.load(Relaxed) == serving;
        let unused = if is_same { place.unused.load(Relaxed) + 1 } else { 0 };
        place.seen.store(serving, Relaxed);
        place.unused.store(unused, Relaxed);
        if unused >= PATIENCE {
            place.unused.store(0, Relaxed);
            self.end_turn(serving);
        }
        true
    }

    /// Returns the place's ticket, unless it was passed over.
    fn ticket_in(&self, place: &Place) -> Option<u64> {
        let kept = place.ticket.load(Relaxed);
        (kept != NONE && kept >= self.serving.load(Relaxed)).then_some(kept)
    }

    /// Ends the turn of a ticket, unless that has ended already.
    fn end_turn(&self, ticket: u64) {
        let _ = self.serving.compare_exchange(ticket, ticket + 1, Relaxed, Relaxed);
    }

    /// Returns how many tickets are drawn and not served yet. The number may have changed since.
    #[inline]
    pub fn waiting(&self) -> u64 {
        self.next.load(Relaxed).wrapping_sub(self.serving.load(Relaxed))
    }
}
