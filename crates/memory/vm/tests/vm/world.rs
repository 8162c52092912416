//! A hosted machine with RAM and an allocator, and address spaces of tasks and of the kernel, each with a software MMU.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, RwLock};

use rhumb_frames::{AllocError, Descriptor, Frame, Frames, Layout, MemoryRange, Request};
use rhumb_hosted::mmu::{Fault, HostedTables, MmuConfig, Use as MmuUse};
use rhumb_hosted::{Cpu, HostedMachine, HostedSpace, LargePages};
use rhumb_machine::{CpuId, Machine, NodeId, Order, Pfn, PhysAddr, PhysRange, Pinned, VirtAddr, VirtRange};
use rhumb_pagetable::flush::{Flushed, Unflushed};
use rhumb_pagetable::{
    Access, Attributes, ENTRIES, Entry, Levels, Privilege, Root, TableEntry, TableMemory, walk,
};
use rhumb_vm::{FaultError, Gone, Limits, Map, Space, TablesKey, UpperTables, Use};

pub(crate) type Hosted = &'static HostedMachine;
pub(crate) type TestMap = Map<TestSpace>;

pub(crate) const PAGE: u64 = 4096;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;
pub(crate) const TIB: u64 = 1 << 40;

/// The machine, its allocator, and a failure that a test plants.
pub(crate) struct Ground {
    pub(crate) machine: Hosted,
    pub(crate) frames: Frames<Hosted>,
    /// Allocations of maps that succeed before one fails; 0: none fails.
    pub(crate) fails_after: AtomicU64,
    /// Whether all others fail after that one.
    pub(crate) fails_on: AtomicU64,
    pub(crate) flushes: AtomicU64,
    /// Runs in the next allocation of a map: between the two looks of a fault, for one.
    pub(crate) at_alloc: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    /// Runs before the next flush of a map.
    pub(crate) at_flush: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

/// Whose map it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Task,
    Kernel,
}

pub(crate) const KINDS: [Kind; 2] = [Kind::Task, Kind::Kernel];

/// An address space.
pub(crate) struct Tree {
    pub(crate) ground: &'static Ground,
    pub(crate) kind: Kind,
    root: Root,
    pub(crate) tlb: HostedSpace<'static>,
    /// Held by a CPU from its translation to its load or store, and by a flush exclusively: a flush waits for the
    /// instructions that are under way.
    instructions: RwLock<()>,
}

/// The tables of a space. Those of the kernel's are in place, too.
pub(crate) struct TestTables {
    tables: HostedTables,
    machine: Hosted,
    kind: Kind,
}

impl TableMemory for TestTables {
    fn read(&self, table: Pfn, index: usize) -> Entry {
        self.tables.read(table, index)
    }
    fn write(&mut self, table: Pfn, index: usize, entry: Entry) {
        self.tables.write(table, index, entry);
    }
    fn in_place(&self, table: Pfn) -> Option<&[TableEntry; ENTRIES]> {
        let place = self.machine.direct(table.addr());
        // SAFETY: a table of the map, in RAM of the machine, which is permanent; reached by atomics alone.
        (self.kind == Kind::Kernel).then(|| unsafe { TableEntry::all_at(place) })
    }
}

/// A space that several can look at.
#[derive(Clone)]
pub(crate) struct TestSpace(pub(crate) Arc<Tree>);

impl Kind {
    pub(crate) fn range(self) -> VirtRange {
        match self {
            Self::Task => VirtRange::of_length(VirtAddr::new(GIB), 128 * TIB - 2 * GIB).unwrap(),
            Self::Kernel => VirtRange::of_length(VirtAddr::new(0xffff_c000_0000_0000), 1024 * GIB).unwrap(),
        }
    }

    /// Returns where two lanes meet, and with them two tables of each level that the map makes.
    pub(crate) fn seam(self) -> VirtAddr {
        match self {
            Self::Task => VirtAddr::new(8 * TIB),
            Self::Kernel => self.range().start().plus(512 * GIB),
        }
    }
}

impl Ground {
    /// Makes a machine with `ram` bytes.
    pub(crate) fn new(cpus: usize, ram: u64) -> &'static Self {
        let range = PhysRange::of_length(PhysAddr::new(4 * GIB), ram).unwrap();
        Self::with_part(hosted(cpus, range), range)
    }

    /// Makes a machine with two allocators, which have `ram` bytes each.
    pub(crate) fn two(cpus: usize, ram: u64) -> [&'static Self; 2] {
        let part = |first, bytes| PhysRange::of_length(PhysAddr::new(4 * GIB + first), bytes).unwrap();
        let machine = hosted(cpus, part(0, 2 * ram));
        [0, ram].map(|first| Self::with_part(machine, part(first, ram)))
    }

    fn with_part(machine: Hosted, ram: PhysRange) -> &'static Self {
        Box::leak(Box::new(Self {
            machine,
            frames: allocator(machine, ram),
            fails_after: AtomicU64::new(0),
            fails_on: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            at_alloc: Mutex::new(None),
            at_flush: Mutex::new(None),
        }))
    }

    pub(crate) fn as_cpu<A: Send>(&self, cpu: usize, body: impl FnOnce(Pinned<'_>) -> A + Send) -> A {
        let run = |_: &Cpu<'_>| {
            let guard = self.machine.pin();
            body(guard.pinned())
        };
        self.machine.enter(CpuId::new(cpu).unwrap(), run).unwrap()
    }

    pub(crate) fn space(&'static self, kind: Kind) -> TestSpace {
        let table = || {
            let guard = self.machine.pin();
            self.frames.alloc(guard.pinned(), Request::FRAME.zeroed()).unwrap().into_pfn()
        };
        let root = Root::new(table(), Levels::Four);
        // SAFETY: the tables are frames of the machine's RAM that are out for that alone.
        let mut tables = unsafe { HostedTables::new(self.machine) };
        if kind == Kind::Kernel {
            for index in 384..386 {
                tables.write(root.table, index, Entry::table(table(), Privilege::Supervisor));
            }
        }
        // SAFETY: the tree is in RAM of the machine, and reached by `HostedTables` alone.
        let tlb = unsafe { self.machine.space(root, MmuConfig::new(7)) };
        TestSpace(Arc::new(Tree { ground: self, kind, root, tlb, instructions: RwLock::new(()) }))
    }

    pub(crate) fn map(&'static self, kind: Kind) -> TestMap {
        Map::new(self.space(kind), Limits::default()).unwrap()
    }

    /// Returns how many frames are in use.
    pub(crate) fn in_use(&self) -> u64 {
        let guard = self.machine.pin();
        self.frames.drain(guard.pinned());
        let totals = self.frames.totals();
        totals.present - totals.free
    }

    /// Has the allocation after `count - 1` more fail, and all later ones if `on`.
    pub(crate) fn fail_after(&self, count: u64, on: bool) {
        self.fails_on.store(on.into(), Relaxed);
        self.fails_after.store(count, Relaxed);
    }

    /// Ends the failure, and tells whether an allocation has failed.
    pub(crate) fn end_failure(&self) -> bool {
        let left = self.fails_after.swap(0, Relaxed);
        self.fails_on.store(0, Relaxed);
        left == 0 || left == u64::MAX
    }

    fn may_go_on(&self) -> bool {
        match self.fails_after.load(Relaxed) {
            0 => true,
            u64::MAX => false,
            1 => {
                let then = if self.fails_on.load(Relaxed) == 1 { u64::MAX } else { 0 };
                self.fails_after.store(then, Relaxed);
                false
            }
            left => {
                self.fails_after.store(left - 1, Relaxed);
                true
            }
        }
    }
}

impl Tree {
    pub(crate) fn root(&self) -> Root {
        self.root
    }

    pub(crate) fn tables(&self) -> HostedTables {
        // SAFETY: the machine is permanent, and each table that a map names is one.
        unsafe { HostedTables::new(self.ground.machine) }
    }

    /// Has a CPU use an address as an instruction does: through its TLB, with a fault where the page does not allow it.
    /// Calls `act` with the byte's place.
    fn use_page<A>(
        &self,
        map: &TestMap,
        cpu: usize,
        (at, wanted): (VirtAddr, Use),
        act: impl Fn(PhysAddr) -> A,
    ) -> Result<A, FaultError> {
        let cpu = CpuId::new(cpu).unwrap();
        for _ in 0..1000 {
            let instruction = self.instructions.read().unwrap();
            if let Some(phys) = self.access(cpu, at, wanted) {
                return Ok(act(phys));
            }
            drop(instruction);
            map.fault(at, wanted)?;
        }
        panic!("the page at {at} does not stay");
    }

    /// Has a CPU use a page, and returns the byte's place.
    pub(crate) fn touch(
        &self,
        map: &TestMap,
        cpu: usize,
        at: VirtAddr,
        wanted: Use,
    ) -> Result<PhysAddr, FaultError> {
        self.use_page(map, cpu, (at, wanted), |phys| phys)
    }

    fn access(&self, cpu: CpuId, at: VirtAddr, wanted: Use) -> Option<PhysAddr> {
        let wanted_of_mmu = match wanted {
            Use::Read => MmuUse::Read,
            Use::Write => MmuUse::Write,
            // The unit's CPU is in ring 0, which executes no page of a user's.
            Use::Execute if self.kind == Kind::Task => {
                let leaf = walk(&self.tables(), self.root, at).leaf()?;
                return leaf.permissions.executable.then(|| leaf.phys.plus(at.since(leaf.virt)));
            }
            Use::Execute => MmuUse::Execute,
        };
        match self.tlb.mmu().access(cpu, at, wanted_of_mmu) {
            Ok(phys) => Some(phys),
            Err(Fault::NotPresent | Fault::Protection) => None,
            Err(fault) => panic!("{fault:?} at {at}"),
        }
    }

    /// Reads the word at an address.
    pub(crate) fn read(&self, map: &TestMap, cpu: usize, at: VirtAddr) -> Result<u64, FaultError> {
        self.use_page(map, cpu, (at, Use::Read), |phys| self.word(phys).load(Relaxed))
    }

    /// Writes the word at an address.
    pub(crate) fn write(
        &self,
        map: &TestMap,
        cpu: usize,
        at: VirtAddr,
        value: u64,
    ) -> Result<(), FaultError> {
        self.use_page(map, cpu, (at, Use::Write), |phys| self.word(phys).store(value, Relaxed))
    }

    /// Returns the word of RAM at an address.
    pub(crate) fn word(&self, phys: PhysAddr) -> &AtomicU64 {
        // SAFETY: RAM of the machine, which is permanent, reached by atomics while the map has the frame.
        unsafe { &*self.ground.machine.direct(phys).as_ptr::<AtomicU64>() }
    }

    /// Checks that no CPU had a translation that should have been gone.
    #[track_caller]
    pub(crate) fn assert_no_stale(&self) {
        assert_eq!(self.tlb.mmu().take_reports(), [], "stale translations");
    }
}

impl Drop for Tree {
    /// Frees the tables that the map did not make.
    fn drop(&mut self) {
        let tables = self.tables();
        let guard = self.ground.machine.pin();
        let mut frames = vec![self.root.table];
        for index in 0..512 {
            let entry = tables.read(self.root.table, index);
            if let Some(table) = entry.child(4) {
                assert_eq!(self.kind, Kind::Kernel, "a task's map is gone, and has left a table");
                assert!((0..512).all(|index| tables.read(table, index) == Entry::EMPTY));
                frames.push(table);
            }
        }
        for table in frames {
            // SAFETY: taken in `space`, and used no more.
            let frame = unsafe { self.ground.frames.from_pfn(table, Order::BASE) }.unwrap();
            self.ground.frames.free(guard.pinned(), frame);
        }
    }
}

// SAFETY: one allocator and one tree, in which the map alone has these addresses, because the tests make one map of each;
// the flushes are whole.
unsafe impl Space for TestSpace {
    type Machine = Hosted;
    type Tables = TestTables;

    fn frames(&self) -> &'static Frames<Hosted> {
        &self.0.ground.frames
    }
    fn root(&self) -> Root {
        self.0.root
    }
    fn range(&self) -> VirtRange {
        self.0.kind.range()
    }
    fn upper_tables(&self) -> UpperTables {
        match self.0.kind {
            Kind::Task => UpperTables::OfMap,
            Kind::Kernel => UpperTables::OfSpace,
        }
    }
    fn tables(&self, _: TablesKey) -> TestTables {
        TestTables { tables: self.0.tables(), machine: self.0.ground.machine, kind: self.0.kind }
    }
    fn attributes(&self, access: Access) -> Attributes {
        match self.0.kind {
            Kind::Task => Attributes::user(access),
            Kind::Kernel => Attributes::kernel(access),
        }
    }
    fn guard_pages(&self) -> u64 {
        match self.0.kind {
            Kind::Task => 0,
            Kind::Kernel => 1,
        }
    }
    fn alloc(&self, pinned: Pinned<'_>, request: Request) -> Result<Frame, AllocError> {
        let act = self.0.ground.at_alloc.lock().unwrap().take();
        if let Some(act) = act {
            act();
        }
        if !self.0.ground.may_go_on() {
            return Err(AllocError::Busy);
        }
        self.0.ground.frames.alloc(pinned, request)
    }
    fn flush(&self, pinned: Pinned<'_>, unflushed: &mut Unflushed<Gone>) -> Flushed<Gone> {
        self.0.ground.flushes.fetch_add(1, Relaxed);
        let act = self.0.ground.at_flush.lock().unwrap().take();
        if let Some(act) = act {
            act();
        }
        let _all = self.0.instructions.write().unwrap();
        unflushed.flush(&self.0.tlb, pinned)
    }
    fn relax(&self) {
        std::thread::yield_now();
    }
}

/// Runs `body` as CPU 0 of a machine of 4 CPUs with 64 MiB, and checks that all frames came back.
pub(crate) fn on_ground<A: Send>(body: impl FnOnce(&'static Ground) -> A + Send) -> A {
    let ground = Ground::new(4, 64 * MIB);
    let result = ground.as_cpu(0, |_| {
        let before = ground.in_use();
        let result = body(ground);
        assert_eq!(ground.in_use(), before, "frames did not come back");
        result
    });
    assert_eq!(ground.frames.refused_frees(), 0, "a frame was freed twice");
    result
}

fn hosted(cpus: usize, ram: PhysRange) -> Hosted {
    let machine = HostedMachine::builder().cpus(cpus).large_pages(LargePages::Never).ram(ram);
    Box::leak(Box::new(machine.build().unwrap()))
}

fn allocator(machine: Hosted, ram: PhysRange) -> Frames<Hosted> {
    let ram = ram.whole_frames();
    let memory = [MemoryRange { frames: ram, node: NodeId::FIRST }];
    let layout = Layout::new(&memory, machine.cpu_count(), Pfn::new(1 << 34)).unwrap();
    let storage = vec![0u64; layout.storage_bytes().div_ceil(8)].leak();
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

pub(crate) fn range(start: VirtAddr, pages: u64) -> VirtRange {
    VirtRange::of_length(start, pages * PAGE).unwrap()
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
