//! [`StartWord`]: the one decision about a CPU that is being started.
//!
//! ```text
//!            begin(id)                    come_online(id)       by the CPU that starts
//!  VACANT ───────────────> STARTING, id ──────────────────────> ONLINE, id
//!    ^ <── begin(next id)       │  │ refuse(id)                 by the CPU that starts
//!    │                          │  └──────────────────────────> REFUSED, id
//!    │                          │ cancel(id)                    by the CPU that starts it
//!    └──────────────────────────┴─────────────────────────────> CANCELLED, id
//! ```
//!
//! The CPU that has been told to start, and the CPU that has told it, may lose patience at the same moment. Each moves
//! the word out of STARTING by one compare-and-swap, so exactly one of them succeeds, and both know which: a CPU that
//! was given up never takes part, and a CPU that takes part is never given up (and reset).
//!
//! The word names the CPU by its APIC id. A CPU that was given up and comes late, when the next one has its area and
//! its word, does not find itself named, and stops.
//!
//! [`Starts`] is for CPUs that flush translations. A CPU that starts walks the kernel's page tables before it is
//! counted among the CPUs that run, and can answer no call then: a flusher waits until that start is over.

use rhumb_sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    fence,
};

const STARTING: u64 = 1 << 32;
const ONLINE: u64 = 2 << 32;
const REFUSED: u64 = 3 << 32;
const CANCELLED: u64 = 4 << 32;
const STATE: u64 = !0 << 32;

/// How far a CPU that is being started has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// It has not answered yet.
    Starting,
    /// It takes part.
    Online,
    /// It has come, and found that it cannot take part.
    Refused,
    /// It was given up, or the word is about another CPU.
    Cancelled,
}

/// The other side was faster: this one's decision does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "a CPU that lost the decision acts as the winner has decided"]
pub struct TooLate;

/// The state of one start. One CPU starts another at a time.
#[derive(Debug)]
pub struct StartWord(AtomicU64);

impl StartWord {
    rhumb_sync::const_fn! {
        /// Makes the word of a machine that starts no CPU.
        pub fn new() -> Self {
            Self(AtomicU64::new(0))
        }
    }

    /// Begins the start of the CPU with this APIC id. The start before has been decided.
    pub fn begin(&self, apic_id: u32) {
        self.0.store(STARTING | u64::from(apic_id), Release);
    }

    /// Lets the CPU that starts take part, unless it has been given up.
    ///
    /// # Errors
    /// [`TooLate`]: it was given up, or another CPU is being started now. It stops.
    pub fn come_online(&self, apic_id: u32) -> Result<(), TooLate> {
        self.decide(apic_id, ONLINE)
    }

    /// Says that the CPU that starts cannot take part.
    ///
    /// # Errors
    /// [`TooLate`]: it was given up before.
    pub fn refuse(&self, apic_id: u32) -> Result<(), TooLate> {
        self.decide(apic_id, REFUSED)
    }

    /// Gives up the CPU that is being started, so that it never takes part.
    ///
    /// # Errors
    /// [`TooLate`]: it has come online, or has refused: [`StartWord::progress`] tells.
    pub fn cancel(&self, apic_id: u32) -> Result<(), TooLate> {
        self.decide(apic_id, CANCELLED)
    }

    /// Returns how far the CPU with this APIC id has come.
    pub fn progress(&self, apic_id: u32) -> Progress {
        let word = self.0.load(Acquire);
        match word & STATE {
            _ if word & !STATE != u64::from(apic_id) => Progress::Cancelled,
            STARTING => Progress::Starting,
            ONLINE => Progress::Online,
            REFUSED => Progress::Refused,
            _ => Progress::Cancelled,
        }
    }

    fn decide(&self, apic_id: u32, state: u64) -> Result<(), TooLate> {
        let (id, undecided) = (u64::from(apic_id), STARTING | u64::from(apic_id));
        self.0.compare_exchange(undecided, state | id, AcqRel, Acquire).map(|_| ()).map_err(|_| TooLate)
    }
}

impl Default for StartWord {
    fn default() -> Self {
        Self::new()
    }
}

/// Which start of a CPU is under way: an odd number while one is.
///
/// ```text
///   a CPU that starts another            a CPU that flushes
///   begin                                changes entries of page tables
///   tells the CPU to start               fence
///   it walks the tables, unlisted        wait: a start that is under way, until it is over
///   it is listed, or reset               looks which CPUs run, and flushes those
///   end                                  gives tables and frames to others
/// ```
///
/// Either the flusher sees the start, waits, and finds the CPU listed, so that it is flushed like any other, or gone;
/// or its entries were written before the start began, so that the CPU walks the new ones alone.
#[derive(Debug)]
pub struct Starts(AtomicU64);

impl Starts {
    rhumb_sync::const_fn! {
        /// Makes the word of a machine that starts no CPU.
        pub fn new() -> Self {
            Self(AtomicU64::new(0))
        }
    }

    /// Says that a CPU is told to start now; the start is over when the value is dropped. One at a time. Until then the
    /// caller does not flush.
    pub fn begin(&self) -> Start<'_> {
        self.0.store(self.0.load(Relaxed) | 1, Relaxed);
        // Before the CPU can be told: see above.
        fence(SeqCst);
        Start(self)
    }

    /// Returns when the start that is under way is over; at once where none is. The caller has passed a `SeqCst` fence
    /// since its last write of an entry. `has_waited` is called for each turn of the loop.
    #[inline]
    pub fn wait(&self, mut has_waited: impl FnMut()) {
        let found = self.0.load(Acquire);
        // Another start may follow at once. It does not matter: it began after the entries were written.
        while found & 1 == 1 && self.0.load(Acquire) == found {
            has_waited();
        }
    }
}

impl Default for Starts {
    fn default() -> Self {
        Self::new()
    }
}

/// A start that is under way.
#[derive(Debug)]
#[must_use = "the start counts as over when this is dropped"]
pub struct Start<'a>(&'a Starts);

impl Drop for Start<'_> {
    fn drop(&mut self) {
        self.0.0.store(self.0.0.load(Relaxed).wrapping_add(1), Release);
    }
}
