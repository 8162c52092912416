//! A hosted machine with an allocator and windows, which a software unit translates.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_frames::{Frame, Frames, Layout, MemoryRange, Request};
use rhumb_hosted::mmu::{HostedTables, MmuConfig, SoftMmu};
use rhumb_hosted::windows::HostedWindows;
use rhumb_hosted::{Cpu, HostedMachine, LargePages, TableFrames};
use rhumb_machine::{CpuId, Machine, NodeId, Order, Pfn, PhysAddr, PhysRange, Pinned, VirtAddr};
use rhumb_pagetable::{Entry, Levels, Root, TableSource};
use rhumb_windows::{CpuSlots, WindowTables, Windows};

pub(crate) type Hosted = &'static HostedMachine;

/// Frames for tables; the allocator's RAM begins at 4 GiB.
const TABLE_BYTES: u64 = 8 << 20;
const RAM_AT: u64 = 4 << 30;
const RAM_BYTES: u64 = 16 << 20;

/// The order of writes, as the windows' tables see it.
#[derive(Default)]
pub(crate) struct Watch {
    windows: OnceLock<&'static Windows<Hosted, Watched>>,
    /// How often an entry was cleared when no window was open any more.
    pub(crate) cleared_late: AtomicU64,
}

/// The windows' tables, watched.
pub(crate) struct Watched(HostedWindows, &'static Watch);

// SAFETY: as the tables below.
unsafe impl WindowTables for Watched {
    fn write(&self, cpu: CpuId, slot: usize, entry: Entry) {
        if !entry.is_present() && self.1.windows.get().is_some_and(|windows| windows.counters().open == 0) {
            self.1.cleared_late.fetch_add(1, Relaxed);
        }
        self.0.write(cpu, slot, entry);
    }
    fn read(&self, cpu: CpuId, slot: usize) -> Entry {
        self.0.read(cpu, slot)
    }
    fn show(&self, cpu: CpuId, slot: usize) -> VirtAddr {
        self.0.show(cpu, slot)
    }
}

pub(crate) struct World {
    pub(crate) machine: Hosted,
    pub(crate) frames: Frames<Hosted>,
    pub(crate) windows: Windows<Hosted, Watched>,
    pub(crate) watch: &'static Watch,
    pub(crate) tables: HostedTables,
    /// A table that no CPU walks.
    pub(crate) idle_table: Pfn,
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

pub(crate) fn phys(start: u64, bytes: u64) -> PhysRange {
    PhysRange::of_length(PhysAddr::new(start), bytes).unwrap()
}

impl World {
    fn boot(machine: Hosted) -> &'static Self {
        let ram = phys(RAM_AT, RAM_BYTES).whole_frames();
        // SAFETY: the RAM below is for tables alone.
        let (tables, mut source) = unsafe {
            let below = phys(0, TABLE_BYTES).whole_frames();
            (HostedTables::new(machine), TableFrames::new(machine, below))
        };
        let root = Root::new(source.take_zeroed_table().unwrap(), Levels::Four);
        // SAFETY: the unit that is attached below walks the tree; nothing else maps anything for windows.
        let windows = unsafe { HostedWindows::new(machine, tables.clone(), &mut source, root) }.unwrap();
        // SAFETY: the tree is in RAM of the machine, and reached by `HostedTables` alone.
        let mmu = unsafe { machine.attach_mmu(root, MmuConfig::new(1)) }.unwrap();
        mmu.unused_until_flushed(HostedWindows::range());
        let memory = [MemoryRange { frames: ram, node: NodeId::FIRST }];
        let layout = Layout::new(&memory, machine.cpu_count(), ram.end()).unwrap();
        let storage = vec![0u64; layout.storage_bytes().div_ceil(8)].leak();
        // SAFETY: nothing else uses the RAM; the storage is outside it, zero, and stays.
        let frames = unsafe { Frames::new(machine, &layout, [ram], storage) }.unwrap();
        let slots =
            machine.cpus().iter().map(|_| Box::leak(Box::new(CpuSlots::new()))).collect::<Vec<_>>().leak();
        let watch: &'static Watch = leak(Watch::default());
        let windows = Windows::new(&frames, Watched(windows, watch), slots);
        let idle_table = source.take_zeroed_table().unwrap();
        let world: &'static Self = leak(Self { machine, frames, windows, watch, tables, idle_table });
        let _ = watch.windows.set(&world.windows);
        world
    }

    pub(crate) fn mmu(&self) -> &SoftMmu {
        self.machine.mmu().unwrap()
    }

    /// Returns a byte of a frame, unseen by its owner.
    pub(crate) fn peek(&self, pfn: Pfn, offset: u64) -> u8 {
        // SAFETY: RAM of the machine; the test has no other thread that writes it.
        unsafe { self.machine.direct(pfn.addr()).plus(offset).as_ptr::<u8>().read() }
    }

    /// Takes a zeroed frame.
    pub(crate) fn take(&self, pinned: Pinned<'_>, order: u8) -> Frame {
        self.frames.alloc(pinned, Request::new(Order::new(order).unwrap()).zeroed()).unwrap()
    }

    /// Gives frames back; no translation was stale, and no window is open.
    pub(crate) fn give(&self, pinned: Pinned<'_>, frames: Vec<Frame>) {
        frames.into_iter().for_each(|frame| self.frames.free(pinned, frame));
        assert_eq!(self.mmu().take_reports(), []);
        self.windows.validate().unwrap();
    }
}

/// Runs `body` as CPU 0 of a fresh world, its TLBs full of speculation.
pub(crate) fn in_world<A: Send>(cpus: usize, body: impl FnOnce(&'static World, &Cpu<'_>) -> A + Send) -> A {
    let machine = HostedMachine::builder().cpus(cpus).large_pages(LargePages::Never);
    let machine: Hosted =
        leak(machine.ram(phys(0, TABLE_BYTES)).ram(phys(RAM_AT, RAM_BYTES)).build().unwrap());
    machine.enter(CpuId::BOOT, |cpu| body(World::boot(machine), cpu)).unwrap()
}
