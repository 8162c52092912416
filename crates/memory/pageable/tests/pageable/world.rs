//! A hosted machine with RAM, an allocator, a kernel map that a software MMU translates, and pageable memory in it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rhumb_frames::{
    AllocError, Anywhere, Descriptor, Frame, FrameFault, Frames, Layout, MemoryRange, Owner, Reclaimer,
    Request, Shortage,
};
use rhumb_hosted::mmu::{HostedTables, MmuConfig, SoftMmu, Use};
use rhumb_hosted::{Cpu, HostedMachine, LargePages};
use rhumb_kernelmap::map::FlushNumber;
use rhumb_kernelmap::{Home, KernelMap, MapAddresses, MapLayout, Tag};
use rhumb_machine::{
    CpuId, Machine, NodeId, Order, PageSize, Pfn, PhysAddr, PhysRange, Pinned, VirtAddr, VirtRange,
    impossible,
};
use rhumb_pageable::{CompressedStore, Kept, Lost, PageBytes, PageHome, Pageable, PageableArea, Slot, Store};
use rhumb_pagetable::flush::{Flushed, Unflushed};
use rhumb_pagetable::{Entry, Levels, OutOfTables, Privilege, Root, TableMemory, walk};
use rhumb_slab::{Cache, CacheSpec, Config, Slabs};

pub(crate) type Hosted = &'static HostedMachine;
pub(crate) type All = Pageable<Here, TestStore>;
pub(crate) type TestArea = PageableArea<'static, Here, TestStore>;

const GIB: u64 = 1 << 30;
pub(crate) const MIB: u64 = 1 << 20;
/// Where the allocator's RAM begins.
pub(crate) const RAM_AT: u64 = 4 * GIB;
/// The owner of the frames of pageable memory.
pub(crate) const OF_FRAMES: Owner = Owner(7);
/// The root and the tables that boot makes.
const BOOT_TABLES: u64 = 64 << 10;
const BASE: VirtAddr = VirtAddr::new(0xffff_c000_0000_0000);

/// The faults that a test plants.
#[derive(Debug, Default)]
pub(crate) struct Plant {
    /// Allocations of frames and tables that succeed before one fails; 0: none fails.
    pub(crate) fails_after: AtomicU64,
    /// How many more fail after that one, in a row.
    pub(crate) fails_more: AtomicU64,
    /// No caller may wait.
    pub(crate) is_forbidden: AtomicBool,
    /// The store refuses.
    pub(crate) is_full: AtomicBool,
    /// The store does not give back.
    pub(crate) is_lost: AtomicBool,
}

pub(crate) struct Ground {
    pub(crate) machine: Hosted,
    pub(crate) frames: Frames<Hosted>,
    tables: HostedTables,
    root: Root,
    upper: Mutex<()>,
    pub(crate) plant: Plant,
    pub(crate) flushes: AtomicU64,
    pub(crate) tables_out: AtomicU64,
    /// Pages whose contents were to be kept while a CPU had a translation.
    pub(crate) stale_puts: AtomicU64,
}

#[derive(Clone, Copy)]
pub(crate) struct Here(pub(crate) &'static Ground);

impl Here {
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
// is what the allocator has; the flushes are whole.
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
        PageSize::Size1G
    }
    fn tables(&self) -> HostedTables {
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
        self.0.tables_out.fetch_sub(1, Relaxed);
        // SAFETY: the frame came from `take_table`.
        match unsafe { self.0.frames.from_pfn(table, Order::BASE) } {
            Ok(frame) => self.0.frames.free(pinned, frame),
            Err(fault) => impossible!("a table is a frame: {fault}"),
        }
    }
    fn is_ram(&self, range: PhysRange) -> bool {
        self.0.machine.ram().iter().any(|ram| ram.range.overlaps(range))
    }
    fn alloc(&self, pinned: Pinned<'_>, request: Request) -> Result<Frame<Anywhere>, AllocError> {
        if !self.may_go_on() {
            return Err(AllocError::Busy);
        }
        let mut frame = self.0.frames.alloc_anywhere(pinned, request.stale())?;
        if request.wanted_contents() == rhumb_frames::Contents::Zeroed {
            self.with_bytes(&mut frame, |bytes| bytes.fill(0));
        }
        Ok(frame)
    }
    unsafe fn frame_of(&self, pfn: Pfn, order: Order) -> Result<Frame<Anywhere>, FrameFault> {
        // SAFETY: passed on.
        unsafe { self.0.frames.from_pfn_anywhere(pfn, order) }
    }
    fn flush(&self, pinned: Pinned<'_>, unflushed: &mut Unflushed<FlushNumber>) -> Flushed<FlushNumber> {
        self.0.flushes.fetch_add(1, Relaxed);
        unflushed.flush(&self.0.machine, pinned)
    }
}

// SAFETY: the process reaches all RAM of the machine where the direct map has it, past the allocator's limit, too.
unsafe impl PageHome for Here {
    fn may_fault(&self) -> bool {
        !self.0.plant.is_forbidden.load(Relaxed)
    }
    fn place(&self, _: VirtAddr, pfn: Pfn) -> *mut u8 {
        self.0.machine.direct(pfn.addr()).as_mut_ptr()
    }
    fn with_bytes<A>(&self, frame: &mut Frame<Anywhere>, act: impl FnOnce(&mut PageBytes) -> A) -> Option<A> {
        let place = self.0.machine.direct(frame.addr()).as_mut_ptr::<PageBytes>();
        // SAFETY: the frame is borrowed exclusively, and the process reaches it there.
        Some(act(unsafe { &mut *place }))
    }
}

/// The stores that tests use.
pub(crate) enum Kind {
    Compressed(CompressedStore<Here>),
    /// Takes all that comes.
    Plain(Mutex<(u64, HashMap<u64, Box<PageBytes>>)>),
}

/// A store that looks for stale translations, and that fails where a test wants it.
pub(crate) struct TestStore {
    here: Here,
    pub(crate) kind: Kind,
}

impl Store for TestStore {
    type Scratch = Option<rhumb_pageable::compressed::Scratch>;

    fn scratch(&self) -> Self::Scratch {
        match &self.kind {
            Kind::Compressed(store) => Some(store.scratch()),
            Kind::Plain(_) => None,
        }
    }

    fn put(
        &self,
        pinned: Pinned<'_>,
        scratch: &mut Self::Scratch,
        mut frame: Frame<Anywhere>,
    ) -> Result<Kept, Frame<Anywhere>> {
        let ground = self.here.0;
        if ground.machine.mmu().unwrap().reused(frame.frames()).is_err() {
            ground.stale_puts.fetch_add(1, Relaxed);
        }
        if ground.plant.is_full.load(Relaxed) {
            return Err(frame);
        }
        match (&self.kind, scratch) {
            (Kind::Compressed(store), Some(scratch)) => store.put(pinned, scratch, frame),
            (Kind::Plain(pages), _) => {
                let contents = self.here.with_bytes(&mut frame, |bytes| Box::new(*bytes)).unwrap();
                let (next, pages) = &mut *pages.lock().unwrap();
                *next += 1;
                // All bits of a slot come back.
                let slot = Slot::new(next.wrapping_mul(0x9e37_79b9_7f4a_7c15) & Slot::MOST).unwrap();
                assert!(pages.insert(slot.bits(), contents).is_none());
                Ok(Kept { slot, frame: Some(frame) })
            }
            _ => unreachable!(),
        }
    }

    unsafe fn get(&self, pinned: Pinned<'_>, slot: Slot, frame: &mut Frame<Anywhere>) -> Result<(), Lost> {
        if self.here.0.plant.is_lost.load(Relaxed) {
            return Err(Lost);
        }
        match &self.kind {
            // SAFETY: passed on.
            Kind::Compressed(store) => unsafe { store.get(pinned, slot, frame) },
            Kind::Plain(pages) => {
                let pages = &pages.lock().unwrap().1;
                let contents = pages.get(&slot.bits()).expect("a slot in use");
                self.here.with_bytes(frame, |bytes| *bytes = **contents).ok_or(Lost)
            }
        }
    }

    unsafe fn forget(&self, pinned: Pinned<'_>, slot: Slot) {
        match &self.kind {
            // SAFETY: passed on.
            Kind::Compressed(store) => unsafe { store.forget(pinned, slot) },
            Kind::Plain(pages) => {
                pages.lock().unwrap().1.remove(&slot.bits()).expect("a slot in use");
            }
        }
    }
}

impl TestStore {
    /// Returns how many pages it has.
    pub(crate) fn pages(&self) -> u64 {
        match &self.kind {
            Kind::Compressed(store) => store.report().pages,
            Kind::Plain(pages) => pages.lock().unwrap().1.len() as u64,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    Compressed,
    Plain,
}

pub(crate) struct World {
    pub(crate) ground: &'static Ground,
    pub(crate) map: &'static KernelMap<Here>,
    pub(crate) all: &'static All,
    /// Frames in use when nothing is mapped.
    at_first: u64,
}

/// Pages out for any request that finds no frame.
struct PagesOut(&'static All);

impl Reclaimer for PagesOut {
    fn name(&self) -> &str {
        "pageable memory"
    }
    fn reclaim(&self, pinned: Pinned<'_>, shortage: &Shortage) -> u64 {
        self.0.evict(pinned, 32, shortage.ceiling)
    }
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn phys(start: u64, bytes: u64) -> PhysRange {
    PhysRange::of_length(PhysAddr::new(start), bytes).unwrap()
}

fn gib(at: u64, count: u64) -> VirtRange {
    VirtRange::of_length(BASE.plus(at * GIB), count * GIB).unwrap()
}

impl World {
    /// Makes one with `ram` bytes, of which those past the first `direct` are past the direct map.
    fn new(cpus: usize, ram: u64, direct: u64, which: Which) -> &'static Self {
        let machine = HostedMachine::builder().cpus(cpus).large_pages(LargePages::Never);
        let machine = machine.ram(phys(0, BOOT_TABLES)).ram(phys(RAM_AT, ram)).build().unwrap();
        let machine: Hosted = leak(machine);
        let boot = |_: &Cpu<'_>| Self::boot(machine, ram, direct, which);
        machine.enter(CpuId::BOOT, |cpu| leak(boot(cpu))).unwrap()
    }

    fn boot(machine: Hosted, ram: u64, direct: u64, which: Which) -> Self {
        // SAFETY: the first RAM is for the boot's tables alone; other tables are frames that are out for that alone.
        let mut tables = unsafe { HostedTables::new(machine) };
        let root = Root::new(Pfn::new(1), Levels::Four);
        // The map's level-3 table: one piece of 512 GiB.
        tables.write(root.table, 384, Entry::table(Pfn::new(2), Privilege::Supervisor));
        // SAFETY: the tree is in RAM of the machine, and reached by `HostedTables` alone.
        unsafe { machine.attach_mmu(root, MmuConfig::new(1)) }.unwrap();
        let ground = leak(Ground {
            machine,
            frames: allocator(machine, phys(RAM_AT, ram), RAM_AT + direct),
            tables,
            root,
            upper: Mutex::new(()),
            plant: Plant::default(),
            flushes: AtomicU64::new(0),
            tables_out: AtomicU64::new(0),
            stale_puts: AtomicU64::new(0),
        });
        let cpus = machine.cpu_count();
        let guard = machine.pin();
        let pinned = guard.pinned();
        let slabs = leak(Slabs::new(&ground.frames, pinned, Config::new(cpus)).unwrap());
        let tags = leak(Cache::new(slabs, pinned, CacheSpec::of::<Tag>("range_tag")).unwrap());
        let layout = MapLayout::new(cpus).unwrap();
        let memory = vec![!0u64; layout.storage_bytes() / 8].leak();
        let addresses = MapAddresses { small: gib(0, 8), large: gib(8, 8), huge: gib(16, 16) };
        let here = Here(ground);
        // SAFETY: nothing else uses these addresses.
        let map = leak(unsafe { KernelMap::new(here, layout, addresses, tags, pinned, memory) }.unwrap());
        let kind = match which {
            Which::Compressed => Kind::Compressed(CompressedStore::new(here)),
            Which::Plain => Kind::Plain(Mutex::default()),
        };
        // SAFETY: the home is the map's, and this is the only value.
        let all = leak(unsafe { Pageable::new(here, map, TestStore { here, kind }, OF_FRAMES) });
        ground.frames.register_reclaimer(leak(PagesOut(all))).unwrap();
        let totals = ground.frames.totals();
        Self { ground, map, all, at_first: totals.present - totals.free }
    }

    pub(crate) fn mmu(&self) -> &SoftMmu {
        self.ground.machine.mmu().unwrap()
    }

    pub(crate) fn area(&self, pages: u64) -> TestArea {
        self.all.alloc(self.all.may_fault().unwrap(), pages, Owner(3)).unwrap()
    }

    #[track_caller]
    pub(crate) fn read(&self, area: &TestArea, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0xee; length];
        area.read(self.all.may_fault().unwrap(), offset, &mut bytes).unwrap();
        bytes
    }

    #[track_caller]
    pub(crate) fn write(&self, area: &mut TestArea, offset: u64, bytes: &[u8]) {
        area.write(self.all.may_fault().unwrap(), offset, bytes).unwrap();
    }

    #[track_caller]
    pub(crate) fn free(&self, area: TestArea) {
        assert!(area.free(self.all.may_fault().unwrap()).is_ok());
    }

    /// Has a CPU touch an address as an instruction does: through its TLB, with a fault where the page is not there.
    /// Returns the byte that it finds.
    #[track_caller]
    pub(crate) fn touch(&self, cpu: usize, address: VirtAddr) -> u8 {
        let cpu = CpuId::new(cpu).unwrap();
        for _ in 0..3 {
            if let Ok(at) = self.mmu().access(cpu, address, Use::Write) {
                let walked = walk(&self.ground.tables, self.ground.root, address).phys();
                assert_eq!(Some(at), walked, "CPU {cpu} at {address}");
                // SAFETY: the unit says that the byte is there.
                return unsafe { *self.ground.machine.direct(at).as_ptr::<u8>() };
            }
            assert!(self.all.contains(address));
            self.all.resolve(self.all.may_fault().unwrap(), address).unwrap();
        }
        panic!("the page at {address} does not stay");
    }

    pub(crate) fn frames_in_use(&self) -> u64 {
        let guard = self.ground.machine.pin();
        self.ground.frames.drain(guard.pinned());
        let totals = self.ground.frames.totals();
        totals.present - totals.free
    }

    /// Checks that no area is left, and that all memory but that of tables came back.
    #[track_caller]
    pub(crate) fn assert_empty(&self, pinned: Pinned<'_>) {
        self.map.reclaim(pinned);
        self.map.validate(pinned).unwrap();
        assert_eq!(self.map.waiting(), (0, 0));
        let report = self.all.report();
        assert_eq!((report.resident, report.out, self.all.store().pages()), (0, 0, 0));
        if let Kind::Compressed(store) = &self.all.store().kind {
            let report = store.report();
            assert_eq!((report.frames, report.bytes, report.same_pages), (0, 0, 0));
        }
        let (tables, records) = (self.ground.tables_out.load(Relaxed), 32);
        let in_use = self.frames_in_use();
        assert!(in_use <= self.at_first + tables + records, "{in_use} frames, {} at first", self.at_first);
        assert_eq!(self.mmu().take_reports(), [], "stale translations");
        assert_eq!(self.ground.stale_puts.load(Relaxed), 0, "pages were kept before they were flushed");
    }
}

fn allocator(machine: Hosted, ram: PhysRange, direct_limit: u64) -> Frames<Hosted> {
    let ram = ram.whole_frames();
    let memory = [MemoryRange { frames: ram, node: NodeId::FIRST }];
    let limit = PhysAddr::new(direct_limit).pfn();
    let layout = Layout::new(&memory, machine.cpu_count(), limit).unwrap();
    let storage = Box::leak(vec![0u64; layout.storage_bytes().div_ceil(8)].into_boxed_slice());
    let descriptors = vec![0u64; ram.end().get() as usize * size_of::<Descriptor>() / 8].leak();
    // SAFETY: no other code uses the RAM; storage and descriptors are outside it, zero, and permanent.
    let frames = unsafe {
        let frames = Frames::new(machine, &layout, [ram], storage).unwrap();
        frames.with_descriptors(VirtAddr::new(descriptors.as_ptr() as u64))
    };
    for report in frames.zones().collect::<Vec<_>>() {
        frames.set_reserve(report.node, report.zone, 0);
        frames.set_guard(report.node, report.zone, 0);
    }
    frames
}

/// Runs `body` as CPU 0 of a fresh world of `cpus` CPUs with `ram` bytes, all in the direct map.
pub(crate) fn in_world<A: Send>(
    (cpus, ram): (usize, u64),
    which: Which,
    body: impl FnOnce(&'static World, Pinned<'_>) -> A + Send,
) -> A {
    in_high_world((cpus, ram, ram), which, body)
}

/// Runs `body` as CPU 0 of a fresh world, of whose RAM `direct` bytes are in the direct map.
pub(crate) fn in_high_world<A: Send>(
    (cpus, ram, direct): (usize, u64, u64),
    which: Which,
    body: impl FnOnce(&'static World, Pinned<'_>) -> A + Send,
) -> A {
    let world = World::new(cpus, ram, direct, which);
    as_cpu(world, 0, |pinned| body(world, pinned))
}

pub(crate) fn as_cpu<A: Send>(world: &World, cpu: usize, body: impl FnOnce(Pinned<'_>) -> A + Send) -> A {
    let run = |_: &Cpu<'_>| {
        let guard = world.ground.machine.pin();
        body(guard.pinned())
    };
    world.ground.machine.enter(CpuId::new(cpu).unwrap(), run).unwrap()
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

    /// Returns the contents of a page: of one word, compressible by more or less, or not at all.
    pub(crate) fn page(&mut self) -> PageBytes {
        let mut page = [0; 4096];
        let word = (self.next() as u32).to_ne_bytes();
        match self.below(6) {
            0 => {}
            1 => page.chunks_exact_mut(4).for_each(|place| place.copy_from_slice(&word)),
            2 => page.iter_mut().for_each(|byte| *byte = self.next() as u8),
            _ => {
                let bytes = self.below(2200) as usize;
                page.iter_mut().take(bytes).for_each(|byte| *byte = self.next() as u8);
            }
        }
        page
    }
}
