//! CPU exceptions on purpose, to see their reports. Nothing here comes back if the kernel is sound.

use core::arch::asm;

use rhumb_machine::VirtAddr;

use crate::arch::apic;
use crate::cpu::clock;

/// Reads the word at `address`, which is not mapped.
pub fn read(address: VirtAddr) {
    // SAFETY: faults, and the report ends the run; were something there, reading it has no effect.
    unsafe { asm!("mov {0}, qword ptr [{0}]", inout(reg) address.get() => _, options(nostack, readonly)) };
}

/// Writes to `address`, which cannot be written.
pub fn write(address: VirtAddr) {
    // SAFETY: faults, and the report ends the run; adding nothing changes nothing.
    unsafe { asm!("add byte ptr [{}], 0", in(reg) address.get(), options(nostack)) };
}

/// Jumps to `address`, which cannot be executed.
pub fn execute(address: VirtAddr) {
    // SAFETY: faults on the first fetch, and the report ends the run.
    unsafe { asm!("call {}", in(reg) address.get(), clobber_abi("sysv64")) };
}

/// Pushes until the guard page.
pub fn overflow_stack() {
    // SAFETY: writes only below the stack pointer, down to the guard page, where it faults with no stack for the fault
    // itself.
    unsafe { asm!("2: push 0", "jmp 2b", options(noreturn)) };
}

/// Runs an instruction that is none.
pub fn invalid_opcode() {
    // SAFETY: faults, and the report ends the run.
    unsafe { asm!("ud2", options(nomem, nostack)) };
}

/// Divides by zero.
pub fn divide_by_zero() {
    // SAFETY: faults, and the report ends the run.
    unsafe {
        asm!("div {0:e}", in(reg) 0u32, inout("eax") 1 => _, inout("edx") 0 => _, options(nomem, nostack))
    };
}

/// Sends this CPU a non-maskable interrupt that no test has announced.
pub fn nmi() {
    apic::send_nmi(apic::id());
    let end = clock::now_ns() + 1_000_000_000;
    while clock::now_ns() < end {
        core::hint::spin_loop();
    }
}

/// Faults with a stack pointer that leads nowhere.
pub fn double_fault() {
    // SAFETY: the fault's frame cannot be pushed, so the double-fault handler runs on its own stack and ends the run.
    unsafe { asm!("xor esp, esp", "ud2", options(noreturn)) };
}
