//! Traps: where every exception and interrupt arrives.
//!
//! Exceptions end in a report, since the kernel has no user programs to blame: see [`report`]. So do non-maskable
//! interrupts of which no handler knows ([`on_nmi`]). A fault in pageable memory brings the page in, and a
//! write to memory that moves to another node finishes the move ([`page`]). Interrupts are few: the timer, cross-calls,
//! the console.

#[cfg(feature = "kasan")]
pub mod kasan;
mod page;
pub mod report;
mod stack_use;

use core::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use spin::Once;

use rhumb_bpf::{Context, Field};
use rhumb_machine::{IrqOff, Machine, VirtAddr};
use x86_64::registers::control::Cr2;

use crate::arch::idt::{self, TrapFrame, vector};
use crate::arch::pkrs::Closed;
use crate::arch::{apic, halt, mce};
use crate::cpu::area::COUNT;
use crate::cpu::clock::Deadline;
use crate::cpu::machine::MACHINE;
use crate::cpu::trace::{self, Event};
use crate::cpu::{self, area, call, once, preempt, probe, tlb};
use crate::platform::console;
use crate::task;

const NMI: u64 = 2;
const BREAKPOINT: u64 = 3;
const SEGMENT_NOT_PRESENT: u64 = 11;
const STACK_SEGMENT: u64 = 12;
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

/// Handles a non-maskable interrupt if it knows of it, and says whether it does; it is told what the key of page tables
/// was before.
pub type NmiHandler = fn(&mut TrapFrame, &Closed) -> bool;

static ON_NMI: Once<NmiHandler> = Once::new();

/// Lets non-maskable interrupts be handled by `handler` first. Those of which it does not know end in a report:
/// hardware sends them when memory or a bus has failed. Once.
///
/// A non-maskable interrupt comes anywhere: in the middle of a lock, of a write of tables with their key or a window
/// open, of an interrupt's entry, of waking from laziness before the TLB is flushed. So the handler uses its own stack,
/// this CPU's area and this CPU's registers: no lock, no log, no window, no table. It does not fault, since the return
/// from a fault takes the next one, onto the same stack.
#[cfg_attr(
    not(feature = "lab"),
    expect(dead_code, reason = "only the laboratory sends non-maskable interrupts so far")
)]
pub fn on_nmi(handler: NmiHandler) {
    once::fill(&ON_NMI, handler);
}

/// Handles an exception of a program if it knows of it, and says whether it does. It may change the frame: the CPU goes
/// on there.
pub type ProgramHandler = fn(&mut TrapFrame) -> bool;

static ON_PROGRAM: Once<ProgramHandler> = Once::new();

/// Lets exceptions of programs be handled by `handler`. Those of which it does not know end in a report. Once.
///
/// The handler runs on the stack that `Descriptors::set_kernel_stack` has named, with interrupts off.
#[cfg_attr(not(feature = "lab"), expect(dead_code, reason = "only the laboratory runs programs so far"))]
pub fn on_program_exception(handler: ProgramHandler) {
    once::fill(&ON_PROGRAM, handler);
}

/// Handles a trap. Called by the stubs, with interrupts off.
#[unsafe(no_mangle)]
extern "sysv64" fn trap_dispatch(frame: &mut TrapFrame) {
    {
        // SAFETY: every gate turns interrupts off, and they stay off while this proof lives.
        let irq_off = unsafe { IrqOff::assume(area::cpu_now()) };
        tlb::leave_laziness(irq_off);
        if frame.vector >= FIRST_INTERRUPT {
            interrupt(frame.vector as u8, irq_off);
            return preempt::after_interrupt(irq_off);
        }
    }
    exception(frame);
}

/// Turns the fault of the instruction that returns to a program into one of the program, at the place it was to go on.
/// (The program's registers were loaded already, and are in the frame.)
fn move_to_program(frame: &mut TrapFrame) {
    // SAFETY: the instruction has faulted as it read these five words, which the stub has pushed on this CPU's stack.
    let [rip, cs, rflags, rsp, ss] = unsafe { VirtAddr::new(frame.rsp).as_ptr::<[u64; 5]>().read() };
    *frame = TrapFrame { rip, cs, rflags, rsp, ss, ..frame.clone() };
}

fn exception(frame: &mut TrapFrame) {
    let is_fault = matches!(frame.vector, SEGMENT_NOT_PRESENT | STACK_SEGMENT | GENERAL_PROTECTION);
    if is_fault && frame.rip == idt::return_to_program().get() {
        move_to_program(frame);
    }
    // A fault or a non-maskable interrupt can come while this CPU writes a table. (Interrupts cannot: they are off
    // then.)
    let closed = Closed::for_handler();
    match frame.vector {
        NMI if REPORTER.load(Relaxed) != 0 => {
            // Whatever sends one to the CPU that reports, a watchdog or a button: the report is what is wanted.
            if !is_reporter() {
                stop(frame)
            }
        }
        MACHINE_CHECK => {
            note_machine_check();
            report::exception(frame)
        }
        NMI => {
            if !ON_NMI.get().is_some_and(|handle| handle(frame, &closed)) {
                report::exception(frame)
            }
        }
        _ if frame.is_of_a_program() => {
            if !ON_PROGRAM.get().is_some_and(|handle| handle(frame)) {
                report::exception(frame)
            }
        }
        // A probe that calls free code comes to a breakpoint.
        PAGE_FAULT | GENERAL_PROTECTION | BREAKPOINT => {
            let mut refused = None;
            if frame.vector == PAGE_FAULT {
                trace::tell(Event::PageFault, || {
                    Context::EMPTY
                        .with(Field::Address, Cr2::read_raw())
                        .with(Field::First, frame.error)
                        .with(Field::Second, frame.rip)
                });
                if page::finish_move(frame) {
                    return;
                }
                match page::bring_in(frame) {
                    Some(Ok(())) => return,
                    Some(Err(error)) => refused = Some(error),
                    None => {}
                }
            }
            if !probe::resume(frame) {
                match refused {
                    Some(error) => report::refused(frame, error),
                    None => report::exception(frame),
                }
            }
        }
        _ => report::exception(frame),
    }
}

fn interrupt(vector: u8, irq_off: IrqOff<'_>) {
    let here = area::here(irq_off.pinned());
    let _traced = here.irqs_off.handler();
    match vector {
        vector::TIMER => {
            COUNT.timer_interrupts.increment();
            // Whatever waited for this moment may have to run now.
            preempt::want(irq_off.pinned());
            apic::end_of_interrupt();
            task::alarm_fired(irq_off);
        }
        vector::RESCHEDULE => {
            COUNT.reschedule_interrupts.increment();
            preempt::want(irq_off.pinned());
            apic::end_of_interrupt();
            task::reschedule_asked(irq_off);
        }
        vector::CALL => {
            COUNT.call_interrupts.increment();
            apic::end_of_interrupt();
            call::serve(irq_off);
        }
        vector::CONSOLE => {
            COUNT.device_interrupts.increment();
            console::on_interrupt();
            apic::end_of_interrupt();
            task::console::arrived();
        }
        vector::KEYBOARD => {
            COUNT.device_interrupts.increment();
            console::on_keyboard_interrupt();
            apic::end_of_interrupt();
            task::console::arrived();
        }
        vector::APIC_ERROR => {
            log::warn!("local APIC error {:#x}", apic::take_errors());
            apic::end_of_interrupt();
        }
        vector::SPURIOUS => COUNT.spurious_interrupts.increment(),
        _ => {
            COUNT.spurious_interrupts.increment();
            log::warn!("interrupt on vector {vector:#x}, which has no handler");
            apic::end_of_interrupt();
        }
    }
}

fn note_machine_check() {
    let guard = MACHINE.irq_off();
    mce::note(&area::here(guard.irq_off().pinned()).machine_check);
}

fn is_reporter() -> bool {
    REPORTER.load(Relaxed) == area::cpu_now().index() + 1
}

/// Stops this CPU for the report of another one, and leaves word where it was.
fn stop(frame: &TrapFrame) -> ! {
    // A machine check that is told to all may have met the reporter first: what this CPU knows of it belongs to the
    // report.
    note_machine_check();
    let guard = MACHINE.irq_off();
    let here = area::here(guard.irq_off().pinned());
    here.stopped_rbp.store(frame.rbp, Relaxed);
    here.stopped_rip.store(frame.rip, Relaxed);
    STOPPED.fetch_add(1, Release);
    halt::permanently()
}

/// Stops every other CPU, wherever it is, and waits until they have stopped: only then does none of them take a lock
/// any more. Does not return where another CPU is stopping this one.
///
/// Each is named by itself: a broadcast would also reach CPUs that were never started, which have no handler.
pub fn stop_others() {
    let guard = MACHINE.irq_off();
    let this_cpu = guard.irq_off().cpu();
    let me = this_cpu.index() + 1;
    if REPORTER.compare_exchange(0, me, Relaxed, Relaxed).is_err_and(|reporter| reporter != me) {
        // Its non-maskable interrupt is on its way, and finds where this CPU was; it waits no longer than that takes.
        halt::permanently();
    }
    let others = cpu::online().without(this_cpu);
    for area in others.iter().filter_map(area::of) {
        apic::send_nmi(area.apic_id.load(Relaxed));
    }
    let deadline = Deadline::after_ns(STOP_NS);
    while STOPPED.load(Acquire) < others.len() && !deadline.has_passed() {
        core::hint::spin_loop();
    }
}
