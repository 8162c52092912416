//! Whether a write or an instruction fetch would fault: [`crate::cpu::probe`] has reads.

use core::arch::naked_asm;

use rhumb_machine::VirtAddr;

use crate::arch::fixup::fixup;
use crate::cpu::probe::{Answer, Faulted};
pub use crate::cpu::probe::{read_byte, read_word};

/// Tells whether a write to `addr` goes through, by writing back the byte that is there.
///
/// # Safety
/// `addr` names memory that no code writes meanwhile, or memory that cannot be written.
pub unsafe fn rewrite_byte(addr: VirtAddr) -> Result<(), Faulted> {
    // SAFETY: the same byte goes back, and the caller promised that no other code writes.
    unsafe { raw_rewrite(addr.get()) }.value().map(|_| ())
}

/// Tells whether the CPU fetches an instruction at `addr`.
///
/// # Safety
/// The byte at `addr` is a `ret` instruction (0xc3), or the address cannot be executed.
pub unsafe fn execute(addr: VirtAddr) -> Result<(), Faulted> {
    // SAFETY: a return is a function that changes nothing, or the address cannot be executed, by the caller's promise.
    unsafe { call(addr) }.map(|_| ())
}

/// Calls the function at `addr`, and returns what it leaves in EAX.
///
/// # Safety
/// There is a function that changes no register but RAX, whose upper half it clears, and no memory; or the address
/// cannot be executed.
pub unsafe fn call(addr: VirtAddr) -> Result<u32, Faulted> {
    // SAFETY: the caller has promised what is there; what the leaf calls may fault on its first fetch only, while the
    // return address is where the stack pointer points.
    unsafe { raw_execute(addr.get()) }.value().map(|value| value as u32)
}

#[unsafe(naked)]
unsafe extern "sysv64" fn raw_rewrite(addr: u64) -> Answer {
    naked_asm!(
        "xor edx, edx",
        "2: mov al, byte ptr [rdi]",
        "3: mov byte ptr [rdi], al",
        "ret",
        "4: mov edx, 1",
        "ret",
        fixup!("2b", "4b"),
        fixup!("3b", "4b")
    )
}

/// The entry names the call's return address: what is called is where the fault is told.
#[unsafe(naked)]
unsafe extern "sysv64" fn raw_execute(addr: u64) -> Answer {
    naked_asm!(
        "xor eax, eax",
        "call rdi",
        "2: xor edx, edx",
        "ret",
        "3: mov edx, 1",
        "ret",
        fixup!("2b", "3b")
    )
}
