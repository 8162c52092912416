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
//! The word names the CPU by its APIC id. A CPU that was given up and comes late, when the next one has its area and its
//! word, does not find itself named, and stops.

use crate::sync::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Release},
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
    /// No CPU is being started.
    #[cfg(not(all(test, loom)))]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// No CPU is being started; loom's atomics cannot be made at compile time.
    #[cfg(all(test, loom))]
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
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

    /// How far the CPU with this APIC id has come.
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
