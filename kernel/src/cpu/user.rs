//! Copies between the kernel and the memory of programs, at addresses that a program has named.
//!
//! An address of a program is anything: outside of its half, without a page, read-only, or about to be any of these,
//! because another CPU changes the map meanwhile. So the kernel never makes a reference of one. Each function here first
//! checks that all bytes are in the user half, without wrapping, and then copies by one string instruction that may
//! fault ([`fixup`]). A fault that the fault handler cannot resolve ends the copy.
//!
//! SMAP forbids user memory to the kernel but for these instructions: `stac` before, `clac` behind, both put in by boot
//! where the CPU has it. A handler that comes in between begins with `clac`'s state and returns to the copy's.
//!
//! Under speculation a CPU runs past the check with any address. The address is therefore also forced into the user half
//! by arithmetic, which is not predicted (Spectre variant 1, `docs/speculation.md`).
//!
//! Callers hold no lock that the resolution of a fault takes, if the fault is to be resolved.

use core::arch::{asm, naked_asm};
use core::fmt;

use rhumb_machine::{VirtAddr, VirtRange};

use crate::arch::fixup::fixup;
use crate::arch::patch::{clac, stac};
use crate::layout;

/// The reason why memory of a program cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UserError {
    /// Some of the bytes are not in the user half. Nothing was copied.
    NotUser,
    /// A page is not there, or does not allow the access. So many bytes were copied before, from the lowest on.
    Faulted { copied: usize },
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUser => f.write_str("the address is no program's"),
            Self::Faulted { copied } => write!(f, "the memory cannot be accessed after {copied} bytes"),
        }
    }
}

/// Copies memory of a program, from `from` on, to all of `to`.
///
/// # Errors
/// [`UserError`]. Bytes of `to` behind those that were copied are as before.
///
/// Cost: one string instruction.
pub fn copy_from_user(to: &mut [u8], from: VirtAddr) -> Result<(), UserError> {
    let from = checked(from, to.len())?;
    // SAFETY: the destination is a slice; the source is in the user half, where the kernel has no object, and may fault.
    let left = unsafe { raw_copy(to.as_mut_ptr() as u64, from, to.len()) };
    copied_all(to.len(), left)
}

/// Copies all of `from` into memory of a program, from `to` on.
///
/// # Errors
/// [`UserError`].
///
/// Cost: one string instruction.
#[cfg_attr(not(feature = "lab"), expect(dead_code, reason = "there are no programs yet"))]
pub fn copy_to_user(to: VirtAddr, from: &[u8]) -> Result<(), UserError> {
    let to = checked(to, from.len())?;
    // SAFETY: the source is a slice; the destination is in the user half, where the kernel has no object, and may fault.
    let left = unsafe { raw_copy(to, from.as_ptr() as u64, from.len()) };
    copied_all(from.len(), left)
}

/// Returns how many bytes lie before the first zero byte from `at` on; `most` where none of so many bytes is zero.
///
/// Another CPU may change the bytes meanwhile, so the length is a hint: a copy of the string is looked at again.
///
/// # Errors
/// [`UserError::NotUser`] where `at` is no program's; [`UserError::Faulted`] where the string runs into memory that is
/// not there, or out of the user half.
///
/// Cost: a few instructions for each byte.
#[cfg_attr(not(feature = "lab"), expect(dead_code, reason = "there are no programs yet"))]
pub fn string_length(at: VirtAddr, most: usize) -> Result<usize, UserError> {
    let start = checked(at, 1)?;
    let room = layout::user().end().get() - at.get();
    let within = usize::try_from(room).unwrap_or(usize::MAX).min(most);
    // SAFETY: all that is read is in the user half, and may fault.
    let Length { bytes, has_faulted } = unsafe { raw_length(start, within) };
    if has_faulted != 0 || (bytes == within && within < most) {
        return Err(UserError::Faulted { copied: bytes });
    }
    Ok(bytes)
}

/// Returns the address of `bytes` bytes that are a program's, also under speculation.
fn checked(start: VirtAddr, bytes: usize) -> Result<u64, UserError> {
    let half = layout::user();
    let range = VirtRange::of_length(start, bytes as u64).ok_or(UserError::NotUser)?;
    if !half.contains(start) || !half.covers(range) {
        return Err(UserError::NotUser);
    }
    let mut address = start.get();
    // SAFETY: arithmetic in registers: an address below the end stays what it is, any other becomes 0.
    unsafe {
        asm!(
            "cmp {address}, {end}",
            "sbb {mask}, {mask}",
            "and {address}, {mask}",
            address = inout(reg) address,
            end = in(reg) half.end().get(),
            mask = out(reg) _,
            options(pure, nomem, nostack)
        );
    }
    Ok(address)
}

fn copied_all(wanted: usize, left: usize) -> Result<(), UserError> {
    if left == 0 { Ok(()) } else { Err(UserError::Faulted { copied: wanted - left }) }
}

/// Copies and returns how many bytes are left.
#[unsafe(naked)]
unsafe extern "sysv64" fn raw_copy(to: u64, from: u64, bytes: usize) -> usize {
    naked_asm!(
        "mov rcx, rdx",
        stac!(),
        "2: rep movsb",
        // The count is exact after a fault, too (SDM volume 1, 7.3.9.2).
        "3:",
        clac!(),
        "mov rax, rcx",
        "ret",
        fixup!("2b", "3b")
    )
}

#[repr(C)]
struct Length {
    bytes: usize,
    has_faulted: u64,
}

#[unsafe(naked)]
unsafe extern "sysv64" fn raw_length(at: u64, most: usize) -> Length {
    naked_asm!(
        "xor eax, eax",
        "xor edx, edx",
        stac!(),
        "2: cmp rax, rsi",
        "je 4f",
        "3: cmp byte ptr [rdi + rax], 0",
        "je 4f",
        "inc rax",
        "jmp 2b",
        "4:",
        clac!(),
        "ret",
        "5: mov edx, 1",
        "jmp 4b",
        fixup!("3b", "5b")
    )
}
