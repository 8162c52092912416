//! This hardware as the memory crates see it: the kernel's [`Machine`].

use core::panic::Location;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_machine::{
    CpuId, CpuMask, FlushScope, IrqDepth, IrqState, Machine, MemoryUse, NodeId, Pinned, Tlb, VirtAddr,
    VirtRange,
};
use x86_64::instructions::interrupts;

use crate::arch::{clock, percpu};
use crate::kasan;
use crate::smp::{self, flush};

/// The machine: there is one, and it has no state of its own.
#[derive(Clone, Copy)]
pub struct KernelMachine;

/// The machine.
pub static MACHINE: KernelMachine = KernelMachine;

static DIRECT_MAP_BASE: AtomicU64 = AtomicU64::new(0);

/// Fixes the direct map's base. Once, at boot.
pub fn set_direct_map_base(base: VirtAddr) {
    DIRECT_MAP_BASE.store(base.get(), Relaxed);
}

/// The direct map's base; zero before boot has chosen it.
pub fn direct_map_base() -> VirtAddr {
    VirtAddr::new(DIRECT_MAP_BASE.load(Relaxed))
}

/// Whether a guard on this CPU keeps interrupts off. Then they may not be turned on by hand.
pub fn holds_irqs_off() -> bool {
    percpu::here().irq_depth.load(Relaxed) != IrqDepth::NONE.bits()
}

// SAFETY: the base is set once, before anything uses it; a disabled interrupt flag or a raised preemption depth keeps
// the code on its CPU.
unsafe impl Machine for KernelMachine {
    const CHECKS_ACCESSES: bool = cfg!(feature = "kasan");

    #[inline(always)]
    fn direct_map_base(&self) -> VirtAddr {
        VirtAddr::new(DIRECT_MAP_BASE.load(Relaxed))
    }

    fn cpu_count(&self) -> usize {
        smp::online().len()
    }

    fn node_of(&self, cpu: CpuId) -> NodeId {
        percpu::of(cpu).map_or(NodeId::FIRST, percpu::PerCpu::node)
    }

    #[inline(always)]
    fn preempt_disable(&self) -> CpuId {
        percpu::raise_preempt_depth();
        percpu::here().id()
    }

    #[inline(always)]
    unsafe fn preempt_enable(&self) {
        percpu::lower_preempt_depth();
    }

    #[inline(always)]
    fn irq_save(&self) -> CpuId {
        let found = if interrupts::are_enabled() { IrqState::On } else { IrqState::Off };
        interrupts::disable();
        let here = percpu::here();
        let depth = IrqDepth::from_bits(here.irq_depth.load(Relaxed));
        here.irq_depth.store(depth.enter(found).bits(), Relaxed);
        if found == IrqState::On {
            here.irqs_off.begin(Location::caller());
        }
        here.id()
    }

    #[inline(always)]
    unsafe fn irq_restore(&self) {
        let here = percpu::here();
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

// SAFETY: `flush_remote` waits for every target, a lazy CPU flushes first thing when it wakes, and a flusher waits for a
// CPU that starts until that CPU is listed (`smp::flush_targets`).
unsafe impl Tlb for KernelMachine {
    fn flush_local(&self, pinned: Pinned<'_>, scope: FlushScope<'_>) {
        percpu::of_pinned(pinned).counters.flushes.count();
        flush::local(scope);
    }

    fn flush_remote(&self, pinned: Pinned<'_>, targets: &CpuMask, scope: FlushScope<'_>) {
        flush::remote(pinned, targets, scope);
    }

    fn flush_targets(&self) -> CpuMask {
        smp::flush_targets()
    }

    fn leave_to_lazy(&self, targets: &CpuMask) -> CpuMask {
        flush::leave_to_lazy(targets)
    }
}
