//! This hardware as the memory crates see it: the kernel's [`Machine`]. Its TLBs are in [`super::tlb`].

use core::panic::Location;
use core::sync::atomic::Ordering::Relaxed;

use rhumb_machine::{
    CpuId, IrqDepth, IrqState, Machine, MemoryEvent, MemoryUse, NodeId, VirtAddr, VirtRange,
};
use x86_64::instructions::interrupts;

use super::{area, clock, kasan, online, trace};
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
    area::here().irq_depth.load(Relaxed) != IrqDepth::NONE.bits()
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
        area::raise_preempt_depth();
        area::this_cpu()
    }

    #[inline(always)]
    unsafe fn preempt_enable(&self) {
        area::lower_preempt_depth();
    }

    #[inline(always)]
    fn irq_save(&self) -> CpuId {
        let found = if interrupts::are_enabled() { IrqState::On } else { IrqState::Off };
        interrupts::disable();
        let here = area::here();
        let depth = IrqDepth::from_bits(here.irq_depth.load(Relaxed));
        here.irq_depth.store(depth.enter(found).bits(), Relaxed);
        if found == IrqState::On {
            here.irqs_off.begin(Location::caller());
        }
        here.id()
    }

    #[inline(always)]
    unsafe fn irq_restore(&self) {
        let here = area::here();
        let (depth, state) = IrqDepth::from_bits(here.irq_depth.load(Relaxed)).leave();
        here.irq_depth.store(depth.bits(), Relaxed);
        if state == IrqState::On {
            here.irqs_off.end();
            interrupts::enable();
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
