//! This hardware as the memory crates see it: the kernel's [`Machine`].

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_machine::{CpuId, CpuMask, FlushScope, IrqState, Machine, NodeId, PageSize, Pinned, VirtAddr};
use x86_64::instructions::interrupts;
use x86_64::instructions::tlb;
use x86_64::registers::control::{Cr4, Cr4Flags};

use crate::arch::{clock, percpu};
use crate::smp;
use crate::smp::call;

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

/// More pages than this are flushed by dropping everything: Linux's figure, to be replaced by a measured one.
const FLUSH_ALL_ABOVE_PAGES: u64 = 33;

// SAFETY: the base is set once, before anything uses it; a disabled interrupt flag or a raised preemption depth keeps the
// code on its CPU; `flush_remote` waits for every target.
unsafe impl Machine for KernelMachine {
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
        let here = percpu::here();
        here.preempt_depth.store(here.preempt_depth.load(Relaxed) + 1, Relaxed);
        here.id()
    }

    #[inline(always)]
    unsafe fn preempt_enable(&self) {
        let here = percpu::here();
        here.preempt_depth.store(here.preempt_depth.load(Relaxed) - 1, Relaxed);
    }

    #[inline(always)]
    fn irq_save(&self) -> (CpuId, IrqState) {
        let state = if interrupts::are_enabled() { IrqState::On } else { IrqState::Off };
        interrupts::disable();
        (percpu::here().id(), state)
    }

    #[inline(always)]
    unsafe fn irq_restore(&self, state: IrqState) {
        if state == IrqState::On {
            interrupts::enable();
        }
    }

    fn flush_local(&self, pinned: Pinned<'_>, scope: FlushScope) {
        let counters = &percpu::of_pinned(pinned).counters;
        match scope {
            FlushScope::Range(range) => {
                let Some(range) = range.align_outward(PageSize::Size4K) else {
                    counters.flushes_all.count();
                    return flush_all_local();
                };
                let pages = range.bytes() / PageSize::Size4K.bytes();
                if pages > FLUSH_ALL_ABOVE_PAGES {
                    counters.flushes_all.count();
                    return flush_all_local();
                }
                counters.flushes_page.add(pages);
                for page in 0..pages {
                    flush_page_local(range.start().plus(page * PageSize::Size4K.bytes()));
                }
            }
            FlushScope::NonGlobal => {
                counters.flushes_all.count();
                tlb::flush_all();
            }
            FlushScope::All => {
                counters.flushes_all.count();
                flush_all_local();
            }
        }
    }

    fn flush_remote(&self, pinned: Pinned<'_>, targets: &CpuMask, scope: FlushScope) {
        percpu::of_pinned(pinned).counters.flushes_remote.count();
        call::run_on(
            pinned,
            targets,
            &|| {
                // SAFETY: cross-calls run with interrupts off on the CPU that serves them.
                let here = unsafe { Pinned::assume(percpu::here().id()) };
                MACHINE.flush_local(here, scope);
            },
            || (),
        );
    }

    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }
}

/// Drops this CPU's translation of the page that holds `page`, of whatever size, global or not.
///
/// Why not the x86_64 crate's: its addresses are 48 bits wide.
pub fn flush_page_local(page: VirtAddr) {
    // SAFETY: dropping a translation changes no meaning: the CPU walks the tables again.
    unsafe { core::arch::asm!("invlpg [{}]", in(reg) page.get(), options(nostack, preserves_flags)) };
}

/// Drops every translation of this CPU, global ones included: toggling CR4.PGE does (SDM volume 3, 5.10.4.1).
pub fn flush_all_local() {
    let bits = Cr4::read();
    if bits.contains(Cr4Flags::PAGE_GLOBAL) {
        // SAFETY: the bit is on, so the CPU has it; the second write restores what was there.
        unsafe {
            Cr4::write(bits - Cr4Flags::PAGE_GLOBAL);
            Cr4::write(bits);
        }
    } else {
        tlb::flush_all();
    }
}
