//! A hosted machine with an allocator whose memory lies half in the direct map and half past its end, and a table of
//! slots that a software unit walks.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_frames::{Anywhere, Frame, Frames, Layout, MemoryRange, Request, Zone};
use rhumb_hosted::mmu::{HostedTables, MmuConfig, SoftMmu, Use};
use rhumb_hosted::{Cpu, HostedMachine, LargePages, TableFrames};
use rhumb_longmap::{LongMap, Record, SlotTable};
use rhumb_machine::{
    CpuId, Machine, NodeId, PageSize, Pfn, PhysAddr, PhysRange, Pinned, VirtAddr, VirtRange,
};
use rhumb_pagetable::{Entry, FlushStats, Levels, Privilege, Root, TableMemory, TableSource};

pub(crate) type Hosted = &'static HostedMachine;
pub(crate) type Map = LongMap<Hosted, HostedSlots>;

const TABLE_BYTES: u64 = 8 << 20;
const RAM_AT: u64 = 4 << 30;
const RAM_BYTES: u64 = 16 << 20;
/// The first slot.
pub(crate) const SLOTS_AT: VirtAddr = VirtAddr::new(0xffff_c300_0000_0000);

/// The table of slots, which the unit walks.
pub(crate) struct HostedSlots {
    machine: Hosted,
    tables: HostedTables,
    table: Pfn,
    flushes: &'static AtomicU64,
}

const fn index_of(virt: VirtAddr, level: u32) -> usize {
    (virt.get() >> (12 + 9 * (level - 1)) & 511) as usize
}

impl HostedSlots {
    fn new(
        machine: Hosted,
        mut tables: HostedTables,
        source: &mut TableFrames<'static>,
        root: Root,
        flushes: &'static AtomicU64,
    ) -> Self {
        let mut table = root.table;
        for level in [4, 3, 2] {
            let next = source.take_zeroed_table().unwrap();
            tables.write(table, index_of(SLOTS_AT, level), Entry::table(next, Privilege::Supervisor));
            table = next;
        }
        Self { machine, tables, table, flushes }
    }
}

// SAFETY: entries are written into a table that the unit walks, and a slot's page is where the unit says. The world
// makes one value.
unsafe impl SlotTable for HostedSlots {
    fn write(&self, slot: usize, entry: Entry) {
        self.tables.clone().write(self.table, slot, entry);
    }
    fn read(&self, slot: usize) -> Entry {
        self.tables.read(self.table, slot)
    }
    fn address(&self, slot: usize) -> VirtAddr {
        SLOTS_AT.plus(slot as u64 * PageSize::Size4K.bytes())
    }
    fn show(&self, slot: usize) -> VirtAddr {
        let cpu = self.machine.pin().pinned().cpu();
        let phys = self.machine.mmu().unwrap().access(cpu, self.address(slot), Use::Write);
        self.machine.direct(phys.unwrap_or_else(|fault| panic!("slot {slot} faults: {fault:?}")))
    }
    fn note_flush(&self, _: FlushStats) {
        self.flushes.fetch_add(1, Relaxed);
    }
    fn relax(&self) {
        std::thread::yield_now();
    }
}

pub(crate) struct World {
    pub(crate) machine: Hosted,
    pub(crate) frames: &'static Frames<Hosted>,
    pub(crate) map: Map,
    pub(crate) flushes: &'static AtomicU64,
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn phys(start: u64, bytes: u64) -> PhysRange {
    PhysRange::of_length(PhysAddr::new(start), bytes).unwrap()
}

impl World {
    fn boot(machine: Hosted, slots: usize) -> &'static Self {
        let ram = phys(RAM_AT, RAM_BYTES).whole_frames();
        let limit = phys(RAM_AT, RAM_BYTES / 2).whole_frames().end();
        // SAFETY: the RAM below is for tables alone.
        let (tables, mut source) = unsafe {
            let below = phys(0, TABLE_BYTES).whole_frames();
            (HostedTables::new(machine), TableFrames::new(machine, below))
        };
        let root = Root::new(source.take_zeroed_table().unwrap(), Levels::Four);
        let flushes = leak(AtomicU64::new(0));
        let table = HostedSlots::new(machine, tables, &mut source, root, flushes);
        // SAFETY: the tree is in RAM of the machine, and reached by `HostedTables` alone.
        let mmu = unsafe { machine.attach_mmu(root, MmuConfig::plain(1)) }.unwrap();
        mmu.unused_until_flushed(VirtRange::of_length(SLOTS_AT, PageSize::Size2M.bytes()).unwrap());
        let memory = [MemoryRange { frames: ram, node: NodeId::FIRST }];
        let layout = Layout::new(&memory, machine.cpu_count(), limit).unwrap();
        let storage = vec![0u64; layout.storage_bytes().div_ceil(8)].leak();
        // SAFETY: nothing else uses the RAM; the storage is outside it, zero, and stays.
        let frames = leak(unsafe { Frames::new(machine, &layout, [ram], storage) }.unwrap());
        for zone in [Zone::Normal, Zone::High] {
            frames.set_reserve(NodeId::FIRST, zone, 0);
            frames.set_guard(NodeId::FIRST, zone, 0);
        }
        let records = vec![Record::none(); slots].leak();
        leak(Self { machine, frames, map: LongMap::new(frames, table, records), flushes })
    }

    pub(crate) fn mmu(&self) -> &SoftMmu {
        self.machine.mmu().unwrap()
    }

    /// Takes a frame past the direct map.
    pub(crate) fn take(&self, pinned: Pinned<'_>) -> Frame<Anywhere> {
        let frame = self.frames.alloc_anywhere(pinned, Request::FRAME).unwrap();
        assert!(frame.is_high());
        frame
    }

    /// No translation was stale, no slot is held, and all memory is free.
    pub(crate) fn assert_idle(&self, pinned: Pinned<'_>) {
        self.frames.drain(pinned);
        assert_eq!(self.mmu().take_reports(), []);
        self.map.validate().unwrap();
        assert_eq!((self.map.counters().held, self.map.holdings().count()), (0, 0));
        assert_eq!(self.frames.free_frames(), RAM_BYTES / 4096);
    }
}

/// Runs `body` as CPU 0 of a fresh world with so many slots.
pub(crate) fn in_world<A: Send>(
    cpus: usize,
    slots: usize,
    body: impl FnOnce(&'static World, &Cpu<'_>) -> A + Send,
) -> A {
    let machine = HostedMachine::builder().cpus(cpus).large_pages(LargePages::Never);
    let machine: Hosted =
        leak(machine.ram(phys(0, TABLE_BYTES)).ram(phys(RAM_AT, RAM_BYTES)).build().unwrap());
    machine.enter(CpuId::BOOT, |cpu| body(World::boot(machine, slots), cpu)).unwrap()
}
