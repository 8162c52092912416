//! Object caches on the machine for tests, over memory of the process.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::boxed::Box;
use std::vec::Vec;

use rhumb_frames::{Descriptor, Frames, MemoryRange};
use rhumb_machine::{
    CpuId, MemoryEvent, MemoryUse, NodeId, Pfn, PfnRange, Pinned, VirtAddr, VirtRange, testing,
};

use crate::{Config, Slabs};

pub(super) use rhumb_machine::testing::TestMachine;
#[cfg(not(any(loom, shuttle)))]
pub(super) use rhumb_machine::testing::irqs_off as stretches;

/// Returns the id of a CPU.
#[cfg(not(any(loom, shuttle)))]
pub(super) fn cpu(index: usize) -> CpuId {
    CpuId::new(index).unwrap()
}

/// Makes this thread that CPU: see [`testing::be_cpu`].
pub(super) fn be_cpu(cpu: usize) {
    // SAFETY: a test has no guard when it changes the CPU and takes a new token for each call; where it has several
    // threads, each is a CPU of its own.
    unsafe { testing::be_cpu(cpu) }
}

/// Returns a token for the CPU that this thread is: see [`testing::pinned`].
pub(super) fn pinned() -> Pinned<'static> {
    // SAFETY: a test takes a new token for each call, none of which outlives a change of the CPU; where it has several
    // threads, each is a CPU of its own.
    unsafe { testing::pinned() }
}

/// A machine's memory, its frames and its object caches. They are lent to each other permanently, and all end together.
pub(super) struct World {
    pub(super) slabs: &'static Slabs<TestMachine>,
    pub(super) frames: &'static Frames<TestMachine>,
    memory: (*mut u8, Layout),
    storage: *mut [u64],
    descriptors: *mut [Descriptor],
}

// SAFETY: the world's owner alone follows these pointers, at the world's end, and memory belongs to no CPU.
unsafe impl Send for World {}
// SAFETY: a shared world is used through its allocators, which every CPU may use; its pointers are not followed.
unsafe impl Sync for World {}

const FIRST: u64 = 512;

impl World {
    /// Returns a machine with `frames` frames of memory, half of them on each of two nodes where there are two.
    pub(super) fn new(frames: u64, nodes: usize, config: Config) -> Self {
        Self::that_tells(frames, nodes, config, |_, _| {})
    }

    /// As [`World::small`]; `traced` is told what the traced caches do.
    #[cfg(not(any(loom, shuttle)))]
    pub(super) fn that_is_traced(config: Config, traced: fn(&MemoryEvent)) -> Self {
        Self::on(4096, 1, config, TestMachine { traced, ..TestMachine::new(config.cpus, 1) })
    }

    /// As [`World::new`]; `told` is called with what memory may be used for.
    pub(super) fn that_tells(
        frames: u64,
        nodes: usize,
        config: Config,
        told: fn(VirtRange, MemoryUse),
    ) -> Self {
        Self::on(frames, nodes, config, TestMachine { told, ..TestMachine::new(config.cpus, nodes) })
    }

    fn on(frames: u64, nodes: usize, config: Config, machine: TestMachine) -> Self {
        let layout = Layout::from_size_align((frames as usize) << 12, 2 << 20).unwrap();
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc_zeroed(layout) };
        let base = VirtAddr::new(start as u64 - (FIRST << 12));
        let part = frames / nodes as u64;
        let memory: Vec<_> = (0..nodes)
            .map(|node| MemoryRange {
                frames: PfnRange::of_length(Pfn::new(FIRST + node as u64 * part), part).unwrap(),
                node: NodeId::new(node).unwrap(),
            })
            .collect();
        let plan = rhumb_frames::Layout::new(&memory, config.cpus, Pfn::new(1 << 34)).unwrap();
        let words = std::vec![0u64; plan.storage_bytes().div_ceil(8)];
        let storage: &'static mut [u64] = Box::leak(words.into_boxed_slice());
        let storage_at: *mut [u64] = storage;
        let descriptors: Vec<_> = (0..FIRST + frames).map(|_| Descriptor::default()).collect();
        let descriptors = Box::into_raw(descriptors.into_boxed_slice());
        let machine = TestMachine { base, now_ns: || 7000, ..machine };
        let free = memory.iter().map(|range| range.frames);
        // SAFETY: the memory is the process's own and unused; there is a descriptor for each frame.
        let made = unsafe {
            Frames::new(machine, &plan, free, storage)
                .unwrap()
                .with_descriptors(VirtAddr::from(descriptors.cast::<u8>().cast_const()))
        };
        for report in made.zones().collect::<Vec<_>>() {
            made.set_reserve(report.node, report.zone, 0);
            made.set_guard(report.node, report.zone, 0);
        }
        be_cpu(0);
        let frames: &'static _ = Box::leak(Box::new(made));
        let slabs: &'static _ =
            Box::leak(Box::new(Slabs::new(frames, pinned(), Config { nodes, ..config }).unwrap()));
        Self { slabs, frames, memory: (start, layout), storage: storage_at, descriptors }
    }

    /// Returns a world of one CPU and one node, with nothing checked.
    #[cfg(not(any(loom, shuttle)))]
    pub(super) fn small() -> Self {
        Self::new(4096, 1, Config::new(1))
    }

    /// Returns the address of the first byte of the memory.
    #[cfg(not(any(loom, shuttle)))]
    pub(super) fn start(&self) -> usize {
        self.memory.0.addr()
    }

    /// Makes the lines of this thread's CPU, which stay.
    #[cfg(not(any(loom, shuttle)))]
    pub(super) fn open_lines(&self) {
        assert!(self.slabs.own_line(self.slabs.classes[0], pinned()).is_some());
    }

    /// Frames that are not free, per-CPU caches of frames not counting as free.
    #[cfg(not(any(loom, shuttle)))]
    pub(super) fn used_frames(&self) -> u64 {
        let total: u64 = self.frames.zones().map(|zone| zone.present).sum();
        total - self.frames.free_frames()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // SAFETY: `new` leaked each of them, and no reference to them outlives the test.
        unsafe {
            drop(Box::from_raw(core::ptr::from_ref(self.slabs).cast_mut()));
            drop(Box::from_raw(core::ptr::from_ref(self.frames).cast_mut()));
            drop(Box::from_raw(self.storage));
            drop(Box::from_raw(self.descriptors));
            dealloc(self.memory.0, self.memory.1);
        }
    }
}

/// Returns frames that were made without descriptors. Their memory is no test's, and is not touched.
#[cfg(not(any(loom, shuttle)))]
pub(super) fn frames_without_descriptors() -> &'static Frames<TestMachine> {
    let frames = PfnRange::of_length(Pfn::new(FIRST), 512).unwrap();
    let memory = [MemoryRange { frames, node: NodeId::FIRST }];
    let plan = rhumb_frames::Layout::new(&memory, 1, Pfn::new(1 << 34)).unwrap();
    let storage = std::vec![0u64; plan.storage_bytes().div_ceil(8)].leak();
    let machine = TestMachine { base: VirtAddr::new(1 << 46), ..TestMachine::new(1, 1) };
    // SAFETY: no test takes a frame of these to touch it.
    Box::leak(Box::new(unsafe { Frames::new(machine, &plan, [frames], storage) }.unwrap()))
}

/// A small generator: the same numbers on every run.
#[cfg(not(any(loom, shuttle)))]
pub(super) struct Random(pub(super) u64);

#[cfg(not(any(loom, shuttle)))]
impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % bound
    }
}
