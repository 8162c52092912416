//! Giving a CPU from one thread to another: registers, the stack, and the words of the area that follow the thread.
//!
//! The guards that keep interrupts off are counted by the CPU. Where a thread gives its CPU away there is one of them,
//! and how the guard found interrupts is the thread's own: a thread that was preempted had them off by hand, one that
//! waits had them on. So that word goes with the thread.

use core::panic::Location;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_machine::{IrqDepth, IrqState, Pinned, VirtAddr, VirtRange};

use super::area::{self, hot};
use super::irqsoff;
use crate::arch::switch;

/// Where a thread that is on no CPU goes on.
pub struct StackPointer(AtomicU64);

impl StackPointer {
    /// Returns that of a thread which cannot run yet.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Has the thread begin with `body(argument)` below `top`.
    ///
    /// # Safety
    /// As for [`switch::lay_first_frame`]; the thread has not run, and does not before this returns.
    pub unsafe fn begin_at(&self, top: VirtAddr, body: extern "sysv64" fn(u64) -> !, argument: u64) {
        // SAFETY: passed on.
        self.0.store(unsafe { switch::lay_first_frame(top, body, argument) }, Relaxed);
    }
}

/// Makes `thread` with its stack the one that this CPU runs, for entries from user mode and for reports.
///
/// # Safety
/// The code that runs is the thread's, or is about to be, with interrupts off until then. The thread stays where it is
/// while it runs.
pub unsafe fn note_thread(thread: *const (), stack: VirtRange, pinned: Pinned<'_>) {
    // SAFETY: the words are this CPU's, and interrupts are off, by the caller's promise.
    unsafe { hot::set_thread(thread, stack.end().get()) };
    area::here(pinned).stacks.note_thread(stack);
}

/// Keeps the registers of the thread that runs in `from`, and goes on with those of `to`, of which `thread` and `stack`
/// say what the area is to name. Returns when another thread goes on with `from`, perhaps on another CPU.
///
/// # Safety
/// Interrupts are off, by one guard. `from` is of the calling thread; `to` is of a thread that is on no CPU and can
/// run. Both are in memory until the registers of `to` are in force. No token is alive.
pub unsafe fn switch_to(
    from: *const StackPointer,
    to: *const StackPointer,
    thread: *const (),
    stack: VirtRange,
) {
    let depth = hot::irq_depth();
    {
        // SAFETY: interrupts are off, and the proof ends before the switch.
        let pinned = unsafe { Pinned::assume(area::cpu_now()) };
        // SAFETY: interrupts are off until the thread runs, by the caller's promise.
        unsafe { note_thread(thread, stack, pinned) };
    }
    // SAFETY: both are in memory, by the caller's promise; no reference lasts past these lines.
    let (keep, to) = unsafe { ((*from).0.as_ptr(), (*to).0.load(Relaxed)) };
    // SAFETY: interrupts are off; `to` is of a thread that is on no CPU, so that its pointer was kept and is used once.
    unsafe { switch::switch(keep, to) };
    // SAFETY: interrupts are off since the other thread's guard, whose place on this CPU this thread's takes.
    unsafe { hot::set_irq_depth(depth) };
    if irqsoff::IS_BUILT_IN && depth.leave().1 == IrqState::On {
        // SAFETY: interrupts are off, and this is over before they come on.
        let pinned = unsafe { Pinned::assume(area::cpu_now()) };
        area::here(pinned).irqs_off.begin(Location::caller());
    }
}

/// Does for a new thread what the end of [`switch_to`] does for others: interrupts are off by one guard, whose end turns
/// them on.
///
/// # Safety
/// The first thing that a thread does, in the body that it begins with.
pub unsafe fn first_steps() {
    // SAFETY: interrupts are off since the other thread's guard, whose place on this CPU this thread's takes.
    unsafe { hot::set_irq_depth(IrqDepth::NONE.enter(IrqState::On)) };
}
