//! A hosted machine with RAM, an allocator, objects, and a kernel map that a software MMU translates.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, RwLock};

use rhumb_frames::{AllocError, Anywhere, Descriptor, Frame, Frames, Layout, MemoryRange, Request};
use rhumb_hosted::mmu::{Fault, HostedTables, MmuConfig, SoftMmu, Use};
use rhumb_hosted::{Cpu, HostedMachine, LargePages};
use rhumb_kernelmap::map::MapLayoutError;
use rhumb_kernelmap::{Area, Home, KernelMap, MapAddresses, MapLayout, Tag};
use rhumb_machine::{
    CpuId, Machine, NodeId, PageSize, Pfn, PhysAddr, PhysRange, Pinned, VirtAddr, VirtRange, impossible,
};
use rhumb_pagetable::flush::{Flushed, Unflushed};
use rhumb_pagetable::{Entry, Levels, OutOfTables, Privilege, Root, TableMemory, descend, walk};
use rhumb_slab::{Cache, CacheSpec, Config, Slabs};

pub(crate) type Hosted = &'static HostedMachine;
pub(crate) type Map = KernelMap<Here>;

pub(crate) const GIB: u64 = 1 << 30;
pub(crate) const MIB: u64 = 1 << 20;
/// Where the allocator's RAM begins; devices are below.
pub(crate) const RAM_AT: u64 = 4 * GIB;
/// The root and the tables that boot makes.
const BOOT_TABLES: u64 = 64 << 10;
/// Where the RAM of the second node begins, if there is one.
pub(crate) const SECOND_AT: u64 = 16 * GIB;
pub(crate) const BASE: VirtAddr = VirtAddr::new(0xffff_c000_0000_0000);

/// The faults that a test plants.
#[derive(Debug, Default)]
pub(crate) struct Plant {
    /// Allocations of frames and tables that succeed before one fails; 0: none fails.
    pub(crate) fails_after: AtomicU64,
    /// How many more fail after that one, in a row.
    pub(crate) fails_more: AtomicU64,
    /// The flushes reach this CPU alone.
    pub(crate) flushes_here_alone: AtomicU64,
}

pub(crate) struct Ground {
    pub(crate) machine: Hosted,
    pub(crate) frames: Frames<Hosted>,
    pub(crate) tables: HostedTables,
    root: Root,
    upper: Mutex<()>,
    pub(crate) plant: Plant,
    pub(crate) flushes: AtomicU64,
    pub(crate) tables_out: AtomicU64,
    pub(crate) largest: Mutex<PageSize>,
    /// Held for reading while a thread makes an access, and for writing while CPUs flush: an instruction is over when
    /// its CPU has answered. `None` where all CPUs are one thread.
    pub(crate) bus: Option<RwLock<()>>,
}

#[derive(Clone, Copy)]
pub(crate) struct Here(pub(crate) &'static Ground);

impl Here {
    /// Lets an interrupt strike.
    fn point(self) {
        drop(self.0.machine.irq_off());
    }

    fn may_go_on(self) -> bool {
        let plant = &self.0.plant;
        let (left, more) = (plant.fails_after.load(Relaxed), plant.fails_more.load(Relaxed));
        match left {
            0 => {}
            1 if more > 0 => plant.fails_more.store(more - 1, Relaxed),
            _ => plant.fails_after.store(left - 1, Relaxed),
        }
        left != 1
    }
}

// SAFETY: one allocator and the one tree that the machine's unit walks, in which the map alone has these addresses; RAM
// is what the allocator has; the flushes are whole where no fault is planted.
unsafe impl Home for Here {
    type Machine = Hosted;
    type Tables = HostedTables;

    fn frames(&self) -> &'static Frames<Hosted> {
        &self.0.frames
    }
    fn root(&self) -> Root {
        self.0.root
    }
    fn largest(&self) -> PageSize {
        let _off = self.0.machine.irq_off();
        *self.0.largest.lock().unwrap()
    }
    fn tables(&self) -> HostedTables {
        self.point();
        self.0.tables.clone()
    }
    fn with_upper_tables<A>(&self, act: impl FnOnce(&mut HostedTables) -> A) -> A {
        let _off = self.0.machine.irq_off();
        let _held = self.0.upper.lock().unwrap();
        act(&mut self.tables())
    }
    fn take_table(&self, pinned: Pinned<'_>) -> Result<Pfn, OutOfTables> {
        if !self.may_go_on() {
            return Err(OutOfTables);
        }
        let frame = self.0.frames.alloc(pinned, Request::FRAME.zeroed()).map_err(|_| OutOfTables)?;
        self.0.tables_out.fetch_add(1, Relaxed);
        Ok(frame.into_pfn())
    }
    unsafe fn give_back_table(&self, pinned: Pinned<'_>, table: Pfn) {
        let is_clear = (0..512).all(|index| self.0.tables.read(table, index) == Entry::EMPTY);
        assert!(is_clear, "table {table} is not clear");
        self.0.tables_out.fetch_sub(1, Relaxed);
        // SAFETY: the frame came from `take_table`.
        match unsafe { self.0.frames.from_pfn(table, rhumb_machine::Order::BASE) } {
            Ok(frame) => self.0.frames.free(pinned, frame),
            Err(fault) => impossible!("a table is a frame: {fault}"),
        }
    }
    fn is_ram(&self, range: PhysRange) -> bool {
        self.0.machine.ram().iter().any(|ram| ram.range.overlaps(range))
    }
    fn alloc(&self, pinned: Pinned<'_>, request: Request) -> Result<Frame<Anywhere>, AllocError> {
        self.point();
        if !self.may_go_on() {
            return Err(AllocError::Busy);
        }
        self.0.frames.alloc(pinned, request).map(Frame::into_anywhere)
    }
    fn flush(
        &self,
        pinned: Pinned<'_>,
        unflushed: &mut Unflushed<rhumb_kernelmap::map::FlushNumber>,
    ) -> Flushed<rhumb_kernelmap::map::FlushNumber> {
        self.0.flushes.fetch_add(1, Relaxed);
        self.point();
        if self.0.plant.flushes_here_alone.load(Relaxed) != 0 {
            // SAFETY: not true, on purpose.
            return unsafe { unflushed.flush_on(&self.0.machine, pinned, &rhumb_machine::FirstCpus(1)) };
        }
        let held = self.0.bus.as_ref().map(|bus| bus.write().unwrap());
        let flushed = unflushed.flush(&self.0.machine, pinned);
        drop(held);
        self.point();
        flushed
    }
}

/// The memory and the CPUs of a world.
pub(crate) struct Build {
    pub(crate) cpus: usize,
    pub(crate) ram: u64,
    /// RAM of a second node, which has no CPUs.
    pub(crate) second: u64,
    pub(crate) config: MmuConfig,
    pub(crate) addresses: MapAddresses,
    pub(crate) threads: Threads,
}

/// How CPUs run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// All of them in turn, on one thread.
    One,
    /// Each on its own.
    Each,
}

pub(crate) struct World {
    pub(crate) ground: &'static Ground,
    pub(crate) map: Map,
    tags: &'static Cache<Tag, Hosted>,
    /// Frames in use when nothing is mapped.
    pub(crate) at_first: u64,
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

pub(crate) fn phys(start: u64, bytes: u64) -> PhysRange {
    PhysRange::of_length(PhysAddr::new(start), bytes).unwrap()
}

pub(crate) fn gib(at: u64, count: u64) -> VirtRange {
    VirtRange::of_length(BASE.plus(at * GIB), count * GIB).unwrap()
}

/// 1 GiB for small areas, 8 for large ones, 16 for huge ones.
pub(crate) fn addresses() -> MapAddresses {
    MapAddresses { small: gib(0, 1), large: gib(8, 8), huge: gib(16, 16) }
}

impl World {
    /// Returns a map with `ram` bytes below it, on CPU 0 of `cpus`.
    pub(crate) fn new(cpus: usize, ram: u64, config: MmuConfig) -> &'static Self {
        Self::built(Build { cpus, ram, second: 0, config, addresses: addresses(), threads: Threads::One })
    }

    /// Returns a map with `ram` bytes on each of two nodes below it.
    pub(crate) fn two_nodes(cpus: usize, ram: u64, config: MmuConfig, threads: Threads) -> &'static Self {
        Self::built(Build { cpus, ram, second: ram, config, addresses: addresses(), threads })
    }

    pub(crate) fn with_addresses(
        cpus: usize,
        ram: u64,
        config: MmuConfig,
        addresses: MapAddresses,
    ) -> &'static Self {
        Self::built(Build { cpus, ram, second: 0, config, addresses, threads: Threads::One })
    }

    fn built(build: Build) -> &'static Self {
        let first = NodeId::FIRST;
        let machine = HostedMachine::builder().cpus(build.cpus).large_pages(LargePages::Never);
        let mut machine = machine.ram(phys(0, BOOT_TABLES)).ram_on(first, phys(RAM_AT, build.ram));
        if build.second > 0 {
            let second = NodeId::new(1).unwrap();
            machine = machine.nodes(2).ram_on(second, phys(SECOND_AT, build.second));
        }
        let machine: Hosted = leak(machine.build().unwrap());
        machine.enter(CpuId::BOOT, |_: &Cpu<'_>| leak(Self::boot(machine, build))).unwrap()
    }

    fn boot(machine: Hosted, build: Build) -> Self {
        let Build { ram, second, config, addresses, threads, .. } = build;
        // SAFETY: the first RAM is for the boot's tables alone; other tables are frames that are out for that alone.
        let mut tables = unsafe { HostedTables::new(machine) };
        let root = Root::new(Pfn::new(1), Levels::Four);
        // The map's level-3 table: one piece of 512 GiB.
        tables.write(root.table, 384, Entry::table(Pfn::new(2), Privilege::Supervisor));
        // SAFETY: the tree is in RAM of the machine, and reached by `HostedTables` alone.
        unsafe { machine.attach_mmu(root, config) }.unwrap();
        let ground = leak(Ground {
            machine,
            frames: allocator(machine, phys(RAM_AT, ram), phys(SECOND_AT, second)),
            tables,
            root,
            upper: Mutex::new(()),
            plant: Plant::default(),
            flushes: AtomicU64::new(0),
            tables_out: AtomicU64::new(0),
            largest: Mutex::new(PageSize::Size1G),
            bus: (threads == Threads::Each).then(RwLock::default),
        });
        let cpus = machine.cpu_count();
        let guard = machine.pin();
        let slabs = leak(Slabs::new(&ground.frames, guard.pinned(), Config::new(cpus)).unwrap());
        let spec = CacheSpec::of::<Tag>("range_tag");
        let tags = leak(Cache::new(slabs, guard.pinned(), spec).unwrap());
        let layout = MapLayout::new(cpus).unwrap();
        let memory = vec![!0u64; layout.storage_bytes() / 8].leak();
        // SAFETY: nothing else uses these addresses.
        let map =
            unsafe { KernelMap::new(Here(ground), layout, addresses, tags, guard.pinned(), memory) }.unwrap();
        let totals = ground.frames.totals();
        Self { ground, map, tags, at_first: totals.present - totals.free }
    }

    /// Makes another map, of the last 3 GiB of the addresses.
    pub(crate) fn another(
        &self,
        layout: MapLayout,
        pinned: Pinned<'_>,
        memory: &'static mut [u64],
    ) -> Result<Map, MapLayoutError> {
        let addresses = MapAddresses { small: gib(509, 1), large: gib(510, 1), huge: gib(511, 1) };
        // SAFETY: nothing is mapped at these addresses while a map made here lives.
        unsafe { KernelMap::new(Here(self.ground), layout, addresses, self.tags, pinned, memory) }
    }

    pub(crate) fn mmu(&self) -> &SoftMmu {
        self.ground.machine.mmu().unwrap()
    }

    pub(crate) fn frames_in_use(&self) -> u64 {
        let guard = self.ground.machine.pin();
        self.ground.frames.drain(guard.pinned());
        let totals = self.ground.frames.totals();
        totals.present - totals.free
    }

    /// Returns the frame that the tables have for an address.
    pub(crate) fn walked(&self, address: VirtAddr) -> Option<PhysAddr> {
        walk(&self.ground.tables, self.ground.root, address).phys()
    }

    /// Returns the last entry on the way to an address: its table, its index, and the entry.
    pub(crate) fn entry_at(&self, address: VirtAddr) -> (Pfn, usize, Entry) {
        let step = descend(&self.ground.tables, self.ground.root, address, 1).unwrap();
        (step.table, step.index, step.entry)
    }

    pub(crate) fn size_at(&self, address: VirtAddr) -> Option<PageSize> {
        walk(&self.ground.tables, self.ground.root, address).leaf().map(|leaf| leaf.size)
    }

    /// Has a CPU read a word, as one instruction.
    pub(crate) fn load(&self, cpu: usize, address: VirtAddr) -> Result<u64, Fault> {
        let _instruction = self.ground.bus.as_ref().map(|bus| bus.read().unwrap());
        let phys = self.mmu().access(CpuId::new(cpu).unwrap(), address, Use::Read)?;
        Ok(self.word_at(phys).load(Relaxed))
    }

    /// Has a CPU add to a word, as one instruction. Returns the word before.
    pub(crate) fn add(&self, cpu: usize, address: VirtAddr, more: u64) -> Result<u64, Fault> {
        let _instruction = self.ground.bus.as_ref().map(|bus| bus.read().unwrap());
        let phys = self.mmu().access(CpuId::new(cpu).unwrap(), address, Use::Write)?;
        Ok(self.word_at(phys).fetch_add(more, Relaxed))
    }

    /// Has a CPU add to a word, and plays the handler of its page fault.
    #[track_caller]
    pub(crate) fn add_whatever(&self, pinned: Pinned<'_>, cpu: usize, address: VirtAddr, more: u64) -> u64 {
        for _ in 0..1000 {
            match self.add(cpu, address, more) {
                Ok(before) => return before,
                Err(fault) => {
                    assert_eq!(fault, Fault::Protection);
                    assert!(self.map.resolve_write(pinned, address), "{address} stays read-only");
                }
            }
        }
        panic!("{address} is read-only time and again");
    }

    fn word_at(&self, phys: PhysAddr) -> &AtomicU64 {
        // SAFETY: the frame is that of an area, whose words the tests reach by these functions alone, but for the copy
        // by the map, which no write meets.
        unsafe { &*self.ground.machine.direct(phys).as_ptr::<AtomicU64>() }
    }

    /// Returns how many pages of an area are on each node.
    pub(crate) fn on_nodes(&self, area: &Area) -> [u64; 2] {
        let mut nodes = [0; 2];
        for page in 0..area.pages() {
            let phys = self.walked(area.start().plus(page * 4096)).unwrap();
            nodes[self.ground.frames.node_at(phys.pfn()).unwrap().index()] += 1;
        }
        nodes
    }

    /// Has a CPU use an address, and checks what it finds against the tables.
    #[track_caller]
    pub(crate) fn touch(&self, cpu: usize, address: VirtAddr, access: Use) {
        let seen = self.mmu().access(CpuId::new(cpu).unwrap(), address, access).ok();
        assert_eq!(seen, self.walked(address), "CPU {cpu} at {address}");
    }

    /// Checks that all of an area is mapped for a CPU, and nothing beside it.
    #[track_caller]
    pub(crate) fn check_area(&self, cpu: usize, area: &Area) {
        let cpu = CpuId::new(cpu).unwrap();
        let range = area.range();
        for page in 0..area.pages() {
            self.touch(cpu.index(), range.start().plus(page * 4096), Use::Read);
        }
        for beside in [VirtAddr::new(range.start().get() - 1), range.end()] {
            assert_eq!(self.mmu().access(cpu, beside, Use::Read).ok(), None, "{beside} beside {range}");
        }
    }

    /// Flushes, and checks that no area is left, and that all memory but that of tables came back.
    #[track_caller]
    pub(crate) fn assert_empty(&self, pinned: Pinned<'_>) {
        self.map.reclaim(pinned);
        self.map.validate(pinned).unwrap();
        assert_eq!(self.map.waiting(), (0, 0));
        let mut areas = 0;
        self.map
            .for_each_area(|_| {
                areas += 1;
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(areas, 0);
        let (tables, records) = (self.ground.tables_out.load(Relaxed), 32);
        let in_use = self.frames_in_use();
        assert!(in_use <= self.at_first + tables + records, "{in_use} frames, {} at first", self.at_first);
        assert_eq!(self.mmu().take_reports(), [], "stale translations");
    }
}

fn allocator(machine: Hosted, first: PhysRange, second: PhysRange) -> Frames<Hosted> {
    let ranges = [first.whole_frames(), second.whole_frames()];
    let ranges = if second.is_empty() { &ranges[..1] } else { &ranges[..] };
    let nodes = [NodeId::FIRST, NodeId::new(1).unwrap()];
    let memory: Vec<_> =
        ranges.iter().zip(nodes).map(|(&frames, node)| MemoryRange { frames, node }).collect();
    let end = ranges.last().unwrap().end();
    let layout = Layout::new(&memory, machine.cpu_count(), end).unwrap().nodes(ranges.len());
    let storage = Box::leak(vec![0u64; layout.storage_bytes().div_ceil(8)].into_boxed_slice());
    let descriptors = vec![0u64; end.get() as usize * size_of::<Descriptor>() / 8].leak();
    // SAFETY: no other code uses the RAM; storage and descriptors are outside it, zero, and permanent.
    let frames = unsafe {
        let frames = Frames::new(machine, &layout, ranges.iter().copied(), storage).unwrap();
        frames.with_descriptors(VirtAddr::new(descriptors.as_ptr() as u64))
    };
    for report in frames.zones().collect::<Vec<_>>() {
        frames.set_reserve(report.node, report.zone, 0);
        frames.set_guard(report.node, report.zone, 0);
    }
    frames
}

/// Runs `body` as CPU 0 of a fresh world, its TLBs full of speculation.
pub(crate) fn in_world<A: Send>(
    cpus: usize,
    ram: u64,
    body: impl FnOnce(&'static World, Pinned<'_>) -> A + Send,
) -> A {
    let world = World::new(cpus, ram, MmuConfig::new(1));
    as_cpu_0(world, |pinned| body(world, pinned))
}

pub(crate) fn as_cpu_0<A: Send>(world: &World, body: impl FnOnce(Pinned<'_>) -> A + Send) -> A {
    let run = |_: &Cpu<'_>| {
        let guard = world.ground.machine.pin();
        body(guard.pinned())
    };
    world.ground.machine.enter(CpuId::BOOT, run).unwrap()
}

/// A generator that repeats (xorshift).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// 0..end, 0 where that is empty.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 8) % end.max(1)
    }
}
