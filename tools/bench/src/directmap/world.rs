//! The ground under the pool of unmapped frames: an allocator over simulated RAM, a direct map of it, windows, a lists.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rhumb_directmap::{DirectMap, OffLimits, OwnerId};
use rhumb_frames::{Descriptor, Frame, Frames, Layout, MemoryRange, Owner, Unmapped, Zone};
use rhumb_hosted::{CorePinning, HostedMachine, LargePages};
use rhumb_machine::{CpuId, FirstCpus, Machine, NodeId, PageSize, PhysAddr, PhysRange, VirtAddr};
use rhumb_pagetable::{Entry, FlushStats};
use rhumb_unmapped::{Account, BlockLists, Home, Limits, UnmappedPool};
use rhumb_windows::error::CopyError;
use rhumb_windows::{CpuSlots, SLOTS, WindowTables, Windows};

use super::tables::Tables;
use super::ways::rhumb::fresh_map;
use crate::driver::Unfit;

/// Simulated RAM: address space, until it is touched.
pub(super) const RAM_BYTES: u64 = 2 << 30;

/// The owner of all requests to the pool.
pub(super) const OWNER: Owner = Owner(1);

/// Where the pool's flushes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flushes {
    /// To all simulated CPUs, which count them.
    Counted,
    /// To the host's map, which follows by the pool's user: simulated CPUs hear of none. They run on a core each.
    OnTheHost,
}

type Map = DirectMap<Tables, OffLimits<'static>>;

/// See the module. It stays for as long as the process: frames refer to it.
pub(super) struct World {
    pub(super) machine: &'static HostedMachine,
    pub(super) frames: Frames<&'static HostedMachine>,
    pub(super) map: Mutex<Map>,
    pub(super) windows: Windows<&'static HostedMachine, Entries>,
    lists: Mutex<BlockLists>,
    map_owner: OwnerId,
    targets: FirstCpus,
    /// How often the pool has changed the map.
    changes: AtomicU64,
}

impl World {
    /// With `cpus` CPUs.
    pub(super) fn new(cpus: usize, flushes: Flushes) -> Result<&'static Self, Unfit> {
        fn unfit(error: impl ToString) -> Unfit {
            Unfit(error.to_string())
        }
        let ram = PhysRange::of_length(PhysAddr::ZERO, RAM_BYTES).unwrap_or_default();
        let (targets, pinning) = match flushes {
            Flushes::Counted => (FirstCpus(cpus), CorePinning::Free),
            Flushes::OnTheHost => (FirstCpus(1), CorePinning::OneEach),
        };
        let builder = HostedMachine::builder().cpus(cpus).pinning(pinning);
        let machine = builder.large_pages(LargePages::Never).ram(ram).build();
        let machine: &'static HostedMachine = Box::leak(Box::new(machine.map_err(unfit)?));
        let (map, map_owner) = fresh_map(RAM_BYTES, 0, machine.identity())?;
        let memory = [MemoryRange { frames: ram.whole_frames(), node: NodeId::FIRST }];
        let layout = Layout::new(&memory, cpus, ram.whole_frames().end()).map_err(unfit)?;
        let storage = vec![0u64; layout.storage_bytes().div_ceil(8)].leak();
        let descriptor_bytes = ram.whole_frames().frames() as usize * size_of::<Descriptor>();
        let descriptors = VirtAddr::from(vec![0u64; descriptor_bytes.div_ceil(8)].leak().as_ptr());
        let frames = machine.enter(CpuId::BOOT, |_| {
            // SAFETY: the RAM has no other user; storage and descriptors are outside it, zero, and permanent.
            unsafe {
                let frames = Frames::new(machine, &layout, [ram.whole_frames()], storage);
                frames.map(|frames| frames.with_descriptors(descriptors))
            }
        });
        let frames = frames.map_err(unfit)?.map_err(unfit)?;
        Zone::ALL.iter().for_each(|&zone| frames.set_reserve(NodeId::FIRST, zone, 0));
        let lists = BlockLists::new(Box::leak(Box::new([const { Account::CLOSED }; 2])));
        let slots: Vec<_> = (0..cpus).map(|_| Box::leak(Box::new(CpuSlots::new()))).collect();
        let entries = Entries::new(machine, cpus);
        let windows = Windows::new(&frames, entries, slots.leak());
        let world: &'static Self = Box::leak(Box::new(Self {
            machine,
            frames,
            map: Mutex::new(map),
            windows,
            lists: Mutex::new(lists),
            map_owner,
            targets,
            changes: AtomicU64::new(0),
        }));
        world.pool().open_account(OWNER, Limits::NONE).map_err(unfit)?;
        Ok(world)
    }

    pub(super) fn pool(&'static self) -> UnmappedPool<Here> {
        UnmappedPool::new(Here(self))
    }

    /// Returns how often the pool has taken a block out of the map or brought one back.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Relaxed)
    }

    /// How many wholly free blocks the pool keeps.
    pub(super) fn keep_blocks(&'static self, blocks: u64) {
        self.pool().keep_blocks(blocks);
    }

    /// Writes into a frame that is in the map.
    pub(super) fn write(&self, frame: &mut Frame, bytes: &[u8]) {
        let count = bytes.len().min(frame.order().bytes() as usize);
        let start = self.machine.direct(frame.pfn().addr()).as_mut_ptr::<u8>();
        // SAFETY: within the frame, whose holder lends it; `bytes` are elsewhere.
        unsafe { start.copy_from_nonoverlapping(bytes.as_ptr(), count) };
    }
}

/// The windows' entries in an array, and what they show in the machine's RAM, all of which this process sees.
pub(super) struct Entries {
    machine: &'static HostedMachine,
    entries: Vec<[AtomicU64; SLOTS]>,
}

impl Entries {
    fn new(machine: &'static HostedMachine, cpus: usize) -> Self {
        Self { machine, entries: (0..cpus).map(|_| [const { AtomicU64::new(0) }; SLOTS]).collect() }
    }
}

// SAFETY: a slot shows the frame that its entry names, by that frame's one address in this process.
unsafe impl WindowTables for Entries {
    fn write(&self, cpu: CpuId, slot: usize, entry: Entry) {
        self.entries[cpu.index()][slot].store(entry.bits(), Relaxed);
    }

    fn read(&self, cpu: CpuId, slot: usize) -> Entry {
        Entry::from_bits(self.entries[cpu.index()][slot].load(Relaxed))
    }

    fn show(&self, cpu: CpuId, slot: usize) -> VirtAddr {
        self.machine.direct(self.read(cpu, slot).phys(PageSize::Size4K))
    }
}

/// The way from a pool to its world.
#[derive(Clone, Copy)]
pub(super) struct Here(&'static World);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked with the lock held has ended the benchmark.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// SAFETY: a world has one allocator, one map and one lists, which only its pool reaches, and one user of the map;
// windows clear a frame; where no simulated CPU is flushed, none has a translation, since each reaches RAM by the
// host's map.
unsafe impl Home for Here {
    type Machine = &'static HostedMachine;
    type Tables = Tables;
    type Rules = OffLimits<'static>;

    fn frames(&self) -> &Frames<Self::Machine> {
        &self.0.frames
    }

    fn with_map<A>(&self, act: impl FnOnce(&mut Map) -> A) -> A {
        act(&mut lock(&self.0.map))
    }

    fn try_with_map<A>(&self, act: impl FnOnce(&mut Map) -> A) -> Option<A> {
        self.0.map.try_lock().ok().map(|mut map| act(&mut map))
    }

    fn with_lists<A>(&self, act: impl FnOnce(&mut BlockLists) -> A) -> A {
        act(&mut lock(&self.0.lists))
    }

    fn try_with_lists<A>(&self, act: impl FnOnce(&mut BlockLists) -> A) -> Option<A> {
        self.0.lists.try_lock().ok().map(|mut lists| act(&mut lists))
    }

    fn zero(&self, frame: &mut Frame<Unmapped>) -> Result<(), CopyError> {
        self.0.windows.zero(frame)
    }

    fn map_owner(&self) -> OwnerId {
        self.0.map_owner
    }

    fn flush_targets(&self) -> FirstCpus {
        self.0.targets
    }

    fn note_flush(&self, _: FlushStats) {
        self.0.changes.fetch_add(1, Relaxed);
    }
}
