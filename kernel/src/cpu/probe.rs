//! Accesses to addresses that may not be mapped, which the kernel survives.
//!
//! Reports read what may not be mapped, and tests also try writes and fetches. Each access is an instruction of a leaf
//! in assembly, for which the image's table of fixups ([`fixup`]) says where the CPU goes on if it faults. Accesses are
//! made in any context: with interrupts on or off, in handlers, by all CPUs at once. An address of pageable memory is
//! brought in where faults are allowed.
//!
//! For addresses of programs there is [`super::user`].

use core::arch::naked_asm;
use core::sync::atomic::Ordering::Relaxed;

use rhumb_machine::{Machine, VirtAddr};

use super::area;
use super::machine::MACHINE;
use crate::arch::fixup::{fixup, resume_at};
use crate::arch::idt::TrapFrame;
use crate::arch::pkrs::{self, Pkrs};

/// The access faulted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Faulted;

/// The answer of a leaf: a value, and whether the access went through, in two registers.
#[repr(C)]
pub struct Answer {
    value: u64,
    has_faulted: u64,
}

impl Answer {
    /// Returns the value.
    ///
    /// # Errors
    /// [`Faulted`].
    pub fn value(self) -> Result<u64, Faulted> {
        if self.has_faulted == 0 { Ok(self.value) } else { Err(Faulted) }
    }
}

/// Reads the byte at `addr`.
///
/// # Errors
/// [`Faulted`]: it cannot be read.
pub fn read_byte(addr: VirtAddr) -> Result<u8, Faulted> {
    // SAFETY: a byte read at any address either faults, which is caught, or has no effect (callers do not name device
    // registers).
    unsafe { raw_read(addr.get()) }.value().map(|value| value as u8)
}

/// Reads the 8 bytes at `addr`, which may be anything: at once, so that an aligned word is never half of one value and
/// half of another.
///
/// The read is an instruction of a leaf in assembly, so the language knows as little of it as of the reads that the CPU
/// makes by itself. It may read memory that other code writes at the same time.
///
/// # Errors
/// [`Faulted`]: one of them cannot be read.
pub fn read_word(addr: VirtAddr) -> Result<u64, Faulted> {
    // SAFETY: a read at any address either faults, which is caught, or has no effect (callers do not name device
    // registers).
    unsafe { raw_read_word(addr.get()) }.value()
}

/// Resumes behind the access if the fault in `frame` is that of an instruction that may fault, and tells whether it is.
pub fn resume(frame: &mut TrapFrame) -> bool {
    let Some(resume) = resume_at(frame.rip) else {
        return cfg!(feature = "lab") && resume_caller(frame);
    };
    note_keys();
    frame.rip = resume;
    true
}

/// Resumes behind the call if code that a leaf calls has faulted on its first instruction: the call may fault, too, and
/// the fault is told at the address that it leads to.
fn resume_caller(frame: &mut TrapFrame) -> bool {
    let Ok(return_to) = read_word(VirtAddr::new(frame.rsp)) else { return false };
    let Some(resume) = resume_at(return_to) else { return false };
    note_keys();
    frame.rsp += 8;
    frame.rip = resume;
    true
}

/// Notes the rights with which the handler runs, for a test.
fn note_keys() {
    if pkrs::are_used() {
        let guard = MACHINE.irq_off();
        let here = area::here(guard.irq_off().pinned());
        here.own().handler_keys.store(u64::from(Pkrs.value()), Relaxed);
    }
}

#[unsafe(naked)]
unsafe extern "sysv64" fn raw_read(addr: u64) -> Answer {
    naked_asm!(
        "xor edx, edx",
        "2: movzx eax, byte ptr [rdi]",
        "ret",
        "3: mov edx, 1",
        "ret",
        fixup!("2b", "3b")
    )
}

#[unsafe(naked)]
unsafe extern "sysv64" fn raw_read_word(addr: u64) -> Answer {
    naked_asm!(
        "xor edx, edx",
        "2: mov rax, qword ptr [rdi]",
        "ret",
        "3: mov edx, 1",
        "ret",
        fixup!("2b", "3b")
    )
}
