//! Stacks of threads: going from one to another, and the first frame of a new one; a leaf where `unsafe` lives.
//!
//! The compiler keeps six registers across calls, and the stack pointer; the kernel has no floating-point state. They lie
//! on the stack that is left:
//!
//! ```text
//!   low    r15 r14 r13 r12 rbx rbp | where to go on | ...    high
//!          ^ the stack pointer that is kept
//! ```
//!
//! The flags are not kept: interrupts are off at each switch, and the direction flag is clear in all Rust code.

use core::arch::naked_asm;

use rhumb_machine::VirtAddr;

/// Words of a first frame: six registers, where to go on, and a word that keeps what follows aligned.
const FIRST_WORDS: u64 = 8;
const R13: u64 = 2;
const R12: u64 = 3;
const GO_ON: u64 = 6;

/// Keeps this code's registers on its stack and the stack pointer in `keep`, and goes on where the stack pointer `to`
/// was kept. Returns when other code goes on here.
///
/// # Safety
/// Interrupts are off. `to` was kept by this function or comes from [`lay_first_frame`], is used once, and its stack is
/// mapped and has no other user.
#[unsafe(naked)]
pub unsafe extern "sysv64" fn switch(keep: *mut u64, to: u64) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rdi], rsp",
        "mov rsp, rsi",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret"
    )
}

/// Lays the first frame of a thread below `top`, which is a multiple of 16, and returns the stack pointer for
/// [`switch`]: the thread begins with `body(argument)`.
///
/// # Safety
/// The stack is mapped below `top`, with room for the frame, and no code uses it.
pub unsafe fn lay_first_frame(top: VirtAddr, body: extern "sysv64" fn(u64) -> !, argument: u64) -> u64 {
    let start = VirtAddr::new(top.get() - FIRST_WORDS * 8);
    let word = |index: u64| start.plus(index * 8).as_mut_ptr::<u64>();
    // SAFETY: the words lie below the top of a stack that no code uses, by the caller's promise.
    unsafe {
        (0..FIRST_WORDS).for_each(|index| word(index).write(0));
        word(R12).write(argument);
        word(R13).write(body as *const () as u64);
        word(GO_ON).write(first_steps as *const () as u64);
    }
    start.get()
}

/// Calls the body of a new thread, with a stack that is aligned as the ABI wants it, and with no caller above.
#[unsafe(naked)]
unsafe extern "sysv64" fn first_steps() -> ! {
    naked_asm!("xor ebp, ebp", "push 0", "mov rdi, r12", "call r13", "ud2")
}

/// Leaves this stack permanently and goes on with `body(argument)` on the one that ends at `top`.
///
/// # Safety
/// The stack is mapped below `top`, a multiple of 16, and no code uses it. Nothing of the stack that is left is used
/// again.
#[unsafe(naked)]
pub unsafe extern "sysv64" fn leave_for(
    top: VirtAddr,
    body: extern "sysv64" fn(u64) -> !,
    argument: u64,
) -> ! {
    naked_asm!("mov rsp, rdi", "xor ebp, ebp", "mov rdi, rdx", "call rsi", "ud2")
}
