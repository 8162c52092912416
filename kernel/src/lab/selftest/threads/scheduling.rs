//! Which thread runs, and when.

use core::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
};

use rhumb_machine::{CpuId, CpuMask, Machine};
use rhumb_sched::{Mutex, Policy, Priority, State, Turns, WaitError};

use super::{FAIR, PATIENCE_NS, join, start, until};
use crate::cpu::clock::Deadline;
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::{self, area};
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::task::{ThreadRef, WaitQueue, scheduler};

const MS: u64 = 1_000_000;

fn real_time(priority: u8) -> Result<Policy, Failure> {
    let priority = Priority::new(priority).ok_or_else(|| Failure::because("there is no such priority"))?;
    Ok(Policy::RealTime(priority, Turns::Fifo))
}

fn sleep(ns: u64) -> Result<(), Failure> {
    scheduler()
        .sleep_until(MACHINE.now_ns() + ns)
        .map_err(|error| Failure::because(format_args!("a sleep ended with {error:?}")))
}

/// Sleeps until `holds`.
fn await_that(what: &str, holds: impl Fn() -> bool) -> Result<(), Failure> {
    let end = until();
    while !holds() {
        ensure!(MACHINE.now_ns() < end, "{what}: not within {} s", PATIENCE_NS / 1_000_000_000);
        sleep(MS)?;
    }
    Ok(())
}

/// Two threads, on different CPUs where there are two, that wait for each other in turns.
pub fn ping_pong(_: &'static Boot) -> Result<(), Failure> {
    const ROUNDS: u64 = 2000;
    static TURN: AtomicU64 = AtomicU64::new(0);
    static QUEUES: [WaitQueue; 2] = [const { WaitQueue::new() }; 2];
    TURN.store(0, SeqCst);
    let last = cpu::online().iter().last().unwrap_or(CpuId::BOOT);
    let player = |me: u64| {
        move || {
            let (mine, other) = (&QUEUES[me as usize], &QUEUES[1 - me as usize]);
            for _ in 0..ROUNDS {
                let come = mine.wait_while(scheduler(), Some(until()), |_| TURN.load(SeqCst) % 2 != me);
                if come.is_err() {
                    return 1;
                }
                TURN.fetch_add(1, SeqCst);
                other.wake_one(scheduler());
            }
            0
        }
    };
    let first = start("ping", FAIR, &CpuMask::only(CpuId::BOOT), player(0))?;
    let second = start("pong", FAIR, &CpuMask::only(last), player(1))?;
    let lost = join(&first)? + join(&second)?;
    let turns = TURN.load(SeqCst);
    ensure!(lost == 0 && turns == 2 * ROUNDS, "{turns} of {} turns were taken", 2 * ROUNDS);
    Ok(())
}

/// Two threads that never give way, beside the prompt's, on one CPU: all three run.
pub fn preempted(_: &'static Boot) -> Result<(), Failure> {
    static STOP: AtomicBool = AtomicBool::new(false);
    static TURNS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
    STOP.store(false, Relaxed);
    TURNS.iter().for_each(|turns| turns.store(0, Relaxed));
    let here = CpuMask::only(area::cpu_now());
    let spin = |me: usize| {
        move || {
            let end = Deadline::after_ns(PATIENCE_NS);
            while !STOP.load(Relaxed) {
                TURNS[me].fetch_add(1, Relaxed);
                if end.has_passed() {
                    return 1;
                }
            }
            0
        }
    };
    let first = start("spin", FAIR, &here, spin(0))?;
    let second = start("spin", FAIR, &here, spin(1));
    let ran = await_that("both threads run", || TURNS.iter().all(|turns| turns.load(Relaxed) > 1000));
    STOP.store(true, Relaxed);
    let gave_up = join(&first)? + join(&second?)?;
    ensure!(gave_up == 0, "a thread that never yields had its CPU alone");
    ran
}

/// Threads that become ready together run by their urgency.
pub fn urgency(_: &'static Boot) -> Result<(), Failure> {
    static ORDER: AtomicU64 = AtomicU64::new(0);
    ORDER.store(0, Relaxed);
    let here = CpuMask::only(area::cpu_now());
    let me = scheduler().current().ok_or_else(|| Failure::skipped("there are no threads"))?;
    let note = |id: u64| {
        move || {
            ORDER.store(ORDER.load(Relaxed) << 4 | id, Relaxed);
            0
        }
    };
    let before = me.policy();
    // While the test is the most urgent of all, none of the others runs.
    scheduler().set_policy(&me, real_time(40)?);
    let started: Result<[ThreadRef; 3], Failure> = (|| {
        Ok([
            start("low", FAIR, &here, note(1))?,
            start("middle", real_time(5)?, &here, note(2))?,
            start("high", real_time(10)?, &here, note(3))?,
        ])
    })();
    let early = ORDER.load(Relaxed);
    scheduler().set_policy(&me, before);
    for thread in &started? {
        join(thread)?;
    }
    ensure!(early == 0, "a less urgent thread ran first: {early:#x}");
    let order = ORDER.load(Relaxed);
    ensure!(order == 0x321, "the order was {order:#x}");
    Ok(())
}

/// Sleeps, waits with a time-out, and waits that are cancelled.
pub fn time_outs(_: &'static Boot) -> Result<(), Failure> {
    static NEVER: WaitQueue = WaitQueue::new();
    for ns in [0, 100_000, 3 * MS, 20 * MS] {
        let begin = MACHINE.now_ns();
        sleep(ns)?;
        let slept = MACHINE.now_ns() - begin;
        ensure!(slept >= ns && slept < ns + PATIENCE_NS, "a sleep of {ns} ns took {slept}");
        let begin = MACHINE.now_ns();
        let ended = NEVER.wait_while(scheduler(), Some(begin + ns), |_| true);
        ensure!(ended == Err(WaitError::TimedOut), "a wait ended with {ended:?}");
        let waited = MACHINE.now_ns() - begin;
        ensure!(waited >= ns && waited < ns + PATIENCE_NS, "a wait of {ns} ns took {waited}");
    }
    let body = || {
        let ended = NEVER.wait_while(scheduler(), Some(until()), |_| true);
        u64::from(ended != Err(WaitError::Cancelled))
    };
    let thread = start("cancelled", FAIR, &cpu::online(), body)?;
    await_that("the thread waits", || scheduler().cancel(&thread))?;
    let other = join(&thread)?;
    ensure!(other == 0, "a wait that was cancelled ended otherwise");
    Ok(())
}

/// The holder of a mutex is as urgent as the thread that waits for it, and no longer than that.
pub fn inheritance(_: &'static Boot) -> Result<(), Failure> {
    static SHARED: Mutex<u64, KernelMachine> = Mutex::new(0);
    static GATE: WaitQueue = WaitQueue::new();
    static HAS: AtomicBool = AtomicBool::new(false);
    static GO: AtomicBool = AtomicBool::new(false);
    HAS.store(false, Relaxed);
    GO.store(false, Relaxed);
    let here = CpuMask::only(area::cpu_now());
    let hold = || {
        let Ok(mut value) = SHARED.lock(scheduler()) else { return 1 };
        HAS.store(true, Release);
        let opened = GATE.wait_while(scheduler(), Some(until()), |_| !GO.load(Acquire));
        *value = 5;
        drop(value);
        u64::from(opened.is_err())
    };
    let want = || match SHARED.lock(scheduler()) {
        Ok(value) => *value,
        Err(_) => 0,
    };
    let urgent = real_time(40)?;
    let holder = start("holder", FAIR, &here, hold)?;
    await_that("the holder has the mutex", || HAS.load(Acquire))?;
    let waiter = start("waiter", urgent, &here, want);
    let lifted = waiter
        .as_ref()
        .map_or(Ok(()), |waiter| await_that("the waiter waits", || waiter.state() == State::Blocked));
    let meanwhile = holder.effective_policy().urgency();
    GO.store(true, Release);
    GATE.wake_all(scheduler());
    let (late, value) = (join(&holder)?, join(&waiter?)?);
    lifted?;
    ensure!(late == 0 && value == 5, "the waiter found {value} in the mutex");
    ensure!(meanwhile == urgent.urgency(), "the holder had the urgency {}", meanwhile.get());
    let after = holder.effective_policy();
    ensure!(after == FAIR, "the holder was {after} in the end");
    Ok(())
}
