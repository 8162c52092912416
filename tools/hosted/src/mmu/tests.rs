//! The unit translates as the manual says, is silent about right flushing, and finds each planted fault. By theme; and
//! the world that the themes share.

mod careless;
mod detecting;
mod stores;
mod translating;

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rhumb_machine::{
    CpuId, CpuMask, FlushScope, Machine, PageSize, Pfn, PfnRange, PhysAddr, PhysRange, Tlb, VirtAddr,
    VirtRange,
};
use rhumb_pagetable::{
    Access, Attributes, ENTRIES, EmptyTables, Entry, FlushBatch, FlushStats, Key, Levels, Mapper, Mapping,
    Rights, Root, TableMemory, TableSource,
};

use super::*;
use crate::{HostedMachine, TableFrames};

const BASE: u64 = 0xffff_8000_0000_0000;
const LARGE: u64 = 2 << 20;
const PAGE: u64 = 4096;
/// Blocks of 2 MiB that tests map and unmap; frames for them come after the tables' 4 MiB.
const BLOCKS: u64 = 6;
const FRAMES_AT: u64 = 4 << 20;

fn cpu(index: usize) -> CpuId {
    CpuId::new(index).unwrap()
}

fn virt(offset: u64) -> VirtAddr {
    VirtAddr::new(BASE + offset)
}

fn range(offset: u64, bytes: u64) -> VirtRange {
    VirtRange::of_length(virt(offset), bytes).unwrap()
}

fn frames(phys: u64, bytes: u64) -> PfnRange {
    PhysRange::of_length(PhysAddr::new(phys), bytes).unwrap().whole_frames()
}

/// A machine with a tree; CPU 0 changes it.
struct World<'machine> {
    machine: &'machine HostedMachine,
    mmu: &'machine SoftMmu,
    tables: HostedTables,
    source: TableFrames<'machine>,
}

impl<'machine> World<'machine> {
    fn new(machine: &'machine HostedMachine, config: MmuConfig) -> Self {
        // SAFETY: frames 0 to 1023 are for tables alone.
        let (tables, mut source) = unsafe {
            (
                HostedTables::new(machine),
                TableFrames::new(machine, PfnRange::new(Pfn::new(0), Pfn::new(1024)).unwrap()),
            )
        };
        let root = Root::new(source.take_zeroed_table().unwrap(), Levels::Four);
        // SAFETY: the root is of frames that are for tables alone, and the tree is changed through `tables` alone.
        let mmu = unsafe { machine.attach_mmu(root, config) }.unwrap();
        Self { machine, mmu, tables, source }
    }

    fn map(&mut self, offset: u64, phys: u64, bytes: u64, largest: PageSize, access: Access) {
        let mapping = Mapping {
            virt: virt(offset),
            phys: PhysRange::of_length(PhysAddr::new(phys), bytes).unwrap(),
            attributes: Attributes::kernel(access),
            largest,
        };
        Mapper::new(self.mmu.root(), &mut self.tables).map(&mapping, &mut self.source).unwrap();
    }

    fn unmap(&mut self, offset: u64, bytes: u64) -> rhumb_pagetable::UnmapOutcome {
        Mapper::new(self.mmu.root(), &mut self.tables)
            .unmap(range(offset, bytes), EmptyTables::DetachBelowRoot)
            .unwrap()
    }

    /// Sets the leaf of `offset`; returns what it was.
    fn set_leaf(&mut self, offset: u64, change: impl Fn(Entry) -> Entry) -> Entry {
        let walk = rhumb_pagetable::walk(&self.tables, self.mmu.root(), virt(offset));
        let last = *walk.steps().last().unwrap();
        self.tables.write(last.table, last.index, change(last.entry));
        last.entry
    }

    fn flush(&self, mut batch: FlushBatch, targets: &CpuMask) -> FlushStats {
        let pin = self.machine.pin();
        batch.flush_on(&self.machine, pin.pinned(), targets)
    }

    fn access(&self, index: usize, offset: u64, access: Use) -> Result<u64, Fault> {
        self.mmu.access(cpu(index), virt(offset), access).map(PhysAddr::get)
    }
}

/// Runs `body` as CPU 0 of a machine of `cpus` CPUs.
fn in_world<T: Send>(cpus: usize, config: MmuConfig, body: impl FnOnce(World<'_>) -> T + Send) -> T {
    let machine = HostedMachine::builder().cpus(cpus).ram_bytes(64 << 20).build().unwrap();
    machine.enter(CpuId::BOOT, |_| body(World::new(&machine, config))).unwrap()
}

/// No speculation, no fragments: each entry is there because of an access.
const PLAIN: MmuConfig = MmuConfig::plain(1);

fn pages(offset: u64, bytes: u64, size: PageSize) -> FlushBatch {
    let mut batch = FlushBatch::new();
    batch.add_leaf(range(offset, bytes), size);
    batch
}

fn read_only(entry: Entry) -> Entry {
    Entry::from_bits(entry.bits() & !(rhumb_pagetable::bits::WRITE | rhumb_pagetable::bits::DIRTY))
}
