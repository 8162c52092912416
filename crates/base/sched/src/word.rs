//! `StateWord`: the state of a thread in one atomic word, by which CPUs agree on who runs it.
//!
//! ```text
//!   bit 63 ............ 5   4 .. 3   2 .. 0
//!   number of the wait      reason   state
//!
//!             start               run                 end            settle
//!   Created ────────> Ready ────────────> Running ──────────> Ended ────────> Gone
//!                     ^  ^  settle           │  ^
//!                     │  └───────────────────┤  │ wake, withdraw
//!                wake │           prepare    v  │
//!                     └─── Blocked <────── Blocking
//!                                   settle
//! ```
//!
//! **The hand-over.** A thread that is Running, Blocking or Ended is on a CPU: its registers are there. Only the CPU
//! takes it from there, by `StateWord::settle`, *after* it runs on the stack of another thread. A waker that finds
//! Blocking does no more than to say Running; the CPU, when it settles, finds that and puts the thread into a queue. A
//! waker that finds Blocked, whose registers are saved, puts it into a queue itself. So a thread is in a queue only when
//! it is on no CPU, no waker waits for a CPU, and each wake-up is one compare-and-swap.
//!
//! **One end for each wait.** Wake-up, time-out and cancel compete for that compare-and-swap, and one of them wins: it
//! writes its [`Reason`]. Each wait has a number (`Ticket`), so one that comes late ends no later wait.

use rhumb_machine::impossible;
use rhumb_sync::atomic::{AcqRel, Acquire, AtomicU64, Relaxed, Release};

/// The state of a thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    /// Not started yet.
    Created = 0,
    /// In a CPU's queue, or on its way to one.
    Ready = 1,
    /// On a CPU.
    Running = 2,
    /// On a CPU, and about to block unless it is woken.
    Blocking = 3,
    /// Waits, on no CPU.
    Blocked = 4,
    /// Has ended, and its CPU still uses its stack.
    Ended = 5,
    /// Has ended, and no CPU uses its stack.
    Gone = 6,
}

/// The reason why a wait has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Reason {
    /// It has not ended, or it was withdrawn.
    None = 0,
    /// A wake-up.
    Woken = 1,
    /// Its time is over.
    TimedOut = 2,
    /// It was cancelled.
    Cancelled = 3,
}

/// The number of a wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket(u64);

impl Ticket {
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// Where a wake-up found the thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wake {
    /// Not in that wait.
    NotWaiting,
    /// Still on its CPU, which goes on with it or puts it into a queue.
    OnCpu,
    /// On no CPU: the waker, and no other CPU, puts it into a queue.
    OffCpu,
}

/// The place of a thread that its CPU has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Settled {
    /// It is ready, and the CPU puts it into a queue.
    Ready,
    /// It waits. The CPU does not touch it any more.
    Blocked,
    /// It is gone, and the CPU has what belongs to its life.
    Gone,
}

const STATE: u64 = 0b111;
const REASON_SHIFT: u32 = 3;
const REASON: u64 = 0b11 << REASON_SHIFT;
const TICKET_SHIFT: u32 = 5;

const fn word(ticket: Ticket, reason: Reason, state: State) -> u64 {
    ticket.0 << TICKET_SHIFT | (reason as u64) << REASON_SHIFT | state as u64
}

const fn state_of(word: u64) -> State {
    match word & STATE {
        0 => State::Created,
        1 => State::Ready,
        2 => State::Running,
        3 => State::Blocking,
        4 => State::Blocked,
        5 => State::Ended,
        _ => State::Gone,
    }
}

const fn reason_of(word: u64) -> Reason {
    match (word & REASON) >> REASON_SHIFT {
        0 => Reason::None,
        1 => Reason::Woken,
        2 => Reason::TimedOut,
        _ => Reason::Cancelled,
    }
}

/// The state of one thread.
#[derive(Debug)]
pub(crate) struct StateWord(AtomicU64);

impl StateWord {
    rhumb_sync::const_fn! {
        pub(crate) fn new() -> Self {
            Self(AtomicU64::new(word(Ticket(0), Reason::None, State::Created)))
        }
    }

    pub(crate) fn state(&self) -> State {
        state_of(self.0.load(Acquire))
    }

    /// Returns why the last wait ended.
    pub(crate) fn reason(&self) -> Reason {
        reason_of(self.0.load(Relaxed))
    }

    /// Writes another state where the state is `from`, and says whether it was. The caller knows that no other CPU
    /// changes the word now, or loses to one that does.
    fn step(&self, from: State, to: State) -> bool {
        let old = self.0.load(Relaxed);
        let new = old & !STATE | to as u64;
        state_of(old) == from && self.0.compare_exchange(old, new, AcqRel, Relaxed).is_ok()
    }

    /// Created to Ready. Of several callers, one succeeds.
    pub(crate) fn start(&self) -> bool {
        self.step(State::Created, State::Ready)
    }

    /// Ready to Running: by the CPU that took it out of a queue.
    pub(crate) fn run(&self) {
        if !self.step(State::Ready, State::Running) {
            impossible!("only ready threads are in queues, and the CPU that took this one out has it alone");
        }
    }

    /// Running to Ended: by the thread itself.
    pub(crate) fn end(&self) {
        if !self.step(State::Running, State::Ended) {
            impossible!("a thread that ends is running, because this is its own code");
        }
    }

    /// Running to Blocking, in a new wait: by the thread itself. From here on it can be woken.
    pub(crate) fn prepare(&self) -> Ticket {
        let old = self.0.load(Relaxed);
        if state_of(old) != State::Running {
            impossible!("a thread that begins to wait is running, because this is its own code");
        }
        let ticket = Ticket((old >> TICKET_SHIFT).wrapping_add(1) & (u64::MAX >> TICKET_SHIFT));
        // A plain store, because no other CPU changes the word of a running thread.
        self.0.store(word(ticket, Reason::None, State::Blocking), Release);
        ticket
    }

    /// Blocking to Running: by the thread itself, which waits no more. Returns [`Reason::None`], or the reason of the one
    /// that ended the wait before.
    pub(crate) fn withdraw(&self, ticket: Ticket) -> Reason {
        let blocking = word(ticket, Reason::None, State::Blocking);
        let running = word(ticket, Reason::None, State::Running);
        match self.0.compare_exchange(blocking, running, AcqRel, Acquire) {
            Ok(_) => Reason::None,
            Err(found) => reason_of(found),
        }
    }

    /// Returns the wait that the thread is in now.
    pub(crate) fn ticket(&self) -> Option<Ticket> {
        let now = self.0.load(Acquire);
        let waits = matches!(state_of(now), State::Blocking | State::Blocked);
        waits.then_some(Ticket(now >> TICKET_SHIFT))
    }

    /// Ends the wait `ticket`, if the thread is still in it.
    pub(crate) fn wake(&self, ticket: Ticket, reason: Reason) -> Wake {
        let on_cpu = word(ticket, Reason::None, State::Blocking);
        let off_cpu = word(ticket, Reason::None, State::Blocked);
        let mut found = self.0.load(Relaxed);
        loop {
            let (to, wake) = match found {
                _ if found == on_cpu => (State::Running, Wake::OnCpu),
                _ if found == off_cpu => (State::Ready, Wake::OffCpu),
                _ => return Wake::NotWaiting,
            };
            match self.0.compare_exchange(found, word(ticket, reason, to), AcqRel, Relaxed) {
                Ok(_) => return wake,
                // The CPU settled it meanwhile, which happens once, or another ended the wait.
                Err(now) => found = now,
            }
        }
    }

    /// Says that the CPU has left the thread's stack: by the CPU that ran it.
    pub(crate) fn settle(&self) -> Settled {
        loop {
            let old = self.0.load(Acquire);
            let (to, settled) = match state_of(old) {
                State::Running => (State::Ready, Settled::Ready),
                State::Blocking => (State::Blocked, Settled::Blocked),
                State::Ended => (State::Gone, Settled::Gone),
                _ => impossible!("a thread that a CPU leaves is on that CPU" => return Settled::Blocked),
            };
            // It fails once at most: where a waker says Running meanwhile.
            if self.0.compare_exchange(old, old & !STATE | to as u64, AcqRel, Relaxed).is_ok() {
                return settled;
            }
        }
    }
}

#[cfg(test)]
mod tests;
