//! Lazy CPUs: those that idle are not interrupted for a flush, and find a mark when they wake.
//!
//! ```text
//!             enter                     leave_mark (others)
//!   Running ─────────> Lazy ───────────────────────────────> Missed ──┐ leave_mark
//!      ^                │ leave: Clean                          │ <───┘
//!      └────────────────┴───────────────────────────────────────┘ leave: FlushAll
//! ```
//!
//! The rule for the CPU: between [`LazyCpu::enter`] and [`LazyCpu::leave`] it uses only memory whose translation never
//! changes (its stack, the code of the idle loop and of the interrupt's entry); when `leave` says so it flushes
//! everything before it uses anything else.
//!
//! **Proof.** The flusher F has changed entries and then does `leave_mark` on CPU C's word; it skips C only where its
//! exchange from Lazy or Missed *succeeds*. All changes of the word are read-modify-writes (or `enter`, C's own store
//! to a word that only C moves out of Running), so they have one order. After F's exchange the next change by C is
//! a `leave`, which reads Missed: either F's own, or that of later flushers, which wrote it in exchanges that
//! continue F's release sequence. So F's exchange (release) happens before C's `leave` (acquire): C sees F's entries in
//! every walk after its full flush, and the flush dropped all that it had before. C's earlier uses happen before F's
//! exchange: `enter` is a release, and F's exchange an acquire that reads it (or a mark in the same release sequence).
//! So F may reuse the frame at once. Where the exchange fails, or Running was read, C is interrupted, which is always
//! right.
//!
//! A *mark that is there already* must be exchanged again, not only read: a read could be done before F's entries leave
//! its store buffer, while C wakes, flushes, and walks the old entries.
//!
//! The rule does not stop a walk: a CPU may *walk* on speculation while it is lazy or wakes. So the batch refuses
//! laziness where tables will be reused.
//!
//! Source of the idea: lazy TLB mode (Black and others, "Translation Lookaside Buffer Consistency", 1989); here for the
//! kernel's own mappings.

use crate::planted::{self, Fault};
use rhumb_sync::atomic::{
    AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

const RUNNING: u32 = 0;
const LAZY: u32 = 1;
const MISSED: u32 = 2;

/// Whether a flusher could leave its flush to the CPU.
#[must_use = "a CPU that is not lazy has to be interrupted"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MarkLeft {
    /// The CPU is lazy and will flush before it uses anything.
    Left,
    /// The CPU runs: interrupt it.
    NotLazy,
}

/// The duty of a CPU that leaves laziness.
#[must_use = "a missed flush is caught up before any mapping is used"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Woken {
    /// No flusher left a mark.
    Clean,
    /// Flush everything, now.
    FlushAll,
}

/// The state of one CPU: in its own cache line, best in its per-CPU area.
#[derive(Debug)]
pub struct LazyCpu(AtomicU32);

impl LazyCpu {
    rhumb_sync::const_fn! {
        /// Makes the state of a CPU that runs.
        pub fn new() -> Self {
            Self(AtomicU32::new(RUNNING))
        }
    }

    /// Makes this CPU lazy: from now on it uses nothing that other CPUs may change. Where it is lazy already, a mark
    /// that it has been left stays. On the CPU itself, with interrupts off.
    pub fn enter(&self) {
        // Only this CPU moves the word out of Running.
        if self.0.load(Relaxed) == RUNNING {
            self.0.store(LAZY, Release);
        }
    }

    /// Leaves laziness and returns the CPU's duty. Called by the CPU itself, with interrupts off, before it uses
    /// anything. Cost where it is not lazy: one load of its own line.
    #[inline(always)]
    pub fn leave(&self) -> Woken {
        // Only this CPU moves the word into or out of Running, so what it reads here is exact as to that.
        if self.0.load(Relaxed) == RUNNING { Woken::Clean } else { self.wake() }
    }

    #[cold]
    fn wake(&self) -> Woken {
        if self.0.swap(RUNNING, AcqRel) == MISSED { Woken::FlushAll } else { Woken::Clean }
    }

    /// Leaves the flush to this CPU where it is lazy. On another CPU, after it has changed the tables.
    pub fn leave_mark(&self) -> MarkLeft {
        let mut seen = self.0.load(Relaxed);
        while seen != RUNNING {
            if seen == MISSED && planted::is(Fault::MarkNotExchanged) {
                return MarkLeft::Left;
            }
            match self.0.compare_exchange_weak(seen, MISSED, AcqRel, Acquire) {
                Ok(_) => return MarkLeft::Left,
                Err(now) => seen = now,
            }
        }
        MarkLeft::NotLazy
    }

    /// Tells whether it is lazy, for reports: it may have changed since.
    pub fn is_lazy(&self) -> bool {
        self.0.load(Relaxed) != RUNNING
    }

    /// Tells whether it is lazy and was left a mark, for reports: it may have changed since.
    pub fn has_missed(&self) -> bool {
        self.0.load(Relaxed) == MISSED
    }
}

impl Default for LazyCpu {
    fn default() -> Self {
        Self::new()
    }
}
