//! This hardware as the memory crates see it: the kernel's [`Machine`].

use core::panic::Location;
use core::sync::atomic::Ordering::Relaxed;

use rhumb_machine::{
    CpuId, CpuMask, FlushScope, IrqDepth, IrqState, Machine, MemoryUse, NodeId, Pinned, Tlb, VirtAddr,
    VirtRange,
};
use x86_64::instructions::interrupts;

use super::kasan;
use super::tlb;
use super::{area, clock};
use crate::cpu;
use crate::layout;

/// The machine: there is one, and it has no state of its own.
#[derive(Clone, Copy)]
pub struct KernelMachine;

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

    #[inline(always)]
    fn direct_map_base(&self) -> VirtAddr {
        layout::direct_map_base()
    }

    fn cpu_count(&self) -> usize {
        cpu::online().len()
    }

    fn node_of(&self, cpu: CpuId) -> NodeId {
        area::of(cpu).map_or(NodeId::FIRST, area::PerCpu::node)
    }

    #[inline(always)]
    fn preempt_disable(&self) -> CpuId {
        area::raise_preempt_depth();
        area::here().id()
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
}

// SAFETY: `flush_remote` waits for every target, a lazy CPU flushes first thing when it wakes, and a flusher waits for
// a CPU that starts until that CPU is listed (`cpu::flush_targets`).
unsafe impl Tlb for KernelMachine {
    fn flush_local(&self, pinned: Pinned<'_>, scope: FlushScope<'_>) {
        area::of_pinned(pinned).counters.flushes.increment();
        tlb::flush_local(scope);
    }

    fn flush_remote(&self, pinned: Pinned<'_>, targets: &CpuMask, scope: FlushScope<'_>) {
        tlb::flush_remote(pinned, targets, scope);
    }

    fn flush_targets(&self) -> CpuMask {
        cpu::flush_targets()
    }

    fn leave_to_lazy(&self, targets: &CpuMask) -> CpuMask {
        tlb::leave_to_lazy(targets)
    }
}
