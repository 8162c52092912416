//! Traps: where every exception and interrupt arrives.
//!
//! Exceptions end in a report, since the kernel has no user programs to blame: see [`report`]. Interrupts are few: the
//! timer, cross-calls, the console.

pub mod backtrace;
pub mod report;

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rhumb_machine::IrqOff;

use crate::arch::idt::{TrapFrame, vector};
use crate::arch::{apic, cpu, percpu, probe};
use crate::console;
use crate::smp::call;

const NMI: u64 = 2;
const GENERAL_PROTECTION: u64 = 13;
const PAGE_FAULT: u64 = 14;
const FIRST_INTERRUPT: u64 = 32;

/// Set once some CPU has given up: a non-maskable interrupt then means stop.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// Where the stubs call. Interrupts are off.
#[unsafe(no_mangle)]
extern "sysv64" fn trap_dispatch(frame: &mut TrapFrame) {
    if frame.vector < FIRST_INTERRUPT {
        exception(frame);
    } else {
        interrupt(frame.vector as u8);
    }
}

fn exception(frame: &mut TrapFrame) {
    match frame.vector {
        NMI if STOPPING.load(Relaxed) => cpu::halt_for_ever(),
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

/// Stops every other CPU, wherever it is.
pub fn stop_others() {
    if !STOPPING.swap(true, Relaxed) && crate::smp::online().len() > 1 {
        apic::send_nmi_to_others();
    }
}
