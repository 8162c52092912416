//! Threads on the real CPUs: they come and go and leave nothing, wait and are woken, are preempted, and fail as they
//! should.

mod scheduling;

use core::arch::naked_asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_machine::{CpuMask, CpuSet, Machine, Order};
use rhumb_sched::{LockError, Mutex, Nice, Policy, WaitError};
use x86_64::instructions::interrupts;

use super::Test;
use super::exhaustion::{Reserves, take_all};
use super::memory::{allocator, drain_all};
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::{self, area};
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::taken::Taken;
use crate::task::thread::{SpawnError, spawn};
use crate::task::{ThreadRef, WaitQueue, scheduler, supply};

pub const TESTS: &[Test] = &[
    Test { name: "threads::each_comes_and_goes_and_leaves_nothing", run: come_and_go },
    Test { name: "threads::many_at_once", run: many_at_once },
    Test { name: "threads::a_holder_of_a_guard_may_not_sleep", run: guards_forbid_sleep },
    Test { name: "threads::registers_are_kept", run: registers },
    Test { name: "threads::i12_no_memory_is_an_error", run: no_memory },
    Test { name: "threads::two_cpus_wake_each_other", run: scheduling::ping_pong },
    Test { name: "threads::one_that_never_yields_is_preempted", run: scheduling::preempted },
    Test { name: "threads::the_more_urgent_one_runs_first", run: scheduling::urgency },
    Test { name: "threads::a_wait_ends_when_it_should", run: scheduling::time_outs },
    Test { name: "threads::a_mutex_lifts_its_holder", run: scheduling::inheritance },
];

/// Generous: an emulator's CPUs are threads that may have to wait for their turn.
const PATIENCE_NS: u64 = 20_000_000_000;
const FAIR: Policy = Policy::Fair(Nice::NORMAL);

fn until() -> u64 {
    MACHINE.now_ns() + PATIENCE_NS
}

fn start<F: FnOnce() -> u64 + Send + 'static>(
    name: &str,
    policy: Policy,
    cpus: &CpuSet,
    body: F,
) -> Result<ThreadRef, Failure> {
    spawn(format_args!("{name}"), policy, cpus, body).map_err(|error| match error {
        SpawnError::Stack(_) | SpawnError::Record => Failure::skipped(error),
        SpawnError::NoCpu => Failure::because(error),
    })
}

fn join(thread: &ThreadRef) -> Result<u64, Failure> {
    scheduler().join(thread, Some(until())).map_err(|error| {
        Failure::because(format_args!("thread {} does not end: {error:?}", thread.data().name()))
    })
}

fn come_and_go(_: &'static Boot) -> Result<(), Failure> {
    const ROUNDS: u64 = 5000;
    let before = Taken::now()?;
    let online = cpu::online();
    for round in 0..ROUNDS {
        let thread = start("short", FAIR, &online, move || round * 3)?;
        let result = join(&thread)?;
        ensure!(result == round * 3, "thread {round} returned {result}");
    }
    before.must_be_now()
}

fn many_at_once(_: &'static Boot) -> Result<(), Failure> {
    const COUNT: usize = 64;
    static ENDED: AtomicU64 = AtomicU64::new(0);
    ENDED.store(0, Relaxed);
    let before = Taken::now()?;
    let online = cpu::online();
    let mut threads: [Option<ThreadRef>; COUNT] = [const { None }; COUNT];
    let mut refused = None;
    for (index, place) in threads.iter_mut().enumerate() {
        let body = move || {
            (0..20).for_each(|_| scheduler().yield_now());
            ENDED.fetch_add(1, Relaxed);
            index as u64
        };
        match start("many", FAIR, &online, body) {
            Ok(thread) => *place = Some(thread),
            Err(failure) => refused = Some(failure),
        }
    }
    let mut started = 0;
    for (index, thread) in threads.iter().enumerate() {
        let Some(thread) = thread else { continue };
        let result = join(thread)?;
        ensure!(result == index as u64, "thread {index} returned {result}");
        started += 1;
    }
    ensure!(ENDED.load(Relaxed) == started, "{} of {started} have run", ENDED.load(Relaxed));
    drop(threads);
    before.must_be_now()?;
    refused.map_or(Ok(()), Err)
}

fn guards_forbid_sleep(_: &'static Boot) -> Result<(), Failure> {
    static FREE: Mutex<u64, KernelMachine> = Mutex::new(0);
    let tries = |what: &str| {
        let slept = scheduler().sleep_until(MACHINE.now_ns() + 1000);
        ensure!(slept == Err(WaitError::CannotSwitch), "with {what}, a sleep ended with {slept:?}");
        let locked = FREE.lock(scheduler()).map(|_| ());
        ensure!(locked == Err(LockError::CannotSwitch), "with {what}, a mutex was {locked:?}");
        Ok(())
    };
    let pin = MACHINE.pin();
    tries("a pin")?;
    drop(pin);
    let guard = MACHINE.irq_off();
    tries("a guard that keeps interrupts off")?;
    drop(guard);
    interrupts::without_interrupts(|| tries("interrupts off by hand"))?;
    let slept = scheduler().sleep_until(MACHINE.now_ns() + 1000);
    ensure!(slept == Ok(()), "with no guard, a sleep ended with {slept:?}");
    Ok(())
}

/// Fills the registers that calls keep with numbers made of `seed`, calls `call`, and returns 0 if they are the same.
#[unsafe(naked)]
unsafe extern "sysv64" fn keeps(seed: u64, call: extern "sysv64" fn()) -> u64 {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rdi",
        "lea rbx, [rdi + 1]",
        "lea r12, [rdi + 2]",
        "lea r13, [rdi + 3]",
        "lea r14, [rdi + 4]",
        "lea r15, [rdi + 5]",
        "call rsi",
        "pop rdi",
        "sub rbx, rdi",
        "sub r12, rdi",
        "sub r13, rdi",
        "sub r14, rdi",
        "sub r15, rdi",
        "xor rbx, 1",
        "xor r12, 2",
        "xor r13, 3",
        "xor r14, 4",
        "xor r15, 5",
        "mov rax, rbx",
        "or rax, r12",
        "or rax, r13",
        "or rax, r14",
        "or rax, r15",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret"
    )
}

extern "sysv64" fn give_way() {
    scheduler().yield_now();
}

fn registers(_: &'static Boot) -> Result<(), Failure> {
    // Both on one CPU, so that each gives way to the other.
    let here = CpuMask::only(area::cpu_now());
    let body = |seed: u64| {
        move || {
            let mut lost = 0;
            for round in 0..500 {
                // SAFETY: the function keeps to the ABI.
                lost |= unsafe { keeps(seed + round * 16, give_way) };
            }
            lost
        }
    };
    let first = start("registers", FAIR, &here, body(0x1111_1111_1111_0000))?;
    let second = start("registers", FAIR, &here, body(0x2222_2222_2222_0000))?;
    let lost = join(&first)? | join(&second)?;
    ensure!(lost == 0, "bits of registers were lost: {lost:#x}");
    Ok(())
}

fn no_memory(_: &'static Boot) -> Result<(), Failure> {
    const MOST: usize = 256;
    static GATE: WaitQueue = WaitQueue::new();
    static IS_OPEN: AtomicU64 = AtomicU64::new(0);
    IS_OPEN.store(0, Relaxed);
    let frames = allocator()?;
    let before = Taken::now()?;
    let online = cpu::online();
    let mut threads: [Option<ThreadRef>; MOST] = [const { None }; MOST];
    drain_all(frames);
    let reserves = Reserves::lift(frames);
    let chain = {
        let guard = MACHINE.pin();
        take_all(frames, guard.pinned(), 0..=Order::HUGE.get())
    };
    // Records that are kept may serve some.
    let mut refused = None;
    for place in &mut threads {
        let body = || {
            let ended = GATE.wait_while(scheduler(), Some(until()), |_| IS_OPEN.load(Relaxed) == 0);
            u64::from(ended.is_err())
        };
        match spawn(format_args!("waits"), FAIR, &online, body) {
            Ok(thread) => *place = Some(thread),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    {
        let guard = MACHINE.pin();
        chain.free(frames, guard.pinned());
    }
    drop(reserves);
    IS_OPEN.store(1, Relaxed);
    GATE.wake_all(scheduler());
    for thread in threads.iter().flatten() {
        let late = join(thread)?;
        ensure!(late == 0, "a thread was not woken");
    }
    drop(threads);
    match refused {
        Some(SpawnError::Stack(_) | SpawnError::Record) => {}
        other => return Err(Failure::because(format_args!("without memory, threads were made: {other:?}"))),
    }
    supply::give_back_here(0);
    before.must_be_now()
}
