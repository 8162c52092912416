//! The report of a violation: that of Linux's KASAN, in this kernel's frame.

use core::fmt::{self, Write};

use rhumb_kasan::outline::{self, global_at};
use rhumb_kasan::{Dump, State, Violation};
use rhumb_machine::{Machine, PhysAddr, VirtAddr};

use super::report as trap_report;
use crate::cpu::backtrace;
use crate::cpu::kasan::checker;
use crate::cpu::machine::MACHINE;
use crate::mm;
use crate::mm::place::Place;

/// Functions of the checker, which are above the culprit in every backtrace.
const CHECKERS: [&str; 4] = ["__asan_", "rhumb_kasan::", "rhumb::trap::kasan::", "rhumb::cpu::kasan::"];

/// Reports a violation and stops the machine.
pub fn report(violation: &Violation) -> ! {
    let rbp: u64;
    // SAFETY: copies a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags)) };
    // The report reads what it likes; a second violation would tell nothing.
    outline::suspend();
    trap_report::last_words(&format_args!("KASAN: {}", violation.state.bug()), |out| {
        let culprit = backtrace::first_caller_outside(rbp, &CHECKERS);
        write!(out, "BUG: KASAN: {} in ", violation.state.bug())?;
        match culprit {
            Some(frame) => writeln!(out, "{}", backtrace::Name(frame.return_to))?,
            None => writeln!(out, "?")?,
        }
        writeln!(out, "{violation}")?;
        write_place(out, violation)?;
        if let Some(checker) = checker() {
            write!(
                out,
                "shadow, a byte for 8 bytes of memory:\n{}",
                Dump { shadow: &checker.shadow, address: violation.first_bad }
            )?;
        }
        match culprit {
            Some(frame) => backtrace::write(out, frame.return_to, frame.rbp),
            None => backtrace::write(out, report as *const () as u64, rbp),
        }
    })
}

/// Writes what is at the address: the frame and its owner, the global, or the stack.
fn write_place(out: &mut dyn Write, violation: &Violation) -> fmt::Result {
    let address = violation.first_bad;
    let place = mm::describe(address);
    writeln!(out, "{place}")?;
    if let Place::DirectMap { .. } = place {
        let pfn = PhysAddr::new(address.since(MACHINE.direct(PhysAddr::ZERO))).pfn();
        if let Some(known) = mm::known::known(pfn) {
            write!(out, "{known}")?;
        }
    }
    // A red zone belongs to the global before it: the first bad byte may already be outside of it by name.
    if violation.state == State::GlobalRedZone
        && let Some(global) = global_at(address)
    {
        let (start, bytes) = (global.start(), global.bytes());
        writeln!(
            out,
            "{} bytes past the start of the global at {start}, which has {bytes}",
            since(address, start)
        )?;
    }
    Ok(())
}

fn since(address: VirtAddr, start: VirtAddr) -> u64 {
    address.get().saturating_sub(start.get())
}
