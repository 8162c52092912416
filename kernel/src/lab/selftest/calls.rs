//! Cross-calls: to one, to many, to all, within a call, and in a storm.

use core::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use rhumb_machine::{CpuId, CpuMask, MAX_CPUS, Machine, Pinned};

use super::Test;
use crate::cpu::machine::MACHINE;
use crate::cpu::{self, area, call, clock, work};
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};

pub const TESTS: &[Test] = &[
    Test { name: "calls::one", run: one },
    Test { name: "calls::all", run: all },
    Test { name: "calls::within_a_call", run: within_a_call },
    Test { name: "calls::storm", run: storm },
];

/// Calls `targets` and returns on which CPUs the function ran, and how often in all.
fn call_and_note(targets: &CpuMask) -> (CpuMask, u32) {
    let ran: [AtomicU64; MAX_CPUS / 64] = [const { AtomicU64::new(0) }; MAX_CPUS / 64];
    let times = AtomicU32::new(0);
    let guard = MACHINE.pin();
    let note = || {
        let cpu = area::cpu_now().index();
        ran[cpu / 64].fetch_or(1 << (cpu % 64), Relaxed);
        times.fetch_add(1, Relaxed);
    };
    call::run_on(guard.pinned(), targets, &note, || ());
    let mask = (0..MAX_CPUS)
        .filter(|cpu| ran[cpu / 64].load(Relaxed) & 1 << (cpu % 64) != 0)
        .filter_map(CpuId::new)
        .collect();
    (mask, times.load(Relaxed))
}

fn others() -> CpuMask {
    cpu::online().without(area::cpu_now())
}

fn one(_: &'static Boot) -> Result<(), Failure> {
    for cpu in others().iter() {
        let (ran, times) = call_and_note(&CpuMask::only(cpu));
        ensure!(ran == CpuMask::only(cpu) && times == 1, "a call to CPU {cpu} ran on {ran:?}, {times} times");
    }
    Ok(())
}

fn all(_: &'static Boot) -> Result<(), Failure> {
    for _ in 0..100 {
        let (ran, times) = call_and_note(&cpu::online());
        ensure!(
            ran == others() && times as usize == others().len(),
            "a call to all ran on {ran:?}, {times} times"
        );
    }
    let (ran, _) = call_and_note(&CpuMask::only(area::cpu_now()));
    ensure!(ran.is_empty(), "a call to this CPU ran on {ran:?}");
    Ok(())
}

/// A function that is served calls the CPU that called, and every other one.
fn within_a_call(_: &'static Boot) -> Result<(), Failure> {
    let runs = AtomicU32::new(0);
    let outer = || {
        let guard = MACHINE.pin();
        let inner = || {
            runs.fetch_add(1, Relaxed);
        };
        call::run_on(guard.pinned(), &cpu::online(), &inner, || ());
    };
    {
        let guard = MACHINE.pin();
        call::run_on(guard.pinned(), &cpu::online(), &outer, || ());
    }
    let (runs, expected) = (runs.into_inner() as usize, others().len() * others().len());
    ensure!(runs == expected, "{runs} runs within {} calls, {expected} expected", others().len());
    Ok(())
}

const STORM_ROUNDS: u32 = 200;
static STORM_RUNS: AtomicU32 = AtomicU32::new(0);
static STORM_ARRIVED: AtomicU32 = AtomicU32::new(0);

/// Every CPU calls every other at once, with interrupts off: a CPU that waits must serve.
fn storm(_: &'static Boot) -> Result<(), Failure> {
    fn rounds() {
        let guard = MACHINE.irq_off();
        let pinned: Pinned<'_> = guard.irq_off().pinned();
        let cpus = cpu::online_count() as u32;
        STORM_ARRIVED.fetch_add(1, Release);
        while STORM_ARRIVED.load(Acquire) < cpus {
            call::serve_if_here();
        }
        for _ in 0..STORM_ROUNDS {
            call::run_on(
                pinned,
                &cpu::online(),
                &|| {
                    STORM_RUNS.fetch_add(1, Relaxed);
                },
                || (),
            );
        }
    }
    STORM_RUNS.store(0, Relaxed);
    STORM_ARRIVED.store(0, Relaxed);
    let start = clock::now_ns();
    work::on_every_cpu(&rounds);
    let cpus = cpu::online_count() as u32;
    let (runs, expected) = (STORM_RUNS.load(Relaxed), cpus * (cpus - 1) * STORM_ROUNDS);
    ensure!(
        runs == expected,
        "{runs} runs, {expected} expected, in {} ms",
        (clock::now_ns() - start) / 1_000_000
    );
    Ok(())
}
