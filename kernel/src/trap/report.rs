//! The last words of a kernel that cannot go on: what happened, where, and what the tables say.
//!
//! Works from any context: the other CPUs are stopped first, the console's lock is broken, and a fault inside the
//! report ends it.

use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::Ordering::Relaxed;

use rhumb_machine::VirtAddr;
use x86_64::registers::control::{Cr2, Cr3, Cr4};

use super::backtrace;
use crate::arch::idt::TrapFrame;
use crate::arch::{cpu, percpu};
use crate::{console, mm, power};

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

const PAGE_FAULT: u64 = 14;
const DOUBLE_FAULT: u64 = 8;

/// Reports an exception and stops the machine.
pub fn exception(frame: &TrapFrame) -> ! {
    last_words(|out| {
        let (mnemonic, name) = NAMES[frame.vector as usize & 31];
        write!(out, "{mnemonic} {name}, error code {:#x}", frame.error)?;
        if frame.vector == PAGE_FAULT {
            write_access(out, frame)?;
        }
        writeln!(out)?;
        write_registers(out, frame)?;
        if matches!(frame.vector, PAGE_FAULT | DOUBLE_FAULT) {
            let address = VirtAddr::new(Cr2::read_raw());
            writeln!(out, "{}", mm::describe(address))?;
            mm::write_walk(out, address)?;
        }
        backtrace::write(out, frame.rip, frame.rbp)
    })
}

/// Reports a panic and stops the machine.
pub fn panic(info: &PanicInfo<'_>) -> ! {
    let rbp: u64;
    // SAFETY: copies a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags)) };
    last_words(|out| {
        writeln!(out, "{}", info.message())?;
        if let Some(location) = info.location() {
            writeln!(out, "at {location}")?;
        }
        backtrace::write(out, panic as *const () as u64, rbp)
    })
}

/// Stops all else, lets `body` say what happened, and stops the machine.
pub fn last_words(body: impl FnOnce(&mut dyn Write) -> fmt::Result) -> ! {
    x86_64::instructions::interrupts::disable();
    let here = percpu::here();
    let depth = here.report_depth.fetch_add(1, Relaxed);
    match depth {
        0 => {}
        // The report itself faulted, perhaps while it held the console.
        1 => {
            // SAFETY: the other CPUs were stopped by the report, and this one does not go back to it.
            unsafe { console::break_lock() };
            console::write("\nkernel panic: a fault inside the report; giving up\n");
            power::off(power::Outcome::Panicked)
        }
        _ => cpu::halt_for_ever(),
    }
    // An access that was being probed is not gone back to: a fault from here on is the report's own.
    here.probe_resume.store(0, Relaxed);
    super::stop_others();
    // SAFETY: the other CPUs have stopped, and this one will not go back to what it did.
    unsafe { console::break_lock() };
    let out = &mut console::Writer;
    // The console never fails; and were it to fail, there would be nobody to tell.
    let _ = write!(out, "\nkernel panic on CPU {}: ", here.id());
    let _ = body(out);
    let _ = writeln!(out, "the machine stops here");
    power::off(power::Outcome::Panicked)
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
    writeln!(
        out,
        "cr3 {:#018x}  cr4 {:#010x}",
        root.start_address().as_u64() | u64::from(flags),
        Cr4::read_raw()
    )
}
