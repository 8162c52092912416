//! Traps: where every exception and interrupt arrives.
//!
//! Exceptions end in a report, since the kernel has no user programs to blame: see [`report`]. So do non-maskable
//! interrupts that nobody has announced ([`nmi`]). Interrupts are few: the timer, cross-calls, the console.

pub mod backtrace;
pub mod report;

use core::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use rhumb_machine::IrqOff;

use crate::arch::clock::Deadline;
use crate::arch::idt::{TrapFrame, vector};
use crate::arch::{apic, cpu, mce, percpu, probe};
use crate::console;
use crate::irqsoff;
use crate::mm::protect;
use crate::smp::{self, call, flush, nmi};

const NMI: u64 = 2;
const GENERAL_PROTECTION: u64 = 13;
const MACHINE_CHECK: u64 = 18;
const PAGE_FAULT: u64 = 14;
const FIRST_INTERRUPT: u64 = 32;

/// The CPU that reports, plus 1, once some CPU has given up: a non-maskable interrupt then means stop to all others.
static REPORTER: AtomicUsize = AtomicUsize::new(0);
/// How many CPUs that has stopped.
static STOPPED: AtomicUsize = AtomicUsize::new(0);
/// A CPU that takes longer does not take the interrupt at all: it is in firmware, or in such a handler itself.
const STOP_NS: u64 = 100_000_000;

/// Where the stubs call. Interrupts are off.
#[unsafe(no_mangle)]
extern "sysv64" fn trap_dispatch(frame: &mut TrapFrame) {
    flush::leave_laziness();
    if frame.vector < FIRST_INTERRUPT {
        exception(frame);
    } else {
        interrupt(frame.vector as u8);
    }
}

fn exception(frame: &mut TrapFrame) {
    // A fault or a non-maskable interrupt can come while this CPU writes a table. (Interrupts cannot: they are off
    // then.)
    let closed = protect::Closed::for_handler();
    match frame.vector {
        NMI if REPORTER.load(Relaxed) != 0 => {
            // Whatever sends one to the CPU that reports, a watchdog or a button: the report is what is wanted.
            if !is_reporter() {
                stop(frame)
            }
        }
        MACHINE_CHECK => {
            mce::note();
            report::exception(frame)
        }
        NMI => {
            if !nmi::handle(frame, &closed) {
                report::exception(frame)
            }
        }
        PAGE_FAULT | GENERAL_PROTECTION => {
            if !probe::resume(frame) {
                report::exception(frame)
            }
        }
        _ => report::exception(frame),
    }
}

fn interrupt(vector: u8) {
    let here = percpu::here();
    let _traced = irqsoff::handler();
    match vector {
        vector::TIMER => {
            here.counters.timer_interrupts.count();
            apic::end_of_interrupt();
        }
        vector::CALL => {
            here.counters.call_interrupts.count();
            apic::end_of_interrupt();
            // SAFETY: an interrupt gate turned interrupts off, and they stay off until the stub returns.
            call::serve(unsafe { IrqOff::assume(here.id()) });
        }
        vector::CONSOLE => {
            here.counters.device_interrupts.count();
            console::on_interrupt();
            apic::end_of_interrupt();
        }
        vector::APIC_ERROR => {
            log::warn!("local APIC error {:#x}", apic::take_errors());
            apic::end_of_interrupt();
        }
        vector::SPURIOUS => here.counters.spurious_interrupts.count(),
        _ => {
            here.counters.spurious_interrupts.count();
            log::warn!("interrupt on vector {vector:#x}, which nobody asked for");
            apic::end_of_interrupt();
        }
    }
}

fn is_reporter() -> bool {
    REPORTER.load(Relaxed) == percpu::here().id().index() + 1
}

/// Stops this CPU for the report of another one, and leaves word where it was.
fn stop(frame: &TrapFrame) -> ! {
    let here = percpu::here();
    // A machine check that is told to all may have met the reporter first: what this CPU knows of it belongs to the report.
    mce::note();
    here.stopped_rbp.store(frame.rbp, Relaxed);
    here.stopped_rip.store(frame.rip, Relaxed);
    STOPPED.fetch_add(1, Release);
    cpu::halt_for_ever()
}

/// Stops every other CPU, wherever it is, and waits until they have stopped: only then does none of them take a lock any
/// more. Does not return where another CPU is stopping this one.
///
/// Each is named by itself: a broadcast would also reach CPUs that were never started, which have no handler.
pub fn stop_others() {
    let me = percpu::here().id().index() + 1;
    if REPORTER.compare_exchange(0, me, Relaxed, Relaxed).is_err_and(|reporter| reporter != me) {
        // Its non-maskable interrupt is on its way, and finds where this CPU was; it waits no longer than that takes.
        cpu::halt_for_ever();
    }
    let others = smp::online().without(percpu::here().id());
    for area in others.iter().filter_map(percpu::of) {
        apic::send_nmi(area.apic_id.load(Relaxed));
    }
    let deadline = Deadline::after_ns(STOP_NS);
    while STOPPED.load(Acquire) < others.len() && !deadline.has_passed() {
        core::hint::spin_loop();
    }
}
