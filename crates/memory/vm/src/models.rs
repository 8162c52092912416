//! Shuttle on whole maps: CPUs with TLBs that fault, unmap, fork and write at once.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test -p rhumb-vm --lib --release`.
#![expect(unsafe_code, reason = "makes machines of memory and threads of the process")]

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::boxed::Box;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

use rhumb_frames::{Descriptor, Frames, MemoryRange, Request};
use rhumb_machine::testing::{TestMachine, TestTlb};
use rhumb_machine::{
    CpuId, CpuSet, FlushScope, Machine, NodeId, Order, PageSize, Pfn, PfnRange, Pinned, VirtAddr, VirtRange,
};
use rhumb_pagetable::flush::{Flushed, Unflushed};
use rhumb_pagetable::{Access, Attributes, Entry, Leaf, Levels, Root, TableEntry, TableMemory, walk};

use crate::planted::{self, Fault};
use crate::{Allocation, FaultError, Gone, Limits, Map, Space, TablesKey, Use};

mod tests;

const CPUS: usize = 3;
const FIRST_FRAME: u64 = 512;
const FRAMES: u64 = 64;
const PAGE: u64 = 4096;
const START: VirtAddr = VirtAddr::new(1 << 30);

shuttle::thread_local! {
    static CPU: Cell<usize> = Cell::new(0);
}

/// Translations that CPUs of one space have cached. They go by a flush, or by a fault at their address.
#[derive(Default)]
struct Tlbs(Mutex<BTreeMap<(usize, VirtAddr), Leaf>>);

impl Tlbs {
    fn drop_of(&self, cpu: usize, scope: FlushScope<'_>) {
        let mut cached = self.0.lock().unwrap();
        match scope {
            FlushScope::Pages { runs, .. } => {
                for at in runs.iter().flat_map(|run| run.addresses()) {
                    cached.remove(&(cpu, at));
                }
            }
            _ => cached.retain(|&(of, _), _| of != cpu),
        }
    }
}

impl TestTlb for Tlbs {
    fn flush_local(&self, scope: FlushScope<'_>) {
        self.drop_of(here().index(), scope);
    }
    fn flush_remote(&self, targets: &CpuSet, scope: FlushScope<'_>) {
        for cpu in targets.iter() {
            shuttle::thread::yield_now();
            self.drop_of(cpu.index(), scope);
        }
    }
}

fn here() -> CpuId {
    CpuId::new(CPU.with(|cpu| cpu.get())).unwrap()
}

type Bare = TestMachine<()>;

/// Tables in the memory of the process.
struct Tables(VirtAddr);

impl Tables {
    fn entry(&self, table: Pfn, index: usize) -> &TableEntry {
        // SAFETY: a frame of the world's memory that is a table, reached by atomics alone.
        unsafe { TableEntry::at(self.0.plus(table.addr().get()).plus(Entry::offset(index))) }
    }
}

impl TableMemory for Tables {
    fn read(&self, table: Pfn, index: usize) -> Entry {
        self.entry(table, index).load()
    }
    fn write(&mut self, table: Pfn, index: usize, entry: Entry) {
        self.entry(table, index).store(entry);
    }
}

/// Frames, lent permanently.
struct World {
    frames: &'static Frames<Bare>,
    at_first: u64,
}

/// A task's space, with TLBs of its own.
struct TaskSpace {
    frames: &'static Frames<Bare>,
    root: Root,
    tlbs: TestMachine<Tlbs>,
}

// SAFETY: one allocator, and a tree of its own; each flush is whole.
unsafe impl Space for Arc<TaskSpace> {
    type Machine = Bare;
    type Tables = Tables;

    fn frames(&self) -> &'static Frames<Bare> {
        self.frames
    }
    fn root(&self) -> Root {
        self.root
    }
    fn range(&self) -> VirtRange {
        VirtRange::of_length(START, 1 << 30).unwrap()
    }
    fn tables(&self, _: TablesKey) -> Tables {
        Tables(self.frames.machine().base)
    }
    fn attributes(&self, access: Access) -> Attributes {
        Attributes::user(access)
    }
    fn flush(&self, pinned: Pinned<'_>, unflushed: &mut Unflushed<Gone>) -> Flushed<Gone> {
        unflushed.flush(&self.tlbs, pinned)
    }
}

impl World {
    fn new() -> Self {
        let layout = std::alloc::Layout::from_size_align((FRAMES as usize) << 12, 4096).unwrap();
        // SAFETY: the layout is not empty.
        let start = unsafe { std::alloc::alloc_zeroed(layout) };
        let base = VirtAddr::new(start as u64 - (FIRST_FRAME << 12));
        let range = PfnRange::of_length(Pfn::new(FIRST_FRAME), FRAMES).unwrap();
        let memory = [MemoryRange { frames: range, node: NodeId::FIRST }];
        let plan = rhumb_frames::Layout::new(&memory, CPUS, Pfn::new(1 << 34)).unwrap();
        let storage = std::vec![0u64; plan.storage_bytes().div_ceil(8)].leak();
        let descriptors: Vec<_> = (0..2 * FIRST_FRAME).map(|_| Descriptor::default()).collect();
        let machine = TestMachine { base, this_cpu: here, ..TestMachine::new(CPUS, 1) };
        // SAFETY: the memory is the process's own and unused; there is a descriptor for each frame.
        let frames = unsafe {
            let frames = Frames::new(machine, &plan, [range], storage).unwrap();
            frames.with_descriptors(VirtAddr::from(descriptors.leak().as_ptr().cast::<u8>()))
        };
        for report in frames.zones().collect::<Vec<_>>() {
            frames.set_reserve(report.node, report.zone, 0);
            frames.set_guard(report.node, report.zone, 0);
        }
        let frames = Box::leak(Box::new(frames));
        let mut world = Self { frames, at_first: 0 };
        world.at_first = world.in_use();
        world
    }

    fn in_use(&self) -> u64 {
        for cpu in 0..CPUS {
            CPU.with(|this| this.set(cpu));
            let guard = self.frames.machine().pin();
            self.frames.drain(guard.pinned());
        }
        CPU.with(|this| this.set(0));
        let totals = self.frames.totals();
        totals.present - totals.free
    }

    fn space(&self) -> Arc<TaskSpace> {
        let machine = self.frames.machine();
        let guard = machine.pin();
        let table = self.frames.alloc(guard.pinned(), Request::FRAME.zeroed()).unwrap().into_pfn();
        let tlbs = TestMachine {
            base: machine.base,
            this_cpu: here,
            ..TestMachine::with_tlb(CPUS, 1, Tlbs::default())
        };
        Arc::new(TaskSpace { frames: self.frames, root: Root::new(table, Levels::Four), tlbs })
    }

    fn map(&self) -> Map<Arc<TaskSpace>> {
        Map::new(self.space(), Limits::default()).unwrap()
    }

    #[track_caller]
    fn assert_all_came_back(&self) {
        assert_eq!(self.in_use(), self.at_first);
        assert_eq!(self.frames.refused_frees(), 0);
    }
}

impl Drop for TaskSpace {
    fn drop(&mut self) {
        let guard = self.frames.machine().pin();
        // SAFETY: taken in `World::space`, and used no more.
        let frame = unsafe { self.frames.from_pfn(self.root.table, Order::BASE) }.unwrap();
        self.frames.free(guard.pinned(), frame);
    }
}

/// Has this CPU use the word at an address, in one step: by its TLB, or by a walk. `None` is a fault.
fn access(map: &Map<Arc<TaskSpace>>, at: VirtAddr, wanted: Use, act: impl FnOnce(&AtomicU64)) -> Option<()> {
    let space = map.space();
    let mut cached = space.tlbs.tlb.0.lock().unwrap();
    let page = at.align_down(PageSize::Size4K);
    let key = (here().index(), page);
    let leaf = match cached.get(&key) {
        Some(&leaf) => leaf,
        None => walk(&map.tables(), space.root, page).leaf()?,
    };
    if wanted == Use::Write && !leaf.permissions.writable {
        cached.remove(&key);
        return None;
    }
    cached.insert(key, leaf);
    let place = space.frames.machine().direct(leaf.phys.plus(at.since(page))).as_ptr::<AtomicU64>();
    // SAFETY: a frame of the world's memory, reached by atomics.
    act(unsafe { &*place });
    Some(())
}

fn use_page(
    map: &Map<Arc<TaskSpace>>,
    at: VirtAddr,
    wanted: Use,
    act: impl Fn(&AtomicU64),
) -> Result<(), FaultError> {
    while access(map, at, wanted, &act).is_none() {
        map.fault(at, wanted)?;
        shuttle::thread::yield_now();
    }
    Ok(())
}

fn read(map: &Map<Arc<TaskSpace>>, at: VirtAddr) -> Result<u64, FaultError> {
    let value = Cell::new(0);
    use_page(map, at, Use::Read, |word| value.set(word.load(Relaxed)))?;
    Ok(value.get())
}

fn write(map: &Map<Arc<TaskSpace>>, at: VirtAddr, value: u64) -> Result<(), FaultError> {
    use_page(map, at, Use::Write, |word| word.store(value, Relaxed))
}

/// Runs `others` as CPUs 1 and up while `work` runs as CPU 0.
fn at_once(others: Vec<Box<dyn FnOnce() + Send>>, work: impl FnOnce()) {
    let spawn = |(cpu, other): (usize, Box<dyn FnOnce() + Send>)| {
        shuttle::thread::spawn(move || {
            CPU.with(|this| this.set(cpu + 1));
            other();
        })
    };
    let threads: Vec<_> = others.into_iter().enumerate().map(spawn).collect();
    work();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn check(schedules: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut config = shuttle::Config::new();
    config.stack_size = 8 << 20;
    let scheduler = shuttle::scheduler::RandomScheduler::new(schedules);
    shuttle::Runner::new(scheduler, config).run(model);
}

#[test]
fn two_faults_in_one_page_give_it_one_frame() {
    check(300, || {
        let world = World::new();
        let map = Arc::new(world.map());
        let area = map.allocate(&Allocation::pages(2)).unwrap();
        let others: Vec<_> = (1..CPUS as u64)
            .map(|cpu| {
                let map = Arc::clone(&map);
                let work = move || {
                    use_page(&map, area.start(), Use::Write, |word| {
                        word.fetch_add(cpu, Relaxed);
                    })
                    .unwrap()
                };
                Box::new(work) as Box<dyn FnOnce() + Send>
            })
            .collect();
        at_once(others, || write(&map, area.start().plus(PAGE), 7).unwrap());
        assert_eq!(read(&map, area.start()), Ok(1 + 2), "an addition is lost");
        assert_eq!(map.usage().resident_pages, 2);
        drop(map);
        world.assert_all_came_back();
    });
}

fn fault_and_unmap() {
    check(300, || {
        let world = World::new();
        let map = Arc::new(world.map());
        // Across two tables, of which one is unmapped as a whole.
        let area = map.allocate(&Allocation::pages(514).at(START.plus(511 * PAGE))).unwrap();
        let pages = [0, 1, 513];
        let user = Arc::clone(&map);
        let others = Box::new(move || {
            for page in pages {
                let at = area.start().plus(page * PAGE);
                match write(&user, at, 5) {
                    Ok(()) | Err(FaultError::NotAllocated(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        at_once(std::vec![others], || {
            assert_eq!(map.unmap(area), Ok(514));
        });
        for page in pages {
            assert!(read(&map, area.start().plus(page * PAGE)).is_err());
        }
        assert_eq!((map.usage().resident_pages, map.usage().address_pages), (0, 0));
        drop(map);
        world.assert_all_came_back();
    });
}

#[test]
fn writes_meet_a_fork() {
    check(500, || {
        let world = World::new();
        let map = Arc::new(world.map());
        let area = map.allocate(&Allocation::pages(1)).unwrap();
        let at = area.start();
        write(&map, at, 1).unwrap();
        // Two CPUs write words of one page, each ever larger numbers into its own.
        let others: Vec<_> = (1..CPUS as u64)
            .map(|cpu| {
                let map = Arc::clone(&map);
                let work = move || {
                    let at = at.plus(8 * cpu);
                    for value in 1..=3 {
                        assert_eq!(read(&map, at), Ok(value - 1), "a write is lost");
                        write(&map, at, value).unwrap();
                    }
                };
                Box::new(work) as Box<dyn FnOnce() + Send>
            })
            .collect();
        at_once(others, || {
            let child = map.fork(world.space(), Limits::default()).unwrap();
            let seen: Vec<_> = (1..CPUS as u64).map(|cpu| read(&child, at.plus(8 * cpu)).unwrap()).collect();
            assert_eq!(read(&child, at), Ok(1));
            write(&child, at, 9).unwrap();
            for (cpu, value) in (1..).zip(seen) {
                assert_eq!(
                    read(&child, at.plus(8 * cpu)),
                    Ok(value),
                    "a write after the fork has reached the child"
                );
            }
        });
        assert_eq!((read(&map, at), read(&map, at.plus(8)), read(&map, at.plus(16))), (Ok(1), Ok(3), Ok(3)));
        drop(map);
        world.assert_all_came_back();
    });
}

#[test]
fn two_unmaps_overlap() {
    check(300, || {
        let world = World::new();
        let map = Arc::new(world.map());
        let area = map.allocate(&Allocation::pages(6)).unwrap();
        (0..6).for_each(|page| write(&map, area.start().plus(page * PAGE), page).unwrap());
        let removed = Arc::new(AtomicU64::new(0));
        let part = |first: u64, pages: u64| {
            VirtRange::of_length(area.start().plus(first * PAGE), pages * PAGE).unwrap()
        };
        let (user, sum) = (Arc::clone(&map), Arc::clone(&removed));
        let (low, high) = (part(0, 4), part(2, 4));
        let others = Box::new(move || {
            sum.fetch_add(user.unmap(low).unwrap(), Relaxed);
        });
        at_once(std::vec![others], || {
            removed.fetch_add(map.unmap(high).unwrap(), Relaxed);
        });
        assert_eq!(removed.load(Relaxed), 6);
        assert_eq!((map.usage().resident_pages, map.usage().address_pages), (0, 0));
        drop(map);
        world.assert_all_came_back();
    });
}

#[test]
fn both_sides_of_a_fork_write_and_end() {
    check(400, || {
        let world = World::new();
        let map = Arc::new(world.map());
        let area = map.allocate(&Allocation::pages(2)).unwrap();
        let at = area.start();
        (0..2).for_each(|page| write(&map, at.plus(page * PAGE), 4).unwrap());
        let child = map.fork(world.space(), Limits::default()).unwrap();
        let others = Box::new(move || {
            assert_eq!(read(&child, at), Ok(4));
            write(&child, at, 5).unwrap();
            assert_eq!((read(&child, at), read(&child, at.plus(PAGE))), (Ok(5), Ok(4)));
        });
        at_once(std::vec![others], || {
            write(&map, at, 6).unwrap();
            assert_eq!(map.unmap(VirtRange::of_length(at.plus(PAGE), PAGE).unwrap()), Ok(1));
            assert_eq!(read(&map, at), Ok(6));
        });
        drop(map);
        world.assert_all_came_back();
    });
}

#[test]
fn a_fault_meets_an_unmap() {
    fault_and_unmap();
}

/// The model finds a frame that is given to a page that is gone: all CPUs of a model are one thread of the process, in
/// which the fault is planted.
#[test]
fn a_planted_fault_is_found() {
    let model = || planted::with(Fault::StaleLook, fault_and_unmap);
    assert!(std::thread::spawn(model).join().is_err());
}
