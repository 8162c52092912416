//! Clock and alarms.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use rhumb_machine::{CpuMask, Machine};

use super::Test;
use crate::cpu::machine::MACHINE;
use crate::cpu::{self, area, call, clock};
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};

pub const TESTS: &[Test] = &[
    Test { name: "time::clock_goes_forward", run: clock_goes_forward },
    Test { name: "time::clocks_agree", run: clocks_agree },
    Test { name: "time::alarm_on_each_cpu", run: alarm_on_each_cpu },
];

/// On each CPU by itself: a read never yields less than the one before.
fn clock_goes_forward(_: &'static Boot) -> Result<(), Failure> {
    let steps_back = AtomicU32::new(0);
    let check = || {
        let mut last = clock::now_ns();
        for _ in 0..10_000 {
            let now = clock::now_ns();
            if now < last {
                steps_back.fetch_add(1, Relaxed);
            }
            last = now;
        }
    };
    let guard = MACHINE.pin();
    call::run_on(guard.pinned(), &cpu::online(), &check, check);
    ensure!(steps_back.load(Relaxed) == 0, "the clock went back {} times", steps_back.load(Relaxed));
    Ok(())
}

/// Another CPU's reading lies between two readings here.
fn clocks_agree(_: &'static Boot) -> Result<(), Failure> {
    let guard = MACHINE.pin();
    for cpu in cpu::online().without(guard.pinned().cpu()).iter() {
        let there = AtomicU64::new(0);
        let before = clock::now_ns();
        let read = || there.store(clock::now_ns(), Relaxed);
        call::run_on(guard.pinned(), &CpuMask::only(cpu), &read, || ());
        let (there, after) = (there.load(Relaxed), clock::now_ns());
        ensure!(before <= there && there <= after, "CPU {cpu} says {there} ns between {before} and {after}");
    }
    Ok(())
}

const ALARM_NS: u64 = 2_000_000;
/// Generous: an emulator's CPUs are threads that may have to wait for their turn.
const PATIENCE_NS: u64 = 5_000_000_000;

/// An alarm comes, once, and not before its time.
fn alarm_on_each_cpu(_: &'static Boot) -> Result<(), Failure> {
    let online = cpu::online();
    let count = |cpu| area::of(cpu).map_or(0, |area| area.counters.timer_interrupts.get());
    for cpu in online.iter() {
        let before = count(cpu);
        let start = clock::now_ns();
        {
            let guard = MACHINE.pin();
            if cpu == guard.pinned().cpu() {
                clock::arm_ns(ALARM_NS);
            } else {
                call::run_on(guard.pinned(), &CpuMask::only(cpu), &|| clock::arm_ns(ALARM_NS), || ());
            }
        }
        while count(cpu) == before {
            ensure!(clock::now_ns() < start + PATIENCE_NS, "no alarm on CPU {cpu}");
            core::hint::spin_loop();
        }
        let waited = clock::now_ns() - start;
        // The two clocks were measured against each other over 10 ms: a hundredth of slack is plenty.
        ensure!(waited >= ALARM_NS - ALARM_NS / 100, "the alarm on CPU {cpu} came after {waited} ns");
        ensure!(count(cpu) == before + 1, "{} alarms on CPU {cpu}", count(cpu) - before);
    }
    Ok(())
}
