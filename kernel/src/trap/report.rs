//! The last words of a kernel that cannot go on: what happened, where, and what the tables say.
//!
//! Works from any context: the other CPUs are stopped first, the console's lock is broken, and a fault inside the
//! report ends it.

use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::Ordering::Relaxed;

use rhumb_machine::{Counted, CpuId, Machine, VirtAddr};
use rhumb_pageable::PageError;
use x86_64::registers::control::{Cr2, Cr3};

use super::page::Refused;
use super::stack_use::StackUse;
use crate::arch::control::Controls;
use crate::arch::idt::TrapFrame;
use crate::arch::{control, halt, mce};
use crate::cpu::backtrace::Name;
use crate::cpu::machine::MACHINE;
use crate::cpu::{area, backtrace, call};
use crate::layout::Stack;
use crate::platform::{console, logging, power, screen};
use crate::{cpu, mm, task};

/// Names of vectors 0 to 31: what the manuals call them.
const NAMES: [(&str, &str); 32] = {
    let mut names = [("#??", "reserved exception"); 32];
    names[0] = ("#DE", "division error");
    names[1] = ("#DB", "debug exception");
    names[2] = ("NMI", "non-maskable interrupt");
    names[3] = ("#BP", "breakpoint");
    names[4] = ("#OF", "overflow");
    names[5] = ("#BR", "bound range exceeded");
    names[6] = ("#UD", "invalid opcode");
    names[7] = ("#NM", "no floating-point unit");
    names[8] = ("#DF", "double fault");
    names[10] = ("#TS", "invalid task-state segment");
    names[11] = ("#NP", "segment not present");
    names[12] = ("#SS", "stack-segment fault");
    names[13] = ("#GP", "general protection fault");
    names[14] = ("#PF", "page fault");
    names[16] = ("#MF", "x87 floating-point error");
    names[17] = ("#AC", "alignment check");
    names[18] = ("#MC", "machine check");
    names[19] = ("#XM", "SIMD floating-point error");
    names[20] = ("#VE", "virtualization exception");
    names[21] = ("#CP", "control protection exception");
    names[28] = ("#HV", "hypervisor injection exception");
    names[29] = ("#VC", "VMM communication exception");
    names[30] = ("#SX", "security exception");
    names
};

const NON_MASKABLE: u64 = 2;
const BREAKPOINT: u64 = 3;
const PAGE_FAULT: u64 = 14;
const DOUBLE_FAULT: u64 = 8;
const MACHINE_CHECK: u64 = 18;

/// Vectors for which the CPU pushes an error code (the stubs push 0 for the others).
const WITH_ERROR_CODE: [u64; 10] = [8, 10, 11, 12, 13, 14, 17, 21, 29, 30];
/// The last records of the log that the console has not shown.
const SHOWN_RECORDS: usize = 16;
/// Lines of the report that say where other CPUs were; and as many for those that do not answer.
const SHOWN_CPUS: usize = 16;

/// Reports an exception and stops the machine.
pub fn exception(frame: &TrapFrame) -> ! {
    exception_and(frame, None)
}

/// Reports a touch of pageable memory that cannot be made, and stops the machine.
pub fn refused(frame: &TrapFrame, error: PageError) -> ! {
    exception_and(frame, Some(&Refused(frame, error)))
}

/// Reports an exception, and a sentence about it.
fn exception_and(frame: &TrapFrame, sentence: Option<&dyn fmt::Display>) -> ! {
    // Those that come from elsewhere, or for want of a stack, say nothing about the screen.
    if !matches!(frame.vector, NON_MASKABLE | DOUBLE_FAULT | MACHINE_CHECK) {
        screen::give_up_if_drawing();
    }
    last_words(&What(frame), |out| {
        writeln!(out, "{}", What(frame))?;
        if let Some(sentence) = sentence {
            writeln!(out, "{sentence}")?;
        }
        if frame.vector == MACHINE_CHECK {
            mce::write_noted(out, area::all().map(|area| (area.id(), &area.machine_check)))?;
        }
        write_registers(out, frame)?;
        if matches!(frame.vector, PAGE_FAULT | DOUBLE_FAULT) {
            let address = VirtAddr::new(Cr2::read_raw());
            mm::write_place(out, address)?;
            mm::write_walk(out, address)?;
        } else if mm::code::is_in_range(VirtAddr::new(frame.rip)) {
            // A trap is told after its instruction, which may be the last of its part.
            let before = u64::from(frame.vector == BREAKPOINT);
            mm::write_place(out, VirtAddr::new(frame.rip - before))?;
        }
        backtrace::write(out, frame.rip, frame.rbp)
    })
}

/// Reports a panic and stops the machine.
pub fn panic(info: &PanicInfo<'_>) -> ! {
    let rbp: u64;
    // SAFETY: copies a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags)) };
    last_words(&info.message(), |out| {
        writeln!(out, "{}", info.message())?;
        if let Some(location) = info.location() {
            writeln!(out, "at {location}")?;
        }
        backtrace::write(out, panic as *const () as u64, rbp)
    })
}

/// An exception in one line.
struct What<'a>(&'a TrapFrame);

impl fmt::Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frame = self.0;
        let (mnemonic, name) = NAMES[frame.vector as usize & 31];
        write!(f, "{mnemonic} {name}")?;
        if WITH_ERROR_CODE.contains(&frame.vector) {
            write!(f, ", error code {:#x}", frame.error)?;
        }
        if frame.vector == PAGE_FAULT {
            write_access(f, frame)?;
        }
        write!(f, ", at {}", Name(frame.rip))
    }
}

/// Stops all else, lets `body` say what happened, and stops the machine. `what` says it in short, should it come in the
/// middle of another report.
pub fn last_words(what: &dyn fmt::Display, body: impl FnOnce(&mut dyn Write) -> fmt::Result) -> ! {
    let guard = MACHINE.irq_off();
    let here = area::here(guard.irq_off().pinned());
    let depth = here.own().report_depth.fetch_add(1, Relaxed);
    let out = &mut console::Writer;
    match depth {
        0 => {}
        // The report itself faulted, perhaps while it held the console.
        1 => {
            screen::give_up_if_drawing();
            // SAFETY: the report has sent the other CPUs the interrupt that stops them, and this one does not go back
            // to it.
            unsafe { console::break_lock() };
            let _ = writeln!(out, "\nkernel panic: a fault inside the report: {what}; giving up");
            power::off(power::Outcome::Panicked)
        }
        _ => halt::permanently(),
    }
    if let Some(descriptors) = here.descriptors.get() {
        let area = VirtAddr::from(core::ptr::from_ref(here.area()));
        // SAFETY: this CPU does not go back; the lower half of each stack is as long as a report needs.
        unsafe { descriptors.split_stacks(area, |stack| here.stacks.middle(Stack::Interrupt(stack))) };
    }
    let stack = StackUse::begin();
    super::stop_others();
    // SAFETY: the other CPUs have stopped or have that interrupt waiting, and this one does not go back to what it did.
    unsafe { console::break_lock() };
    // The console never fails; and were it to fail, there would be no other place to say so.
    let _ = write!(out, "\nkernel panic on CPU {}: ", here.id());
    let _ = body(out);
    if let Some((number, name)) = task::all::current() {
        let _ = writeln!(out, "in thread {number} ({name})");
    }
    let _ = write_others(out, here.id());
    let _ = logging::write_unshown::<SHOWN_RECORDS>(out);
    logging::show_waiting();
    let _ = stack.tell(out);
    let _ = writeln!(out, "the machine stops here");
    power::off(power::Outcome::Panicked)
}

/// Says where the other CPUs were: first those that another CPU has waited for in vain, in full, then the rest. Where
/// the rest are many, those at one place share a line.
fn write_others(out: &mut dyn Write, me: CpuId) -> fmt::Result {
    let others = cpu::online().without(me);
    let (silent, rest) = (others.and(&call::silent()), others.minus(&call::silent()));
    for area in silent.iter().filter_map(area::of).take(SHOWN_CPUS) {
        let (rip, rbp) = (area.stopped_rip.load(Relaxed), area.stopped_rbp.load(Relaxed));
        write_place(out, area.id(), 1, rip)?;
        if rip != 0 {
            backtrace::write(out, rip, rbp)?;
        }
    }
    let are_many = rest.len() > SHOWN_CPUS;
    let place = |cpu| area::of(cpu).map(|area| area.stopped_rip.load(Relaxed));
    let (mut lines, mut told) = (0, silent.len().min(SHOWN_CPUS));
    for cpu in rest.iter() {
        let there = |other: &CpuId| are_many && place(*other) == place(cpu);
        let is_told = rest.iter().take_while(|&before| before != cpu).any(|before| there(&before));
        if is_told || lines == SHOWN_CPUS {
            continue;
        }
        let count = rest.iter().filter(there).count().max(1);
        write_place(out, cpu, count, place(cpu).unwrap_or(0))?;
        lines += 1;
        told += count;
    }
    match others.len().saturating_sub(told) {
        0 => Ok(()),
        more => writeln!(out, "and {} elsewhere", Counted(more, "more CPU")),
    }
}

/// Says where so many CPUs were stopped, the first of which is `cpu`.
fn write_place(out: &mut dyn Write, cpu: CpuId, count: usize, rip: u64) -> fmt::Result {
    write!(out, "CPU {cpu} ")?;
    if count > 1 {
        write!(out, "(and {}) ", Counted(count - 1, "more CPU"))?;
    }
    match rip {
        0 => writeln!(out, "does not take a non-maskable interrupt"),
        _ => writeln!(out, "was at {}", Name(rip)),
    }
}

fn write_access(out: &mut dyn Write, frame: &TrapFrame) -> fmt::Result {
    let bit = |bit: u32| frame.error & (1 << bit) != 0;
    let access = match (bit(4), bit(1)) {
        (true, _) => "instruction fetch from",
        (_, true) => "write to",
        _ => "read of",
    };
    let why = match (bit(0), bit(3), bit(5)) {
        (_, true, _) => "a reserved bit is set in the tables",
        (_, _, true) => "its protection key forbids it",
        (true, ..) => "the page's permissions forbid it",
        (false, ..) => "nothing is mapped there",
    };
    write!(out, ": {access} {:#x}: {why}", Cr2::read_raw())
}

fn write_registers(out: &mut dyn Write, f: &TrapFrame) -> fmt::Result {
    writeln!(
        out,
        "rip {:#018x}  cs {:#06x}  rflags {:#010x}  rsp {:#018x}  ss {:#06x}",
        f.rip, f.cs, f.rflags, f.rsp, f.ss
    )?;
    for row in [
        [("rax", f.rax), ("rbx", f.rbx), ("rcx", f.rcx), ("rdx", f.rdx)],
        [("rsi", f.rsi), ("rdi", f.rdi), ("rbp", f.rbp), ("r8 ", f.r8)],
        [("r9 ", f.r9), ("r10", f.r10), ("r11", f.r11), ("r12", f.r12)],
        [("r13", f.r13), ("r14", f.r14), ("r15", f.r15), ("cr2", Cr2::read_raw())],
    ] {
        for (name, value) in row {
            write!(out, "{name} {value:#018x}  ")?;
        }
        writeln!(out)?;
    }
    let (root, flags) = Cr3::read_raw();
    let Controls { cr0, cr4, efer } = Controls::read();
    writeln!(
        out,
        "cr0 {cr0:#010x}  cr3 {:#018x}  cr4 {cr4:#010x}  efer {efer:#06x}  gs {:#018x}  dr6 {:#010x}",
        root.start_address().as_u64() | u64::from(flags),
        area::gs_base(),
        control::debug_status()
    )
}
