//! Where the stacks of threads come from and go to.

use rhumb_kernelmap::AreaError;
use rhumb_machine::Machine;

use super::local;
use super::stacks::{MOST_KEPT, PAGES};
use crate::cpu::area;
use crate::cpu::machine::MACHINE;
use crate::mm::stacks::KernelStack;

/// Returns a stack for a thread: one that this CPU keeps, or a new one of this CPU's node.
///
/// # Errors
/// [`AreaError`]; nothing has changed then.
pub fn take() -> Result<KernelStack, AreaError> {
    let (kept, node) = {
        let guard = MACHINE.irq_off();
        let here = guard.irq_off();
        let kept = local::of(here.cpu()).and_then(|local| local.stacks.take(0, here));
        (kept, area::here(here.pinned()).node())
    };
    match kept {
        Some(stack) => Ok(stack),
        None => KernelStack::new(PAGES, node),
    }
}

/// Keeps a stack that no thread was made for.
pub fn put_back(stack: KernelStack) {
    let too_many = {
        let guard = MACHINE.irq_off();
        let here = guard.irq_off();
        local::expect(here.cpu()).stacks.keep(stack, here)
    };
    if too_many.0 {
        give_back_here(MOST_KEPT);
    }
}

/// Gives back all stacks that the CPU on which this runs keeps, but `least`.
pub fn give_back_here(least: usize) {
    let cpu = area::cpu_now();
    if let Some(local) = local::of(cpu) {
        local.stacks.give_back(least);
    }
}
