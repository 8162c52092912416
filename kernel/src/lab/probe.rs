//! Whether a write or an instruction fetch would fault: [`crate::cpu::probe`] has reads.

use core::arch::naked_asm;

use rhumb_machine::VirtAddr;

use crate::cpu::probe::{FAULTED, Faulted, expecting};
pub use crate::cpu::probe::{read_byte, read_word};

/// Tells whether a write to `addr` goes through, by writing back the byte that is there.
///
/// # Safety
/// `addr` names memory that no code writes meanwhile, or memory that cannot be written.
pub unsafe fn rewrite_byte(addr: VirtAddr) -> Result<(), Faulted> {
    // SAFETY: the same byte goes back, and the caller promised that no other code writes; the leaf notes its stack
    // pointer.
    if unsafe { expecting(|| raw_rewrite(addr.get())) } == FAULTED { Err(Faulted) } else { Ok(()) }
}

/// Tells whether the CPU fetches an instruction at `addr`.
///
/// # Safety
/// The byte at `addr` is a `ret` instruction (0xc3), or the address cannot be executed.
pub unsafe fn execute(addr: VirtAddr) -> Result<(), Faulted> {
    // SAFETY: a return is a function that changes nothing, or the address cannot be executed, by the caller's promise.
    unsafe { call(addr) }.map(|_| ())
}

/// Calls the function at `addr`, interrupts off, and returns what it leaves in EAX.
///
/// # Safety
/// There is a function that changes no register but RAX, whose upper half it clears, and no memory; or the address
/// cannot be executed.
pub unsafe fn call(addr: VirtAddr) -> Result<u32, Faulted> {
    // SAFETY: the caller has promised what is there; the leaf notes its stack pointer, and what it calls may only fault
    // on its first fetch, which the return address below that pointer does not outlive.
    u32::try_from(unsafe { expecting(|| raw_execute(addr.get())) }).map_err(|_| Faulted)
}

#[unsafe(naked)]
unsafe extern "sysv64" fn raw_rewrite(addr: u64) -> u64 {
    naked_asm!("mov r11, rsp", "mov al, byte ptr [rdi]", "mov byte ptr [rdi], al", "movzx eax, al", "ret")
}

#[unsafe(naked)]
unsafe extern "sysv64" fn raw_execute(addr: u64) -> u64 {
    naked_asm!("mov r11, rsp", "xor eax, eax", "call rdi", "ret")
}
