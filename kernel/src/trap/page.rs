//! Page faults that are no errors: the access is made again.
//!
//! **A write to memory that moves** to another node finds its page read-only. The handler finishes the move, with
//! interrupts off, whatever the code that has faulted had: it flushes other CPUs, and answers them meanwhile.
//!
//! **Pageable memory** is brought in. The handler turns interrupts on while it waits, if the code that faulted had them
//! on. Where that code had them off, or was a handler, a wait might never end, because the CPU that moves the page may
//! need an answer of this one. Such a touch is an error of its code, and the report says so.

use core::fmt;

use rhumb_machine::VirtAddr;
use rhumb_pageable::PageError;
use x86_64::instructions::interrupts;
use x86_64::registers::control::Cr2;
use x86_64::registers::rflags::RFlags;

use crate::arch::control;
use crate::arch::idt::TrapFrame;
use crate::cpu::backtrace::Name;
use crate::cpu::machine;
use crate::mm::{kernel_map, pageable};

/// Bit 0 of the error code: the page is there, and its rights forbid the access.
const PRESENT: u64 = 1 << 0;
/// Bit 1: the access is a write. Others say that it is a program's, or that more is wrong.
const WRITE: u64 = 1 << 1;

/// Finishes the move of the page to another node, if a write has faulted because its page moves. Tells whether the write
/// is made again.
pub fn finish_move(frame: &TrapFrame) -> bool {
    let address = VirtAddr::new(Cr2::read_raw());
    if frame.error != PRESENT | WRITE {
        return false;
    }
    let is_finished = kernel_map::resolve_write(address);
    // Calls that were served meanwhile may have faulted, too.
    control::set_fault_address(address.get());
    is_finished
}

/// Brings the page into memory. `None` where the fault is no pageable page's.
pub fn bring_in(frame: &TrapFrame) -> Option<Result<(), PageError>> {
    let address = VirtAddr::new(Cr2::read_raw());
    if frame.error & PRESENT != 0 || !pageable::contains(address) {
        return None;
    }
    if frame.rflags & RFlags::INTERRUPT_FLAG.bits() == 0 || machine::holds_irqs_off() {
        return Some(Err(PageError::MayNotFault));
    }
    interrupts::enable();
    let outcome = pageable::resolve(address);
    interrupts::disable();
    control::set_fault_address(address.get());
    Some(outcome)
}

/// A touch of pageable memory that cannot be made, as a sentence.
pub struct Refused<'a>(pub &'a TrapFrame, pub PageError);

impl fmt::Display for Refused<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(frame, error) = self;
        write!(f, "pageable memory touched at {} ", Name(frame.rip))?;
        match error {
            PageError::MayNotFault => f.write_str("where faults are not allowed: interrupts were off"),
            error => write!(f, "cannot be had: {error}"),
        }
    }
}
