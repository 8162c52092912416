//! Threads of the kernel: `rhumb_sched`'s scheduler on this machine. See docs/threads.md.
//!
//! ```text
//!   start    prepare(CPU): stacks, records ──> enter: the idle thread, the worker, on the boot CPU the prompt
//!   thread   spawn ──> begin ──> its body ──> end ──> reap: the stack to the CPU's own, the record to its cache
//!   idle     tidies up and halts             worker   jobs for this CPU, stacks that are too many
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`thread`] | making threads, what the kernel keeps of each, and waiting for their ends |
//! | [`kernel`] | what the scheduler asks of the kernel: switches, interrupts, alarms |
//! | [`local`] | what the kernel keeps for the threads of one CPU |
//! | [`stacks`], [`supply`] | the stacks of threads that have ended, for the next ones |
//! | [`list`], [`all`] | the lists of threads, and all of them |
//! | [`alarm`] | the timer of each CPU |
//! | [`start`] | bringing CPUs up |
//! | [`idle`], [`worker`] | two threads of each CPU |
//! | [`console`] | waiting for input |
//!
//! Principles:
//! 1. A CPU runs threads from the moment at which it takes part; its idle thread is there before, and never fails.
//! 2. A spin lock keeps its holder on its CPU, by interrupts that are off or by a pin. Only what has neither may sleep.
//! 3. Making a thread may fail, and leaves all as it was (I12). Its end needs no memory.

mod alarm;
pub mod all;
pub mod console;
pub mod idle;
mod kernel;
mod list;
mod local;
mod stacks;
pub mod start;
pub mod supply;
pub mod thread;
mod worker;

use rhumb_machine::IrqOff;

use crate::cpu::machine::KernelMachine;

pub type Scheduler = rhumb_sched::Scheduler<KernelMachine>;
pub type Thread = rhumb_sched::Thread<KernelMachine>;
pub type ThreadRef = rhumb_sched::ThreadRef<KernelMachine>;
pub type WaitQueue = rhumb_sched::WaitQueue<KernelMachine>;

// SAFETY: the kernel has this scheduler alone.
static SCHEDULER: Scheduler = unsafe { Scheduler::new(KernelMachine) };

/// Returns the scheduler.
#[inline(always)]
pub fn scheduler() -> &'static Scheduler {
    &SCHEDULER
}

/// Handles the timer's interrupt.
pub fn alarm_fired(irq_off: IrqOff<'_>) {
    if local::of(irq_off.cpu()).is_some_and(|local| local.alarm.fired(irq_off)) {
        SCHEDULER.alarm(irq_off);
    }
}

/// Handles the interrupt by which a CPU asks another one to reschedule, or itself to give back stacks.
pub fn reschedule_asked(irq_off: IrqOff<'_>) {
    if local::of(irq_off.cpu()).is_some_and(|local| local.stacks.are_too_many(irq_off)) {
        worker::wake();
    }
}
