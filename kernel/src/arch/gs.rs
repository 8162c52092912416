//! Offsets of the words of a CPU's area that instructions reach through GS, for assembly.
//!
//! `cpu::area::hot` lays the words out so, says what each is, and asserts these numbers.

/// The address of the area.
pub const THIS: usize = 0;
/// The thread that runs.
pub const THREAD: usize = 8;
/// Where the kernel stack of that thread ends.
pub const KERNEL_STACK: usize = 16;
/// Room for the user's stack pointer.
pub const USER_STACK: usize = 24;
/// Guards that hold the code on its CPU; 0 where there is none and the scheduler is wanted.
pub const PREEMPT: usize = 32;
/// Guards that keep interrupts off.
pub const IRQ_DEPTH: usize = 40;
/// The number to add to the time-stamp counter.
pub const TSC_OFFSET: usize = 48;
/// The CPU's number, 16 bits.
pub const CPU: usize = 56;
