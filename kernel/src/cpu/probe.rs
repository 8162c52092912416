//! Accesses to addresses that may not be mapped, which the kernel survives.
//!
//! Reports read what may not be mapped, and tests also try writes and fetches. Each access is a leaf of a few
//! instructions. Before the access, the CPU's area notes where to go on if it faults, and the page-fault handler goes
//! there.

use core::arch::naked_asm;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use rhumb_machine::{Machine, VirtAddr};

use super::area;
use super::machine::MACHINE;
use crate::arch::idt::TrapFrame;
use crate::arch::pkrs::{self, Pkrs};

/// The access faulted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Faulted;

/// Reads the byte at `addr`.
pub fn read_byte(addr: VirtAddr) -> Result<u8, Faulted> {
    // SAFETY: a byte read at any address either faults, which is caught, or has no effect (callers do not name device
    // registers).
    let result = unsafe { expecting(|| raw_read(addr.get())) };
    u8::try_from(result).map_err(|_| Faulted)
}

/// Reads the 8 bytes at `addr`, which may be anything: at once, so that an aligned word is never half of one value and
/// half of another.
///
/// The read is an instruction of a leaf in assembly, so the language knows as little of it as of the reads that the CPU
/// makes by itself. It may read memory that other code writes at the same time.
pub fn read_word(addr: VirtAddr) -> Result<u64, Faulted> {
    // SAFETY: a read at any address either faults, which is caught, or has no effect (callers do not name device
    // registers).
    let word = unsafe { expecting(|| raw_read_word(addr.get())) };
    if word != FAULTED {
        return Ok(word);
    }
    // The word is all ones, or the read faulted: the bytes tell.
    let mut bytes = [0; 8];
    for (offset, byte) in bytes.iter_mut().enumerate() {
        *byte = read_byte(VirtAddr::new(addr.get().wrapping_add(offset as u64)))?;
    }
    Ok(u64::from_le_bytes(bytes))
}

/// The value that [`expecting`] returns for an access that faulted.
pub const FAULTED: u64 = u64::MAX;

/// Makes an access that may fault, and returns what its leaf returns, or [`FAULTED`].
///
/// # Safety
/// The access is made by a leaf function that notes its stack pointer in r11 first, so that the handler can return for
/// it however deep the access was.
pub unsafe fn expecting(access: impl FnOnce() -> u64) -> u64 {
    // The mark belongs to the CPU, so neither another thread nor an interrupt's own probe may come between.
    let guard = MACHINE.irq_off();
    let here = area::here(guard.irq_off().pinned());
    let mark = &here.own().probe_resume;
    let outer = mark.swap(raw_fault as *const () as u64, Acquire);
    let result = access();
    mark.store(outer, Release);
    result
}

/// Resumes behind the access if the page fault, general-protection fault or breakpoint in `frame` was expected, and tells
/// whether it was.
pub fn resume(frame: &mut TrapFrame) -> bool {
    let guard = MACHINE.irq_off();
    let here = area::here(guard.irq_off().pinned());
    let resume = here.own().probe_resume.load(Relaxed);
    if resume == 0 {
        return false;
    }
    if pkrs::are_used() {
        here.own().handler_keys.store(u64::from(Pkrs.value()), Relaxed);
    }
    // The leaf keeps its entry stack pointer in r11: see `raw_*`.
    frame.rsp = frame.r11;
    frame.rip = resume;
    true
}

#[unsafe(naked)]
unsafe extern "sysv64" fn raw_read(addr: u64) -> u64 {
    naked_asm!("mov r11, rsp", "movzx eax, byte ptr [rdi]", "ret")
}

#[unsafe(naked)]
unsafe extern "sysv64" fn raw_read_word(addr: u64) -> u64 {
    naked_asm!("mov r11, rsp", "mov rax, qword ptr [rdi]", "ret")
}

#[unsafe(naked)]
unsafe extern "sysv64" fn raw_fault() -> u64 {
    naked_asm!("mov rax, {faulted}", "ret", faulted = const FAULTED as i64)
}
