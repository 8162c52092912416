//! Threads: made and joined, and the CPU given from one to another.
//!
//! The prompt's thread is one of real time meanwhile, and so are those with which it takes turns: then each gives way to
//! the other at each turn, whatever their shares.

use core::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use rhumb_machine::CpuMask;
use rhumb_sched::{Policy, Priority, Turns};

use super::{Interrupts, Operation};
use crate::cpu::area;
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::task::thread::spawn;
use crate::task::{ThreadRef, WaitQueue, scheduler};

regions! {
    262: CreateJoin, "thread/create+join", "make a thread that does nothing, run it, and wait for its end";
    263: Yields, "thread/yield/pair", "give way to another thread of this CPU, which gives way back: two switches";
    264: WakesWaits, "thread/wake+wait/pair", "wake another thread of this CPU and wait until it has done the same";
}

/// The prompt's thread as one of real time, until this goes.
struct InRealTime {
    thread: ThreadRef,
    before: Policy,
}

impl InRealTime {
    fn begin() -> Result<(Self, Policy), Failure> {
        let thread = scheduler().current().ok_or_else(|| Failure::because("there are no threads"))?;
        let priority = Priority::new(1).ok_or_else(|| Failure::because("there is no such priority"))?;
        let policy = Policy::RealTime(priority, Turns::Fifo);
        let before = thread.policy();
        scheduler().set_policy(&thread, policy);
        Ok((Self { thread, before }, policy))
    }
}

impl Drop for InRealTime {
    fn drop(&mut self) {
        scheduler().set_policy(&self.thread, self.before);
    }
}

/// Makes a thread on this CPU, and joins it.
struct CreateJoin {
    here: CpuMask,
    policy: Policy,
    wrong: u64,
    _real_time: InRealTime,
}

impl Operation for CreateJoin {
    const INTERRUPTS: Interrupts = Interrupts::On;

    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let (_real_time, policy) = InRealTime::begin()?;
        Ok(Self { here: CpuMask::only(area::cpu_now()), policy, wrong: 0, _real_time })
    }

    #[inline(always)]
    fn run(&mut self) {
        let thread = spawn(format_args!("counted"), self.policy, &self.here, || 7);
        let joined = thread.is_ok_and(|thread| scheduler().join(&thread, None) == Ok(7));
        self.wrong += u64::from(!joined);
    }

    fn finish(self) -> Result<(), Failure> {
        ensure!(self.wrong == 0, "{} threads were not made, or returned something else", self.wrong);
        Ok(())
    }
}

/// Whether the other thread is to end.
static STOP: AtomicBool = AtomicBool::new(false);
static TURN: AtomicU64 = AtomicU64::new(0);
static QUEUES: [WaitQueue; 2] = [const { WaitQueue::new() }; 2];

/// Another thread of this CPU, which runs `body` until it is told to stop.
struct Other {
    thread: ThreadRef,
    _real_time: InRealTime,
}

impl Other {
    fn start(body: fn() -> u64) -> Result<Self, Failure> {
        STOP.store(false, Relaxed);
        TURN.store(0, SeqCst);
        let (_real_time, policy) = InRealTime::begin()?;
        let here = CpuMask::only(area::cpu_now());
        let thread = spawn(format_args!("other"), policy, &here, body).map_err(Failure::because)?;
        Ok(Self { thread, _real_time })
    }

    fn end(self, least: u64) -> Result<(), Failure> {
        STOP.store(true, Relaxed);
        TURN.fetch_add(1, SeqCst);
        QUEUES[1].wake_all(scheduler());
        let turns = scheduler().join(&self.thread, None).unwrap_or(0);
        ensure!(turns >= least, "the other thread had {turns} turns of {least}");
        Ok(())
    }
}

/// Yields, and gets the CPU back.
struct Yields {
    other: Other,
    runs: u64,
}

impl Operation for Yields {
    const INTERRUPTS: Interrupts = Interrupts::On;

    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let body = || {
            let mut turns = 0;
            while !STOP.load(Relaxed) {
                turns += 1;
                scheduler().yield_now();
            }
            turns
        };
        Ok(Self { other: Other::start(body)?, runs: 0 })
    }

    #[inline(always)]
    fn run(&mut self) {
        scheduler().yield_now();
        self.runs += 1;
    }

    fn finish(self) -> Result<(), Failure> {
        self.other.end(self.runs)
    }
}

/// Takes turns with another thread over two wait queues.
struct WakesWaits {
    other: Other,
    runs: u64,
}

/// Gives the turn to `other` and waits for it.
#[inline(always)]
fn give_turn_to(other: usize) {
    TURN.store(other as u64, SeqCst);
    QUEUES[other].wake_one(scheduler());
    // It is neither cancelled nor timed out.
    let _ = QUEUES[1 - other]
        .wait_while(scheduler(), None, |_| TURN.load(SeqCst) == other as u64 && !STOP.load(Relaxed));
}

impl Operation for WakesWaits {
    const INTERRUPTS: Interrupts = Interrupts::On;

    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let body = || {
            let mut turns = 0;
            while !STOP.load(Relaxed) {
                turns += 1;
                give_turn_to(0);
            }
            turns
        };
        Ok(Self { other: Other::start(body)?, runs: 0 })
    }

    #[inline(always)]
    fn run(&mut self) {
        give_turn_to(1);
        self.runs += 1;
    }

    fn finish(self) -> Result<(), Failure> {
        self.other.end(self.runs)
    }
}
