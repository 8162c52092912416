//! The first line of a CPU's area: the words that its CPU reads and writes at every turn, by one instruction each.
//!
//! ```text
//!   gs:0   this          the address of the area itself
//!   gs:8   thread        the thread that runs
//!   gs:16  kernel_stack  where the kernel stack of that thread ends: an entry from user mode begins there
//!   gs:24  user_stack    room for the user's stack pointer, until the entry has a stack to keep it on
//!   gs:32  preempt       guards that hold the code on its CPU, and whether the scheduler is wanted (`cpu::preempt`)
//!   gs:40  irq_depth     guards that keep interrupts off
//!   gs:48  tsc_offset    what to add to the time-stamp counter
//!   gs:56  cpu           the number of the CPU, 16 bits
//! ```
//!
//! **Why one instruction.** A thread that is moved to another CPU between two instructions would read the address of
//! one area and then change a word of it while it runs elsewhere. No interrupt comes in the middle of an instruction,
//! so an instruction with a `gs:` operand reads or changes a word of the CPU that executes it. No lock prefix is
//! needed, because no other CPU writes this line.

use core::arch::asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};

use rhumb_machine::{CpuId, IrqDepth};

use super::super::preempt;
use super::PerCpu;
use crate::arch::gs;

/// Tells whether the word `field` lies where assembly looks for it.
macro_rules! lies_at {
    ($field:ident, $offset:expr) => {
        offset_of!(PerCpu, hot) + offset_of!(Hot, $field) == $offset
    };
}

const _: () = assert!(
    lies_at!(this, gs::THIS)
        && lies_at!(thread, gs::THREAD)
        && lies_at!(kernel_stack, gs::KERNEL_STACK)
        && lies_at!(user_stack, gs::USER_STACK)
        && lies_at!(preempt, gs::PREEMPT)
        && lies_at!(irq_depth, gs::IRQ_DEPTH)
        && lies_at!(tsc_offset, gs::TSC_OFFSET)
        && lies_at!(cpu, gs::CPU)
);
const _: () = assert!(size_of::<Hot>() == 64 && align_of::<Hot>() == 64);
// `cpu_now` reads it as a word.
const _: () = assert!(size_of::<CpuId>() == 2);

/// The first line of an area.
#[repr(C, align(64))]
pub(super) struct Hot {
    this: AtomicPtr<PerCpu>,
    thread: AtomicPtr<()>,
    kernel_stack: AtomicU64,
    user_stack: AtomicU64,
    preempt: AtomicU64,
    irq_depth: AtomicU64,
    tsc_offset: AtomicU64,
    cpu: CpuId,
}

impl Hot {
    pub(super) const fn new(cpu: CpuId) -> Self {
        Self {
            this: AtomicPtr::new(core::ptr::null_mut()),
            thread: AtomicPtr::new(core::ptr::null_mut()),
            kernel_stack: AtomicU64::new(0),
            user_stack: AtomicU64::new(0),
            preempt: AtomicU64::new(preempt::NOTHING_WANTED),
            irq_depth: AtomicU64::new(IrqDepth::NONE.bits()),
            tsc_offset: AtomicU64::new(0),
            cpu,
        }
    }

    /// Keeps the address of the area that this line begins.
    pub(super) fn set_this(&self, area: *mut PerCpu) {
        self.this.store(area, Relaxed);
    }

    /// Sets what its CPU adds to its time-stamp counter. Once, by the CPU that starts it.
    pub(super) fn set_tsc_offset(&self, offset: u64) {
        self.tsc_offset.store(offset, Relaxed);
    }
}

/// Returns the area of the CPU that executes this. Of use only to code that is held on its CPU.
#[inline(always)]
pub(super) fn this_area() -> &'static PerCpu {
    let pointer: *const PerCpu;
    // SAFETY: GS leads to a registered area from the first Rust instruction on, and its first word is its address.
    unsafe {
        asm!("mov {}, gs:[{}]", out(reg) pointer, const gs::THIS,
            options(nostack, preserves_flags, readonly));
        &*pointer
    }
}

/// Returns the CPU that executes this. For code that is not held on its CPU, the answer may be stale by the time it is
/// used: good for a line of the log or for a seed, but not for finding what belongs to this CPU.
#[inline(always)]
pub fn cpu_now() -> CpuId {
    let id: usize;
    // SAFETY: GS leads to this CPU's area, whose number was made of a `CpuId`, and is one.
    unsafe {
        asm!("movzx {:e}, word ptr gs:[{}]", out(reg) id, const gs::CPU,
            options(nostack, preserves_flags, readonly));
        CpuId::new(id).unwrap_unchecked()
    }
}

/// Returns the thread that this CPU runs: null where it runs none yet. The thread that asks gets itself, wherever it is.
#[inline(always)]
pub fn thread_now() -> *const () {
    let thread;
    // SAFETY: GS leads to this CPU's area.
    unsafe {
        asm!("mov {}, gs:[{}]", out(reg) thread, const gs::THREAD,
            options(nostack, preserves_flags, readonly));
    }
    thread
}

/// Sets the thread that this CPU runs, and where the thread's stack ends.
///
/// # Safety
/// Interrupts are off until the thread runs.
#[inline(always)]
pub(in crate::cpu) unsafe fn set_thread(thread: *const (), kernel_stack: u64) {
    // SAFETY: GS leads to this CPU's area, which the code cannot leave, by the caller's promise.
    unsafe {
        asm!("mov gs:[{}], {}", "mov gs:[{}], {}", const gs::THREAD, in(reg) thread,
            const gs::KERNEL_STACK, in(reg) kernel_stack, options(nostack, preserves_flags));
    }
}

/// Returns what this CPU adds to its time-stamp counter, so that it shows what the boot CPU's shows. Wraps. Of use only
/// to code that is held on its CPU while it reads both.
#[inline(always)]
pub(in crate::cpu) fn tsc_offset() -> u64 {
    let offset;
    // SAFETY: GS leads to this CPU's area.
    unsafe {
        asm!("mov {}, gs:[{}]", out(reg) offset, const gs::TSC_OFFSET,
            options(nostack, preserves_flags, readonly));
    }
    offset
}

/// Returns the guards that keep interrupts off on this CPU. Where there are none, the answer holds for code that was
/// moved meanwhile, too: it has left none behind.
#[inline(always)]
pub(in crate::cpu) fn irq_depth() -> IrqDepth {
    let bits;
    // SAFETY: GS leads to this CPU's area.
    unsafe {
        asm!("mov {}, gs:[{}]", out(reg) bits, const gs::IRQ_DEPTH,
            options(nostack, preserves_flags, readonly));
    }
    IrqDepth::from_bits(bits)
}

/// Sets the guards that keep interrupts off on this CPU.
///
/// # Safety
/// Interrupts are off, and have been since the depth was read that this one was made of.
#[inline(always)]
pub(in crate::cpu) unsafe fn set_irq_depth(depth: IrqDepth) {
    // SAFETY: GS leads to this CPU's area, which the code cannot leave, by the caller's promise.
    unsafe {
        asm!("mov gs:[{}], {}", const gs::IRQ_DEPTH, in(reg) depth.bits(),
            options(nostack, preserves_flags));
    }
}
