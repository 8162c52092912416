//! This hardware as the memory crates see it: the kernel's [`Machine`]. Its TLBs are in [`super::tlb`].

use core::panic::Location;

use rhumb_machine::{
    CpuId, IrqDepth, IrqState, Machine, MemoryEvent, MemoryUse, NodeId, Pinned, VirtAddr, VirtRange,
};
use x86_64::instructions::interrupts;

use super::area::hot;
use super::{area, clock, irqsoff, kasan, online, preempt, trace};
use crate::layout;

/// The machine: there is one, and it has no state of its own.
#[derive(Clone, Copy)]
pub struct KernelMachine;

impl KernelMachine {
    /// Its [`Machine::identity`].
    pub const IDENTITY: u32 = 0;
}

/// The machine.
pub static MACHINE: KernelMachine = KernelMachine;

/// Tells whether a guard on this CPU keeps interrupts off. Then they may not be turned on by hand.
pub fn holds_irqs_off() -> bool {
    hot::irq_depth() != IrqDepth::NONE
}

// SAFETY: the base is set once, before anything uses it; a disabled interrupt flag or a raised preemption depth keeps
// the code on its CPU.
unsafe impl Machine for KernelMachine {
    const CHECKS_ACCESSES: bool = cfg!(feature = "kasan");

    fn identity(&self) -> u32 {
        Self::IDENTITY
    }

    #[inline(always)]
    fn direct_map_base(&self) -> VirtAddr {
        layout::direct_map_base()
    }

    fn cpu_count(&self) -> usize {
        online::online_count()
    }

    fn node_of(&self, cpu: CpuId) -> NodeId {
        area::of(cpu).map_or(NodeId::FIRST, area::PerCpu::node)
    }

    #[inline(always)]
    fn preempt_disable(&self) -> CpuId {
        preempt::raise_pins();
        area::cpu_now()
    }

    #[inline(always)]
    unsafe fn preempt_enable(&self) {
        // SAFETY: the end of one `preempt_disable`, by the caller's promise.
        unsafe { preempt::lower_pins() };
    }

    #[inline(always)]
    fn irq_save(&self) -> CpuId {
        let found = if interrupts::are_enabled() { IrqState::On } else { IrqState::Off };
        interrupts::disable();
        // SAFETY: interrupts are off from the line before to the end of this function.
        unsafe { hot::set_irq_depth(hot::irq_depth().enter(found)) };
        let cpu = area::cpu_now();
        if irqsoff::IS_BUILT_IN && found == IrqState::On {
            // SAFETY: interrupts are off, and this is over before they come on.
            let pinned = unsafe { Pinned::assume(cpu) };
            area::here(pinned).irqs_off.begin(Location::caller());
        }
        cpu
    }

    #[inline(always)]
    unsafe fn irq_restore(&self) {
        let (depth, state) = hot::irq_depth().leave();
        // SAFETY: the guard that ends here keeps interrupts off, and has since the depth was read.
        unsafe { hot::set_irq_depth(depth) };
        if state == IrqState::On {
            if irqsoff::IS_BUILT_IN {
                // SAFETY: interrupts are off, and this is over before they come on.
                let pinned = unsafe { Pinned::assume(area::cpu_now()) };
                area::here(pinned).irqs_off.end();
            }
            interrupts::enable();
            preempt::yield_if_due();
        }
    }

    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }

    #[inline(always)]
    fn set_memory_use(&self, range: VirtRange, memory_use: MemoryUse) {
        kasan::set_memory_use(range, memory_use);
    }

    fn trace(&self, event: &MemoryEvent) {
        trace::tell_of_memory(event);
    }
}
