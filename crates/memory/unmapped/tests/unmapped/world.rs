//! A hosted machine with everything: RAM, an allocator, a direct map and windows that a software MMU translates, a
//! pool.

use std::sync::{Mutex, TryLockError};

use rhumb_directmap::{
    BootMap, DirectMap, Limits as MapLimits, OffLimits, OwnerId, OwnerName, Plan, PlanRequest, RecordPage,
    address_range,
};
use rhumb_frames::{Descriptor, Frame, Frames, Layout, MemoryRange, Owner, Unmapped};
use rhumb_hosted::mmu::{Fault, HostedTables, MmuConfig, SoftMmu, Use};
use rhumb_hosted::windows::HostedWindows;
use rhumb_hosted::{HostedMachine, LargePages, TableFrames};
use rhumb_machine::{
    CpuId, FirstCpus, Machine, NodeId, Order, PageSize, Pfn, PfnRange, PhysAddr, PhysRange, Pinned, VirtAddr,
    VirtRange,
};
use rhumb_pagetable::{FlushCause, FlushCounters, FlushStats, Levels, PageCounts, Root, TableSource};
use rhumb_unmapped::{Account, BlockLists, Home, Limits, PoolError, UnmappedPool};
use rhumb_windows::error::{CopyError, WindowError};
use rhumb_windows::{CpuSlots, Windows};

use crate::compaction::{Moving, Scattered, make_block};

pub(crate) type Hosted = &'static HostedMachine;
pub(crate) type Map = DirectMap<HostedTables, OffLimits<'static>>;

pub(crate) const GIB: u64 = 1 << 30;
/// Frames for tables; the allocator's RAM begins at 4 GiB.
const TABLE_BYTES: u64 = 32 << 20;
const RAM_AT: u64 = 4 * GIB;

/// The first of three owners with an account.
pub(crate) const ALICE: Owner = Owner(1);
pub(crate) const BOB: Owner = Owner(2);
pub(crate) const NOBODY: Owner = Owner(3);

pub(crate) type HostedViews = Windows<Hosted, HostedWindows>;

/// The part that a test breaks on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Plant {
    /// The flush of a block goes to no other CPU.
    pub(crate) no_remote_flush: bool,
    /// Frames are given back as they are.
    pub(crate) no_zeroing: bool,
    /// The CPU has no window to clear frames through.
    pub(crate) no_window: bool,
    /// How frames are moved.
    pub(crate) moving: Moving,
}

pub(crate) type BeforeZeroing = Box<dyn FnOnce(&'static World) + Send>;

pub(crate) struct World {
    pub(crate) machine: Hosted,
    pub(crate) frames: Frames<Hosted>,
    pub(crate) map: Mutex<Map>,
    alice: OwnerId,
    pub(crate) lists: Mutex<BlockLists>,
    pub(crate) windows: HostedViews,
    pub(crate) source: Mutex<TableFrames<'static>>,
    pub(crate) at_boot: PageCounts,
    pub(crate) ram: PfnRange,
    pub(crate) plant: Mutex<Plant>,
    /// The pool's owner in the map's journal.
    pub(crate) pool_owner: OwnerId,
    /// Done once, when the pool is about to zero a frame.
    pub(crate) before_zeroing: Mutex<Option<BeforeZeroing>>,
    /// The pool's notes of its flushes.
    pub(crate) flushes: FlushCounters,
    /// The blocks that a compaction frees.
    pub(crate) movable: Mutex<Vec<Frame>>,
    /// The frames that it moves where there is no such block.
    pub(crate) scattered: Mutex<Vec<Scattered>>,
}

#[derive(Clone, Copy)]
pub(crate) struct Here(pub &'static World);
pub(crate) type Pool = UnmappedPool<Here>;

// SAFETY: one allocator, one map, one lists, which the pool alone reaches but for the tests of `keep_blocks`; the rest
// is as promised where no fault is planted.
unsafe impl Home for Here {
    type Machine = Hosted;
    type Tables = HostedTables;
    type Rules = OffLimits<'static>;

    fn frames(&self) -> &Frames<Hosted> {
        &self.0.frames
    }
    fn with_map<A>(&self, act: impl FnOnce(&mut Map) -> A) -> A {
        let _off = self.0.machine.irq_off();
        act(&mut self.0.map.lock().unwrap())
    }
    fn try_with_map<A>(&self, act: impl FnOnce(&mut Map) -> A) -> Option<A> {
        match self.0.map.try_lock() {
            Ok(mut map) => Some(act(&mut map)),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(_)) => panic!("poisoned"),
        }
    }
    fn with_lists<A>(&self, act: impl FnOnce(&mut BlockLists) -> A) -> A {
        let _off = self.0.machine.irq_off();
        act(&mut self.0.lists.lock().unwrap())
    }
    fn try_with_lists<A>(&self, act: impl FnOnce(&mut BlockLists) -> A) -> Option<A> {
        self.0.lists.try_lock().ok().map(|mut lists| act(&mut lists))
    }
    fn zero(&self, frame: &mut Frame<Unmapped>) -> Result<(), CopyError> {
        if self.0.plant.lock().unwrap().no_zeroing {
            return Ok(());
        }
        if self.0.plant.lock().unwrap().no_window {
            return Err(CopyError::Window(WindowError::NoSuchCpu));
        }
        if let Some(before) = self.0.before_zeroing.lock().unwrap().take() {
            before(self.0);
        }
        self.0.windows.zero(frame)
    }
    fn map_owner(&self) -> OwnerId {
        self.0.pool_owner
    }
    fn relax(&self) {
        std::thread::yield_now();
    }
    fn compact(&self, pinned: Pinned<'_>) -> u64 {
        let moved = self.0.movable.lock().unwrap().pop();
        let Some(frame) = moved else { return make_block(self.0, pinned) };
        self.0.frames.free(pinned, frame);
        1
    }
    fn note_flush(&self, flushed: FlushStats) {
        self.0.flushes.count(FlushCause::Pool, flushed);
    }
    fn flush_targets(&self) -> FirstCpus {
        if self.0.plant.lock().unwrap().no_remote_flush {
            FirstCpus(1)
        } else {
            FirstCpus(self.0.machine.cpu_count())
        }
    }
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

pub(crate) fn phys(start: u64, bytes: u64) -> PhysRange {
    PhysRange::of_length(PhysAddr::new(start), bytes).unwrap()
}

/// A direct map as boot makes it, its tables in the machine's RAM.
pub(crate) struct Built {
    pub(crate) root: Root,
    pub(crate) tables: HostedTables,
    pub(crate) source: TableFrames<'static>,
    pub(crate) map: Map,
}

impl Built {
    /// Maps `ram` by pages of `largest`, in tables of the memory `below`, and puts `reserve` tables into the map's
    /// reserve.
    ///
    /// # Safety
    /// `below` is RAM of the machine, and for these tables alone.
    pub(crate) unsafe fn new(
        machine: Hosted,
        below: PhysRange,
        ram: PhysRange,
        largest: PageSize,
        reserve: u64,
    ) -> Self {
        // SAFETY: the caller promises that `below` is RAM of the machine and for these tables alone.
        let (mut tables, mut source) =
            unsafe { (HostedTables::new(machine), TableFrames::new(machine, below.whole_frames())) };
        let root = Root::new(source.take_zeroed_table().unwrap(), Levels::Four);
        let base = address_range(Levels::Four).start();
        let request =
            PlanRequest { base, levels: Levels::Four, ram: [ram], read_only: &[], largest, limit: None };
        let built = Plan::new(&request).unwrap().build(root, &mut tables, &mut source).unwrap();
        let boot_map = BootMap {
            root,
            base,
            largest: PageSize::Size1G,
            pages: built.pages,
            seed: 7,
            machine: machine.identity(),
        };
        let mut map = DirectMap::new(boot_map, tables.clone(), OffLimits(&[]));
        // SAFETY: the source is over the map's tables.
        unsafe { map.refill(reserve, &mut source) }.unwrap();
        (0..400).for_each(|_| map.add_record_page(Box::leak(Box::new(RecordPage::new()))));
        Self { root, tables, source, map }
    }
}

impl World {
    /// Returns `ram_bytes` for the allocator, a multiple of 2 MiB; `tables` in the map's reserve. Runs on CPU 0 of
    /// `cpus`.
    pub(crate) fn new(cpus: usize, ram_bytes: u64, tables: u64, config: MmuConfig) -> &'static Self {
        let machine = HostedMachine::builder().cpus(cpus).large_pages(LargePages::Never);
        let machine = machine.ram(phys(0, TABLE_BYTES)).ram(phys(RAM_AT, ram_bytes)).build().unwrap();
        let machine: Hosted = leak(machine);
        machine.enter(CpuId::BOOT, |_| Self::boot(machine, (ram_bytes, ram_bytes), tables, config)).unwrap()
    }

    /// Returns as much RAM in the direct map as past its end, otherwise as [`World::new`].
    pub(crate) fn with_high_memory(cpus: usize, each_bytes: u64, tables: u64) -> &'static Self {
        let machine = HostedMachine::builder().cpus(cpus).large_pages(LargePages::Never);
        let machine = machine.ram(phys(0, TABLE_BYTES)).ram(phys(RAM_AT, 2 * each_bytes)).build().unwrap();
        let (machine, bytes): (Hosted, _) = (leak(machine), (2 * each_bytes, each_bytes));
        machine.enter(CpuId::BOOT, |_| Self::boot(machine, bytes, tables, MmuConfig::new(1))).unwrap()
    }

    fn boot(
        machine: Hosted,
        (ram_bytes, mapped_bytes): (u64, u64),
        reserve: u64,
        config: MmuConfig,
    ) -> &'static Self {
        let (ram, mapped) = (phys(RAM_AT, ram_bytes), phys(RAM_AT, mapped_bytes));
        // SAFETY: the first 32 MiB are for tables alone.
        let built = unsafe { Built::new(machine, phys(0, TABLE_BYTES), mapped, PageSize::Size1G, reserve) };
        let Built { root, tables, mut source, mut map } = built;
        let (ram, at_boot) = (ram.whole_frames(), map.pages());
        // SAFETY: the unit that is attached below walks the tree; nothing else maps anything for windows.
        let windows = unsafe { HostedWindows::new(machine, tables, &mut source, root) }.unwrap();
        // SAFETY: the tree is in RAM of the machine, and reached by `HostedTables` alone.
        let mmu = unsafe { machine.attach_mmu(root, config) }.unwrap();
        mmu.unused_until_flushed(HostedWindows::range());

        let pool_owner = map.add_owner(OwnerName::of("unmapped pool"), MapLimits::NONE).unwrap();
        let alice = map.add_owner(OwnerName::of("alice"), MapLimits::NONE).unwrap();

        let accounts = [const { Account::CLOSED }; 8];
        let lists = BlockLists::new(Box::leak(Box::new(accounts)));
        let slots =
            machine.cpus().iter().map(|_| Box::leak(Box::new(CpuSlots::new()))).collect::<Vec<_>>().leak();
        let frames = allocator(machine, ram, mapped.whole_frames().end());
        let windows = Windows::new(&frames, windows, slots);
        let world: &'static Self = leak(Self {
            machine,
            frames,
            map: Mutex::new(map),
            alice,
            lists: Mutex::new(lists),
            windows,
            source: Mutex::new(source),
            at_boot,
            ram,
            plant: Mutex::default(),
            pool_owner,
            before_zeroing: Mutex::default(),
            flushes: FlushCounters::new(),
            movable: Mutex::default(),
            scattered: Mutex::default(),
        });
        let pool = world.pool();
        pool.keep_blocks(0);
        pool.open_account(ALICE, Limits::NONE).unwrap();
        pool.open_account(BOB, Limits::NONE).unwrap();
        world
    }

    pub(crate) fn pool(&'static self) -> Pool {
        UnmappedPool::new(Here(self))
    }

    pub(crate) fn mmu(&self) -> &SoftMmu {
        self.machine.mmu().unwrap()
    }

    /// Returns where the direct map shows `pfn`, for the MMU.
    pub(crate) fn virt(&self, pfn: Pfn) -> VirtAddr {
        address_range(Levels::Four).start().plus(pfn.addr().get())
    }

    /// Returns what `cpu` gets for `pfn` through the direct map.
    pub(crate) fn read_mapped(&self, cpu: usize, pfn: Pfn) -> Result<PhysAddr, Fault> {
        self.mmu().access(CpuId::new(cpu).unwrap(), self.virt(pfn), Use::Read)
    }

    pub(crate) fn range(&self, frames: PfnRange) -> VirtRange {
        VirtRange::of_length(self.virt(frames.start()), frames.addrs().bytes()).unwrap()
    }

    /// Every CPU reads a frame through the map, so that its TLB has it.
    pub(crate) fn warm(&self, pfn: Pfn) {
        for cpu in self.machine.cpus().iter() {
            let _ = self.mmu().access(cpu, self.virt(pfn), Use::Read);
        }
    }

    /// Returns a byte of a frame, unseen by its owner.
    pub(crate) fn peek(&self, pfn: Pfn, offset: u64) -> u8 {
        // SAFETY: RAM of the machine; the test has no other thread that writes it.
        unsafe { self.machine.direct(pfn.addr()).plus(offset).as_ptr::<u8>().read() }
    }

    /// Sets a byte of a frame, behind the back of all.
    pub(crate) fn poke(&self, pfn: Pfn, offset: u64, byte: u8) {
        // SAFETY: RAM of the machine; the test has no other thread that uses it.
        unsafe { self.machine.direct(pfn.addr()).plus(offset).as_mut_ptr::<u8>().write(byte) }
    }

    pub(crate) fn is_zero(&self, frames: PfnRange) -> bool {
        frames.iter().all(|pfn| (0..4096).all(|offset| self.peek(pfn, offset) == 0))
    }

    /// Another handle of the 2-MiB block around `pfn`, which the pool holds: for lies.
    ///
    /// # Safety
    /// The result is not used as if it were true.
    pub(crate) unsafe fn block_of(&self, pfn: Pfn) -> std::mem::ManuallyDrop<Frame<Unmapped>> {
        let start = Pfn::new(pfn.get() & !511);
        // SAFETY: the caller promises not to use the handle as if it were the only one.
        let block = unsafe { self.frames.from_pfn(start, Order::LARGE).unwrap().assume_unmapped() };
        std::mem::ManuallyDrop::new(block)
    }

    /// Returns the owner of what tests change by themselves.
    pub(crate) fn map_owner(&self, _: Owner) -> OwnerId {
        self.alice
    }

    /// Returns the first frame of the block that the allocator gives next.
    pub(crate) fn next_block(&self, pinned: Pinned<'_>) -> Pfn {
        let block = self.frames.alloc(pinned, rhumb_frames::Request::LARGE).unwrap();
        let pfn = block.pfn();
        self.frames.free(pinned, block);
        pfn
    }

    /// Takes a block of 2 MiB from GiB `number`, all of whose other memory, and that of the GiBs before, is in use
    /// elsewhere.
    pub(crate) fn take_from_fresh_gib(
        &'static self,
        pinned: Pinned<'_>,
        number: u64,
    ) -> Result<Frame<Unmapped>, PoolError> {
        let mut filler = self.movable.lock().unwrap();
        let gib = self.ram.start().plus(number << 18);
        while let Ok(block) = self.frames.alloc(pinned, rhumb_frames::Request::LARGE) {
            filler.push(block);
        }
        let found = filler.iter().position(|block| block.pfn() >= gib && block.pfn() < gib.plus(1 << 18));
        let block = filler.swap_remove(found.expect("a free block in that GiB"));
        drop(filler);
        self.frames.free(pinned, block);
        self.pool().take(pinned, ALICE, Order::LARGE)
    }

    pub(crate) fn release_filler(&self, pinned: Pinned<'_>) {
        self.movable.lock().unwrap().drain(..).for_each(|block| self.frames.free(pinned, block));
    }

    /// All is as at boot: largest pages, no hold, no split, all frames free.
    pub(crate) fn assert_healed(&self) {
        let map = self.map.lock().unwrap();
        map.validate().unwrap();
        assert_eq!(map.pages(), self.at_boot);
        assert_eq!((map.splits().count(), map.holds().count()), (0, 0));
        assert_eq!(self.mmu().take_reports(), []);
        let pin = self.machine.pin();
        self.frames.drain(pin.pinned());
        assert_eq!(self.frames.free_frames(), self.ram.frames());
        self.windows.validate().unwrap();
    }

    /// Takes a frame of order 0 for `owner`.
    pub(crate) fn take(
        &'static self,
        pinned: Pinned<'_>,
        owner: Owner,
    ) -> Result<Frame<Unmapped>, PoolError> {
        self.pool().take(pinned, owner, Order::BASE)
    }
}

fn allocator(machine: Hosted, ram: PfnRange, direct_limit: Pfn) -> Frames<Hosted> {
    let memory = [MemoryRange { frames: ram, node: NodeId::FIRST }];
    let layout = Layout::new(&memory, machine.cpu_count(), direct_limit).unwrap();
    let storage = Box::leak(vec![0u64; layout.storage_bytes().div_ceil(8)].into_boxed_slice());
    let descriptors = vec![0u64; ram.end().get() as usize * size_of::<Descriptor>() / 8].leak();
    // SAFETY: no other code uses the RAM; storage and descriptors are outside it, zero, and permanent.
    unsafe {
        let frames = Frames::new(machine, &layout, [ram], storage).unwrap();
        frames.with_descriptors(VirtAddr::new(descriptors.as_ptr() as u64))
    }
}

/// Runs `body` as CPU 0 of a fresh world, its TLBs full of speculation.
pub(crate) fn in_world<A: Send>(
    cpus: usize,
    ram_bytes: u64,
    tables: u64,
    body: impl FnOnce(&'static World, &rhumb_hosted::Cpu<'_>) -> A + Send,
) -> A {
    let world = World::new(cpus, ram_bytes, tables, MmuConfig::new(1));
    world.machine.enter(CpuId::BOOT, |cpu| body(world, cpu)).unwrap()
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
