//! Address spaces besides the one that [`HostedMachine::attach_mmu`] gives: one tree of tables each, as tasks have, and
//! a unit that translates by it on each CPU.
//!
//! A flush of a space drops what CPUs have cached of its tree alone. A frame that becomes free is looked for in all
//! units of the machine: no CPU may reach it, in whichever space.

use std::sync::{Arc, PoisonError};

use rhumb_machine::{
    CpuId, CpuSet, FlushScope, Machine, MemoryEvent, MemoryUse, NodeId, Pinned, Tlb, VirtAddr, VirtRange,
};
use rhumb_pagetable::Root;

use crate::machine::HostedMachine;
use crate::mmu::{HostedTables, MmuConfig, SoftMmu};

/// An address space of a machine, and the machine as that space's flushes see it.
#[derive(Debug)]
pub struct HostedSpace<'machine> {
    machine: &'machine HostedMachine,
    mmu: Arc<SoftMmu>,
}

impl HostedMachine {
    /// Makes an address space of the tree under `root`. Each CPU has an empty TLB of its own for it.
    ///
    /// # Safety
    /// As for [`HostedMachine::attach_mmu`].
    pub unsafe fn space(&self, root: Root, config: MmuConfig) -> HostedSpace<'_> {
        // SAFETY: the caller promises that the tree is in RAM of the machine, which the value borrows.
        let tables = unsafe { HostedTables::new(self) };
        let mmu = Arc::new(SoftMmu::new(tables, root, self.cpu_count(), config));
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&mmu));
        HostedSpace { machine: self, mmu }
    }
}

impl<'machine> HostedSpace<'machine> {
    /// Returns the unit that translates by the space's tree.
    pub fn mmu(&self) -> &SoftMmu {
        &self.mmu
    }

    /// Returns the machine.
    pub const fn machine(&self) -> &'machine HostedMachine {
        self.machine
    }
}

impl Drop for HostedSpace<'_> {
    fn drop(&mut self) {
        let mut spaces = self.machine.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        spaces.retain(|space| !Arc::ptr_eq(space, &self.mmu));
    }
}

// SAFETY: each promise is the machine's, whose CPUs and memory these are.
unsafe impl Machine for HostedSpace<'_> {
    const CHECKS_TOKENS: bool = HostedMachine::CHECKS_TOKENS;
    const CHECKS_ACCESSES: bool = HostedMachine::CHECKS_ACCESSES;

    fn identity(&self) -> u32 {
        self.machine.identity()
    }
    fn direct_map_base(&self) -> VirtAddr {
        self.machine.direct_map_base()
    }
    fn cpu_count(&self) -> usize {
        self.machine.cpu_count()
    }
    fn node_of(&self, cpu: CpuId) -> NodeId {
        self.machine.node_of(cpu)
    }
    fn preempt_disable(&self) -> CpuId {
        self.machine.preempt_disable()
    }
    unsafe fn preempt_enable(&self) {
        // SAFETY: the caller promises the end of its own `preempt_disable`.
        unsafe { self.machine.preempt_enable() }
    }
    #[track_caller]
    fn irq_save(&self) -> CpuId {
        self.machine.irq_save()
    }
    unsafe fn irq_restore(&self) {
        // SAFETY: the caller promises the end of its own `irq_save`.
        unsafe { self.machine.irq_restore() }
    }
    fn now_ns(&self) -> u64 {
        self.machine.now_ns()
    }
    fn set_memory_use(&self, range: VirtRange, memory_use: MemoryUse) {
        self.machine.set_memory_use(range, memory_use);
    }
    fn trace(&self, event: &MemoryEvent) {
        self.machine.trace(event);
    }
}

// SAFETY: CPUs cache translations of the space's tree in its unit alone, and a flush drops them there before it returns.
unsafe impl Tlb for HostedSpace<'_> {
    fn flush_local(&self, pinned: Pinned<'_>, scope: FlushScope<'_>) {
        self.mmu.flush(self.cpu_of(pinned), scope);
    }

    fn flush_remote(&self, pinned: Pinned<'_>, targets: &CpuSet, scope: FlushScope<'_>) {
        let here = self.cpu_of(pinned);
        let others = targets.without(here).and(&self.machine.cpus());
        others.iter().for_each(|cpu| self.mmu.flush(cpu, scope));
    }
}
