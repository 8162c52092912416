//! Takers, givers and an allocator that is short, in the orders of their locks that shuttle tries. CPUs change at each
//! lock and while a frame is cleared; each taker looks at its frames as the next taker would.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_directmap::{BootMap, DirectMap, OffLimits, OwnerId, OwnerName, Plan, RecordPage, address_range};
use rhumb_frames::{Descriptor, Frame, Frames, Layout, MemoryRange, Owner, Unmapped, Zone};
use rhumb_machine::testing::{EmptyTlb, TestMachine};
use rhumb_machine::{CpuId, Machine, NodeId, Order, PageSize, Pfn, PhysAddr, PhysRange, Pinned, VirtAddr};
use rhumb_pagetable::sim::{SimSource, SimTables};
use rhumb_pagetable::{Levels, Root, TableSource};
use rhumb_unmapped::planted::{self, Fault};
use rhumb_unmapped::{Account, BlockLists, Home, Limits, PoolError, UnmappedPool};
use rhumb_windows::error::CopyError;
use shuttle::sync::{Mutex, TryLockError};

const CPUS: usize = 4;
const BLOCKS: u64 = 4;
const BLOCK_BYTES: u64 = 2 << 20;
const RAM_AT: u64 = 4 << 30;
const OWNER: Owner = Owner(1);

shuttle::thread_local! {
    static CPU: Cell<usize> = Cell::new(0);
}

thread_local! {
    /// How often the clock was read. Shuttle's threads are one of the host's.
    static CLOCK_READS: Cell<u64> = const { Cell::new(0) };
}

/// Returns the machine's RAM, whose frames stay the test's. Shuttle's threads are one thread of the host.
fn ram() -> *mut u8 {
    thread_local! {
        static RAM: *mut u64 = vec![0u64; (BLOCKS * BLOCK_BYTES / 8) as usize].leak().as_mut_ptr();
    }
    RAM.with(|&ram| ram.cast())
}

/// Returns where the test sees a frame.
fn place(pfn: Pfn) -> *mut u64 {
    ram().wrapping_add((pfn.addr().get() - RAM_AT) as usize).cast()
}

/// Returns a machine of shuttle's threads, whose clock counts how often it is read.
fn machine() -> TestMachine<EmptyTlb> {
    TestMachine {
        base: VirtAddr::new((ram() as u64).wrapping_sub(RAM_AT)),
        this_cpu: || CpuId::new(CPU.with(Cell::get)).unwrap(),
        now_ns: || {
            CLOCK_READS.set(CLOCK_READS.get() + 1);
            0
        },
        ..TestMachine::with_tlb(CPUS, 1, EmptyTlb)
    }
}

type Map = DirectMap<SimTables, OffLimits<'static>>;

struct World {
    frames: Frames<TestMachine<EmptyTlb>>,
    map: Mutex<Map>,
    lists: Mutex<BlockLists>,
    owner: OwnerId,
}

#[derive(Clone, Copy)]
struct Here(&'static World);

// SAFETY: one allocator, map and lists, which the pool alone uses; `zero` clears all pages; no CPU has a TLB.
unsafe impl Home for Here {
    type Machine = TestMachine<EmptyTlb>;
    type Tables = SimTables;
    type Rules = OffLimits<'static>;

    fn frames(&self) -> &Frames<TestMachine<EmptyTlb>> {
        &self.0.frames
    }
    fn with_map<A>(&self, act: impl FnOnce(&mut Map) -> A) -> A {
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
        act(&mut self.0.lists.lock().unwrap())
    }
    fn try_with_lists<A>(&self, act: impl FnOnce(&mut BlockLists) -> A) -> Option<A> {
        self.0.lists.try_lock().ok().map(|mut lists| act(&mut lists))
    }
    fn map_owner(&self) -> OwnerId {
        self.0.owner
    }
    fn zero(&self, frame: &mut Frame<Unmapped>) -> Result<(), CopyError> {
        for page in frame.frames().iter() {
            shuttle::thread::yield_now();
            // SAFETY: a frame in the test's RAM, whose holder lends it; threads change at yields only.
            unsafe { place(page).write_bytes(0, 512) };
        }
        Ok(())
    }
    fn relax(&self) {
        shuttle::thread::yield_now();
    }
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn world() -> &'static World {
    let (levels, memory) =
        (Levels::Four, PhysRange::of_length(PhysAddr::new(RAM_AT), BLOCKS * BLOCK_BYTES).unwrap());
    let mut tables = SimTables::new();
    let mut source = SimSource::new(&mut tables, Pfn::new(1), 32);
    let root = Root::new(source.take_zeroed_table().unwrap(), levels);
    let base = address_range(levels).start();
    let request = rhumb_directmap::PlanRequest {
        base,
        levels,
        ram: [memory],
        read_only: &[],
        largest: PageSize::Size2M,
        limit: None,
    };
    let built = Plan::new(&request).unwrap().build(root, &mut tables, &mut source).unwrap();
    let boot_map = BootMap { root, base, largest: PageSize::Size2M, pages: built.pages, seed: 7, machine: 0 };
    let mut map = DirectMap::new(boot_map, tables, OffLimits(&[]));
    map.add_record_page(Box::leak(Box::new(RecordPage::new())));
    let owner = map.add_owner(OwnerName::of("unmapped pool"), rhumb_directmap::Limits::NONE).unwrap();
    let span = memory.whole_frames();
    let known = [MemoryRange { frames: span, node: NodeId::FIRST }];
    let layout = Layout::new(&known, CPUS, span.end()).unwrap();
    let storage = vec![0u64; layout.storage_bytes().div_ceil(8)].leak();
    let descriptor_bytes = BLOCKS as usize * 512 * size_of::<Descriptor>();
    let descriptors = vec![0u64; descriptor_bytes.div_ceil(8)].leak().as_ptr() as u64;
    let first = span.start().get() * size_of::<Descriptor>() as u64;
    // SAFETY: the frames are the test's RAM, of which nothing else is used now; the array has a descriptor of each of
    // them, and is leaked.
    let frames = unsafe {
        let frames = Frames::new(machine(), &layout, [span], storage).unwrap();
        frames.with_descriptors(VirtAddr::new(descriptors.wrapping_sub(first)))
    };
    Zone::ALL.iter().for_each(|&zone| frames.set_reserve(NodeId::FIRST, zone, 0));
    let lists = BlockLists::new(Box::leak(Box::new([const { Account::CLOSED }; 2])));
    let world = leak(World { frames, map: Mutex::new(map), lists: Mutex::new(lists), owner });
    let pool: &'static UnmappedPool<Here> = leak(UnmappedPool::new(Here(world)));
    pool.open_account(OWNER, Limits::NONE).unwrap();
    pool.keep_blocks(1);
    world.frames.register_reclaimer(pool).unwrap();
    world
}

/// Takes frames, looks at them and gives them back; returns how many were not zero, or changed while they were held.
fn take_and_give(world: &'static World, cpu: usize) -> u64 {
    CPU.with(|this| this.set(cpu));
    let (pool, machine) = (UnmappedPool::new(Here(world)), machine());
    let pin = machine.pin();
    let (mut held, mut wrong) = (Vec::new(), 0);
    for turn in 0..6u64 {
        let order = Order::new([0, 9, 0, 3, 9, 1][(turn as usize + cpu) % 6]).unwrap();
        match pool.take(pin.pinned(), OWNER, order) {
            Ok(frame) => {
                let mark = turn << 8 | cpu as u64 | 0x80;
                // SAFETY: the frame is this thread's, in the test's RAM; threads change at locks and yields only.
                let found = unsafe { place(frame.pfn()).replace(mark) };
                wrong += u64::from(found != 0);
                held.push((frame, mark));
            }
            Err(PoolError::NoBlock(_)) => {}
            Err(error) => panic!("{error}"),
        }
        if turn % 2 == 1 {
            wrong += give_one(&pool, pin.pinned(), &mut held);
        }
    }
    while !held.is_empty() {
        wrong += give_one(&pool, pin.pinned(), &mut held);
    }
    wrong
}

fn give_one(pool: &UnmappedPool<Here>, pinned: Pinned<'_>, held: &mut Vec<(Frame<Unmapped>, u64)>) -> u64 {
    let Some((frame, mark)) = held.pop() else { return 0 };
    // SAFETY: the frame is this thread's, in the test's RAM; threads change at locks and yields only.
    let is_changed = unsafe { place(frame.pfn()).read() } != mark;
    // A frame that two threads hold comes back twice.
    let is_refused = pool.give(pinned, frame).map_err(|refused| refused.frame.into_pfn()).is_err();
    u64::from(is_changed) + u64::from(is_refused)
}

/// Takes whole blocks from the allocator until it has none, which asks the pool for its spares, and frees them.
fn be_short(world: &'static World, cpu: usize) {
    CPU.with(|this| this.set(cpu));
    let machine = machine();
    let pin = machine.pin();
    for _ in 0..3 {
        let taken: Vec<Frame> =
            std::iter::from_fn(|| world.frames.alloc(pin.pinned(), rhumb_frames::Request::LARGE).ok())
                .collect();
        shuttle::thread::yield_now();
        taken.into_iter().for_each(|block| world.frames.free(pin.pinned(), block));
    }
}

/// Tries `runs` orders; returns how much was wrong in all of them.
fn wrong_in(runs: usize) -> u64 {
    let total = std::sync::Arc::new(AtomicU64::new(0));
    let sum = total.clone();
    let mut config = shuttle::Config::new();
    config.stack_size = 1 << 20;
    shuttle::Runner::new(shuttle::scheduler::RandomScheduler::new(runs), config).run(move || {
        let world = world();
        let takers: Vec<_> =
            (0..CPUS - 1).map(|cpu| shuttle::thread::spawn(move || take_and_give(world, cpu))).collect();
        let short = shuttle::thread::spawn(move || be_short(world, CPUS - 1));
        let wrong: u64 = takers.into_iter().map(|taker| taker.join().unwrap()).sum();
        short.join().unwrap();
        sum.fetch_add(wrong, Relaxed);
        if wrong == 0 && !planted::is(Fault::ListedBeforeZeroed) {
            let (pool, machine) = (UnmappedPool::new(Here(world)), machine());
            let pin = machine.pin();
            pool.validate().unwrap();
            pool.shrink(pin.pinned(), 0);
            pool.validate().unwrap();
            world.map.lock().unwrap().validate().unwrap();
            (0..CPUS).for_each(|cpu| {
                CPU.with(|this| this.set(cpu));
                world.frames.drain(machine.pin().pinned());
            });
            assert_eq!(world.frames.free_frames(), BLOCKS * 512);
        }
    });
    total.load(Relaxed)
}

#[test]
fn a_frame_of_a_block_that_is_out_is_taken_without_a_look_at_the_clock() {
    let one_order = || {
        let world = world();
        let (pool, machine) = (UnmappedPool::new(Here(world)), machine());
        let pin = machine.pin();
        for block_ns in [0, 1] {
            pool.open_account(OWNER, Limits { block_ns, ..Limits::NONE }).unwrap();
            let first = pool.take(pin.pinned(), OWNER, Order::BASE).unwrap();
            let before = CLOCK_READS.with(Cell::get);
            let second = pool.take(pin.pinned(), OWNER, Order::BASE).unwrap();
            assert_eq!(CLOCK_READS.with(Cell::get), before, "with {block_ns} ns a block");
            [first, second].into_iter().for_each(|frame| assert!(pool.give(pin.pinned(), frame).is_ok()));
        }
    };
    shuttle::check_random(one_order, 1);
}

#[test]
fn every_frame_has_one_holder_and_is_zero_when_it_is_taken() {
    assert_eq!(wrong_in(80), 0);
}

#[test]
fn a_frame_that_is_shelved_before_it_is_zero_is_found() {
    let wrong = planted::with(Fault::ListedBeforeZeroed, || wrong_in(80));
    assert!(wrong > 0, "the planted fault was not seen");
}
