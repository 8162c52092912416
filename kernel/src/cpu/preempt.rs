//! Preemption: the places at which the kernel gives its CPU to the scheduler.
//!
//! Code that wants the scheduler to look again, because a thread that matters more may have become ready, notes that
//! on the CPU ([`want`]). The scheduler is called as soon as the running code allows it:
//!
//! ```text
//!   the last guard that pinned the code ends, interrupts on     preempt_enable ─┐
//!   the last guard that kept interrupts off ends, no pin        irq_restore ────┼──> scheduler
//!   an interrupt ends that came with interrupts on, no pin      trap_dispatch ──┘
//! ```
//!
//! So code is moved or made to wait at these places only, and never while it holds a token. Where one condition is
//! missing, the wish stays until the place at which it is met: the end of a pin with interrupts off leaves it to the
//! guard, or to the interrupt's end, that turns interrupts on. Code that turns interrupts on without a guard (an
//! idle CPU, a page fault that waits) leaves it to the next of these places.
//!
//! A non-maskable interrupt, a machine check and a double fault end without a look, because they come in the middle of
//! anything. They may note a wish.
//!
//! **The word `preempt`** counts guards in its low bits. Its highest bit is set while the scheduler is not wanted, so
//! that the word is 0 exactly where the scheduler is wanted and no guard is alive: the end of a guard learns both from
//! the flags of its decrement, and assembly from one comparison with 0.
//!
//! ```text
//!   bit 63                       62 ........ 0
//!   1: nothing is wanted here    guards alive
//! ```

use core::arch::{asm, naked_asm};
use core::sync::atomic::{
    AtomicPtr,
    Ordering::{AcqRel, Acquire},
};

use rhumb_machine::{IrqOff, Pinned};
use x86_64::instructions::interrupts;

use crate::arch::gs;

/// The bit of `preempt` that says that nothing is wanted.
const NOTHING_WANTED_BIT: u32 = 63;
/// No guard, and nothing is wanted.
pub(super) const NOTHING_WANTED: u64 = 1 << NOTHING_WANTED_BIT;

/// Chooses the thread that runs, and turns to it.
///
/// It is called with interrupts off, with no guard alive, on the stack of the thread that is preempted, and returns
/// when that thread runs again, with interrupts off, on any CPU. It has no token: it may return on another CPU.
pub type Scheduler = fn();

/// The scheduler. Null as long as there is none: then a wish passes.
static SCHEDULER: AtomicPtr<Scheduler> = AtomicPtr::new(core::ptr::null_mut());

/// Lets `scheduler` be called from now on, and returns the one before.
pub fn hand_to(scheduler: Option<&'static Scheduler>) -> Option<&'static Scheduler> {
    let pointer =
        scheduler.map_or(core::ptr::null_mut(), |scheduler| core::ptr::from_ref(scheduler).cast_mut());
    // SAFETY: only this function writes the pointer, from a reference that lives permanently.
    unsafe { SCHEDULER.swap(pointer, AcqRel).as_ref() }
}

/// Notes that the scheduler of the CPU that `pinned` names is wanted: it is called at the latest when the token's
/// guard ends, if nothing else holds the code. From any context.
#[inline(always)]
pub fn want(_pinned: Pinned<'_>) {
    // SAFETY: GS leads to this CPU's area, and only this CPU changes the word.
    unsafe {
        asm!("btr qword ptr gs:[{}], {}", const gs::PREEMPT, const NOTHING_WANTED_BIT, options(nostack))
    };
}

/// Holds the running code on its CPU.
#[inline(always)]
pub(super) fn raise_pins() {
    // SAFETY: GS leads to this CPU's area, and only this CPU changes the word.
    unsafe { asm!("inc qword ptr gs:[{}]", const gs::PREEMPT, options(nostack)) };
}

/// Does `job` on one CPU, which is the one that `job` runs on from its first to its last instruction.
#[inline(always)]
pub(super) fn while_pinned<R>(job: impl FnOnce() -> R) -> R {
    raise_pins();
    let result = job();
    // SAFETY: raised above, and `job` was given no proof.
    unsafe { lower_pins() };
    result
}

/// Undoes one [`raise_pins`]. Where that was the last guard, and the scheduler is wanted, it is called.
///
/// # Safety
/// Called once for each `raise_pins`, on the same CPU, with no proof alive that rests on it.
#[inline(always)]
pub(super) unsafe fn lower_pins() {
    // SAFETY: GS leads to this CPU's area, and only this CPU changes the word. The function keeps all registers, and
    // uses the stack as an interrupt does, since the kernel has no red zone.
    unsafe {
        asm!("dec qword ptr gs:[{}]", "jnz 2f", "call {}", "2:",
            const gs::PREEMPT, sym yield_keeping_registers, options(nostack));
    }
}

/// Tells whether a pin holds the running code.
#[inline(always)]
pub fn is_pinned() -> bool {
    let word: u64;
    // SAFETY: GS leads to this CPU's area. Where there is no pin, the answer holds for code that was moved meanwhile, too.
    unsafe {
        asm!("mov {}, gs:[{}]", out(reg) word, const gs::PREEMPT,
            options(nostack, preserves_flags, readonly));
    }
    word & !NOTHING_WANTED != 0
}

/// Calls the scheduler where it is wanted, and no guard holds the running code.
#[inline(always)]
pub(super) fn yield_if_due() {
    // SAFETY: GS leads to this CPU's area. The function keeps all registers, and uses the stack as an interrupt does.
    unsafe {
        asm!("cmp qword ptr gs:[{}], 0", "jne 2f", "call {}", "2:",
            const gs::PREEMPT, sym yield_keeping_registers, options(nostack));
    }
}

/// Calls [`yield_if_interruptible`] and keeps all registers, so that the end of a guard costs the function around it no
/// register, and no branch that the compiler would plan for.
#[unsafe(naked)]
unsafe extern "sysv64" fn yield_keeping_registers() {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rax",
        "push rcx",
        "push rdx",
        "push rsi",
        "push rdi",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "and rsp, -16",
        "call {}",
        "lea rsp, [rbp - 72]",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop rcx",
        "pop rax",
        "pop rbp",
        "ret",
        sym yield_if_interruptible
    )
}

/// Calls the scheduler, which is wanted, if interrupts are on. Where the last guard of the running code has ended.
extern "sysv64" fn yield_if_interruptible() {
    if interrupts::are_enabled() {
        interrupts::disable();
        call_wanted();
        interrupts::enable();
    }
}

/// Calls the scheduler if it is wanted: at the end of an interrupt, which comes to code that has interrupts on. If no
/// guard holds that code, it may go on on another CPU, so the handler's proof ends here.
#[inline(always)]
pub fn after_interrupt(_ends: IrqOff<'_>) {
    if is_due() {
        call_wanted();
    }
}

/// Calls the scheduler as long as it is wanted. Interrupts are off, and no guard is alive.
#[cold]
#[inline(never)]
fn call_wanted() {
    while take_due() {
        // SAFETY: the pointer comes from a reference that lives permanently.
        if let Some(scheduler) = unsafe { SCHEDULER.load(Acquire).as_ref() } {
            scheduler();
        }
    }
}

/// Tells whether this CPU's scheduler is wanted, and no guard holds the running code.
#[inline(always)]
fn is_due() -> bool {
    let word: u64;
    // SAFETY: GS leads to this CPU's area.
    unsafe {
        asm!("mov {}, gs:[{}]", out(reg) word, const gs::PREEMPT,
            options(nostack, preserves_flags, readonly));
    }
    word == 0
}

/// Tells whether this CPU's scheduler is wanted, and no guard holds the running code; then it is wanted no more. With
/// interrupts off.
fn take_due() -> bool {
    let is_due = is_due();
    if is_due {
        // A non-maskable interrupt between look and store leaves the guards as they were. If it wants the
        // scheduler, too, it gets it now.
        // SAFETY: GS leads to this CPU's area, and no guard of the running code is alive, so none is forgotten.
        unsafe {
            asm!("mov qword ptr gs:[{}], {}", const gs::PREEMPT, in(reg) NOTHING_WANTED,
                options(nostack, preserves_flags));
        }
    }
    is_due
}
