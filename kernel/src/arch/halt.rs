//! Halting a CPU: until an interrupt, or permanently.

use core::arch::naked_asm;

/// Turns interrupts on and halts until one comes. One that waits already ends the halt: interrupts come on behind the
/// instruction that follows.
///
/// A non-maskable interrupt may come between the two. Interrupts that wait then strike when it returns, before the
/// halt, and nothing would end the halt. So a handler that returns skips the halt, which the symbol `idle_halt` names.
#[unsafe(naked)]
pub extern "sysv64" fn until_interrupt() {
    naked_asm!("sti", ".globl idle_halt", "idle_halt:", "hlt", "ret")
}

/// Stops this CPU permanently.
pub fn permanently() -> ! {
    loop {
        x86_64::instructions::interrupts::disable();
        x86_64::instructions::hlt();
    }
}
