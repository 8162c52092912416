//! The worker: a thread of each CPU for what has to be done there in ordinary context, and cannot wait until the CPU is
//! idle.
//!
//! It does the jobs that are handed to all CPUs (`cpu::work`), on the stack on which the CPU came up, which is as large
//! as they need. And it gives back stacks of threads that have ended, where the CPU keeps too many.

use rhumb_machine::{CpuId, Machine};

use super::stacks::MOST_KEPT;
use super::{local, scheduler};
use crate::cpu::machine::MACHINE;
use crate::cpu::work;

/// Wakes the worker of the CPU on which this runs, if it has one. From any context but a non-maskable interrupt's.
pub fn wake() {
    let cpu = MACHINE.pin().pinned().cpu();
    if let Some(local) = local::of(cpu) {
        local.work.wake_all(scheduler());
    }
}

/// Runs the worker of `cpu`, to which it is bound.
pub fn run(cpu: CpuId) -> u64 {
    let local = local::expect(cpu);
    loop {
        // It waits without end, and is not cancelled: any end of the wait is a reason to look.
        let _ = local.work.wait_while(scheduler(), None, |irq_off| {
            !work::is_waiting() && !local.stacks.are_too_many(irq_off)
        });
        work::do_waiting();
        local.stacks.give_back(MOST_KEPT);
    }
}
