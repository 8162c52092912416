//! Where the scheduler is called: at the end of the last guard or of an interrupt, and nowhere else.
//!
//! A scheduler of the test notes that it was called, and how it found the CPU. The alarm's interrupt wants it.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rhumb_machine::{CpuId, CpuMask, MAX_CPUS, Machine};
use x86_64::instructions::interrupts;

use super::Test;
use crate::cpu::clock::Deadline;
use crate::cpu::machine::{self, MACHINE};
use crate::cpu::preempt::{self, Scheduler};
use crate::cpu::{self, area, call, clock};
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::taken::settle;

pub const TESTS: &[Test] = &[
    Test { name: "preempt::the_last_pin_calls_the_scheduler", run: last_pin_calls },
    Test { name: "preempt::the_last_guard_calls_the_scheduler", run: last_guard_calls },
    Test { name: "preempt::the_end_of_an_interrupt_calls_the_scheduler", run: end_of_interrupt_calls },
    Test { name: "preempt::interrupts_off_by_hand_put_it_off", run: off_by_hand_puts_it_off },
    Test { name: "preempt::a_wish_within_is_served_afterwards", run: wish_within },
    Test { name: "preempt::a_call_from_another_cpu_calls_the_scheduler", run: call_calls },
];

const ALARM_NS: u64 = 200_000;
/// Generous: an emulator's CPUs are threads that may have to wait for their turn.
const PATIENCE_NS: u64 = 5_000_000_000;

static SCHEDULER: Scheduler = note;
/// How often it was called on each CPU.
static CALLS: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
/// Whether it was once called with interrupts on, under a guard, or within itself.
static WAS_WRONG: AtomicBool = AtomicBool::new(false);
static IS_WITHIN: [AtomicBool; MAX_CPUS] = [const { AtomicBool::new(false) }; MAX_CPUS];
/// Whether the next call wants another one.
static WANTS_MORE: AtomicBool = AtomicBool::new(false);

fn note() {
    let cpu = area::cpu_now().index();
    let is_wrong =
        interrupts::are_enabled() || machine::holds_irqs_off() || IS_WITHIN[cpu].swap(true, Relaxed);
    WAS_WRONG.fetch_or(is_wrong, Relaxed);
    CALLS[cpu].fetch_add(1, Relaxed);
    let pin = MACHINE.pin();
    if WANTS_MORE.swap(false, Relaxed) {
        preempt::want(pin.pinned());
    }
    // Neither end calls the scheduler, which runs: interrupts are off.
    drop(pin);
    drop(MACHINE.irq_off());
    IS_WITHIN[cpu].store(false, Relaxed);
}

fn calls_on(cpu: CpuId) -> u64 {
    CALLS[cpu.index()].load(Relaxed)
}

/// The test's scheduler, as long as this lives, on the CPU that runs the test: the prompt's, which is the boot CPU.
struct Watch {
    cpu: CpuId,
    before: Option<&'static Scheduler>,
    calls: u64,
}

impl Watch {
    /// Puts the test's scheduler in place when no alarm is pending any more.
    fn begin() -> Result<Self, Failure> {
        // A thread that is ready would have the alarm set for the end of a slice.
        settle();
        await_alarm()?;
        WAS_WRONG.store(false, Relaxed);
        let cpu = area::cpu_now();
        let before = preempt::hand_to(Some(&SCHEDULER));
        // An older wish is none of the test's.
        drop(MACHINE.pin());
        Ok(Self { cpu, before, calls: calls_on(cpu) })
    }

    /// Fails unless the scheduler was called so many times since this began.
    fn must_be(&self, times: u64, when: &str) -> Result<(), Failure> {
        let calls = calls_on(self.cpu) - self.calls;
        ensure!(calls == times, "the scheduler was called {calls} times, not {times}, {when}");
        ensure!(!WAS_WRONG.load(Relaxed), "the scheduler was called with a guard alive, or within itself");
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        preempt::hand_to(self.before);
    }
}

/// Waits for an alarm on this CPU, without any guard in the loop.
fn await_alarm() -> Result<(), Failure> {
    let Some(area) = area::of(area::cpu_now()) else { return Err(Failure::because("this CPU has no area")) };
    let alarms = &area.counters.timer_interrupts;
    let (before, end) = (alarms.get(), Deadline::after_ns(PATIENCE_NS));
    clock::arm_ns(ALARM_NS);
    while alarms.get() == before {
        ensure!(!end.has_passed(), "no alarm on CPU {}", area.id());
        core::hint::spin_loop();
    }
    Ok(())
}

fn last_pin_calls(_: &'static Boot) -> Result<(), Failure> {
    let watch = Watch::begin()?;
    let (first, second) = (MACHINE.pin(), MACHINE.pin());
    await_alarm()?;
    watch.must_be(0, "while two guards pin the code")?;
    drop(first);
    watch.must_be(0, "while a guard pins the code")?;
    drop(second);
    watch.must_be(1, "when the last pin had ended")?;
    ensure!(interrupts::are_enabled(), "interrupts are off behind the scheduler");
    drop(MACHINE.pin());
    watch.must_be(1, "when nothing wanted it any more")
}

fn last_guard_calls(_: &'static Boot) -> Result<(), Failure> {
    let watch = Watch::begin()?;
    let pin = MACHINE.pin();
    await_alarm()?;
    let (first, second) = (MACHINE.irq_off(), MACHINE.irq_off());
    drop(pin);
    watch.must_be(0, "while two guards keep interrupts off")?;
    drop(first);
    watch.must_be(0, "while a guard keeps interrupts off")?;
    drop(second);
    watch.must_be(1, "when the last guard had ended")?;
    ensure!(interrupts::are_enabled(), "interrupts are off behind the scheduler");
    let (guard, pin) = (MACHINE.irq_off(), MACHINE.pin());
    preempt::want(pin.pinned());
    drop(guard);
    watch.must_be(1, "while a guard pins the code, and interrupts are on again")?;
    drop(pin);
    watch.must_be(2, "when that had ended, too")
}

fn end_of_interrupt_calls(_: &'static Boot) -> Result<(), Failure> {
    let watch = Watch::begin()?;
    await_alarm()?;
    watch.must_be(1, "when the interrupt had ended")?;
    ensure!(interrupts::are_enabled(), "interrupts are off behind the scheduler");
    Ok(())
}

fn off_by_hand_puts_it_off(_: &'static Boot) -> Result<(), Failure> {
    let watch = Watch::begin()?;
    let pin = MACHINE.pin();
    preempt::want(pin.pinned());
    let seen = interrupts::without_interrupts(|| {
        drop(pin);
        drop(MACHINE.irq_off());
        watch.must_be(0, "while interrupts were off by hand")
    });
    seen?;
    drop(MACHINE.pin());
    watch.must_be(1, "when a pin had ended with interrupts on")
}

fn wish_within(_: &'static Boot) -> Result<(), Failure> {
    let watch = Watch::begin()?;
    let pin = MACHINE.pin();
    WANTS_MORE.store(true, Relaxed);
    preempt::want(pin.pinned());
    drop(pin);
    watch.must_be(2, "when it had wanted another call")
}

fn call_calls(_: &'static Boot) -> Result<(), Failure> {
    let watch = Watch::begin()?;
    for cpu in cpu::online().without(watch.cpu).iter() {
        let before = calls_on(cpu);
        {
            let guard = MACHINE.pin();
            let wish = || preempt::want(MACHINE.pin().pinned());
            call::run_on(guard.pinned(), &CpuMask::only(cpu), &wish, || ());
        }
        // The call is answered before its interrupt has ended.
        let end = Deadline::after_ns(PATIENCE_NS);
        while calls_on(cpu) == before {
            ensure!(!end.has_passed(), "the scheduler of CPU {cpu} was not called");
            core::hint::spin_loop();
        }
        ensure!(calls_on(cpu) == before + 1, "the scheduler of CPU {cpu} was called more than once");
    }
    watch.must_be(0, "on the CPU that called the others")
}
