//! An arena on the machine for tests: its tags are objects over memory of the process.
#![expect(unsafe_code, reason = "makes machines of memory and threads of the process")]

use std::alloc::{Layout, alloc_zeroed};
use std::boxed::Box;

use rhumb_frames::{Descriptor, Frames, MemoryRange};
use rhumb_machine::{NodeId, Pfn, PfnRange, Pinned, VirtAddr, testing};
use rhumb_slab::{Cache, CacheSpec, Config, Slabs};

use crate::{Arena, ArenaLayout, Fit, HeldRange, Tag, Units};

pub(super) use rhumb_machine::testing::TestMachine;
#[cfg(not(any(loom, shuttle)))]
pub(super) use rhumb_machine::testing::irqs_off as stretches;

/// The first unit of the arena of a world.
pub(super) const START: u64 = 1000;

const FIRST_FRAME: u64 = 512;

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

/// A machine's frames, its objects, and an arena. All are lent to each other permanently, and left to the process.
pub(super) struct World {
    #[cfg(not(any(loom, shuttle)))]
    pub(super) frames: &'static Frames<TestMachine>,
    pub(super) slabs: &'static Slabs<TestMachine>,
    #[cfg(not(any(loom, shuttle)))]
    pub(super) tags: &'static Cache<Tag, TestMachine>,
    pub(super) arena: Arena<TestMachine>,
}

impl World {
    /// Returns an arena of `units` units for so many CPUs, and 4 MiB for its tags.
    pub(super) fn new(units: u64, cpus: usize) -> Self {
        Self::with_frames(1024, units, cpus)
    }

    /// As [`World::new`], with so many frames.
    pub(super) fn with_frames(frames: u64, units: u64, cpus: usize) -> Self {
        let layout = Layout::from_size_align((frames as usize) << 12, 2 << 20).unwrap();
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc_zeroed(layout) };
        let base = VirtAddr::new(start as u64 - (FIRST_FRAME << 12));
        let range = PfnRange::of_length(Pfn::new(FIRST_FRAME), frames).unwrap();
        let memory = [MemoryRange { frames: range, node: NodeId::FIRST }];
        let plan = rhumb_frames::Layout::new(&memory, cpus, Pfn::new(1 << 34)).unwrap();
        let storage = std::vec![0u64; plan.storage_bytes().div_ceil(8)].leak();
        let descriptors: std::vec::Vec<_> =
            (0..FIRST_FRAME + frames).map(|_| Descriptor::default()).collect();
        let descriptors = descriptors.leak().as_ptr();
        let machine = TestMachine { base, ..TestMachine::new(cpus, 1) };
        // SAFETY: the memory is the process's own and unused; there is a descriptor for each frame.
        let made = unsafe {
            Frames::new(machine, &plan, [range], storage)
                .unwrap()
                .with_descriptors(VirtAddr::from(descriptors.cast::<u8>()))
        };
        for report in made.zones().collect::<std::vec::Vec<_>>() {
            made.set_reserve(report.node, report.zone, 0);
            made.set_guard(report.node, report.zone, 0);
        }
        be_cpu(0);
        let frames: &'static _ = Box::leak(Box::new(made));
        let slabs: &'static _ = Box::leak(Box::new(Slabs::new(frames, pinned(), Config::new(cpus)).unwrap()));
        let spec = CacheSpec::of::<Tag>("range_tag");
        let tags: &'static _ = Box::leak(Box::new(Cache::new(slabs, pinned(), spec).unwrap()));
        let arena = arena(tags, cpus);
        if let Some(span) = Units::of_length(START, units).filter(|span| span.count() > 0) {
            arena.add_span(pinned(), span).unwrap();
        }
        Self {
            #[cfg(not(any(loom, shuttle)))]
            frames,
            slabs,
            #[cfg(not(any(loom, shuttle)))]
            tags,
            arena,
        }
    }

    /// Takes a range of so many units.
    pub(super) fn alloc(&self, units: u64) -> Option<HeldRange> {
        self.arena.alloc(pinned(), Fit::new(units).unwrap()).ok()
    }

    /// Takes a range of so many units, `offset` from a multiple of `align`.
    #[cfg(not(any(loom, shuttle)))]
    pub(super) fn alloc_aligned(&self, units: u64, align: u64, offset: u64) -> Option<HeldRange> {
        let fit = Fit::new(units).unwrap().aligned(align, offset).unwrap();
        self.arena.alloc(pinned(), fit).ok()
    }

    /// Gives a range back.
    pub(super) fn free(&self, range: HeldRange) {
        self.arena.free(pinned(), range).unwrap();
    }

    /// Checks that nothing is out, and that all of it has merged: one range for each span.
    pub(super) fn assert_whole(&self, spans: u64) {
        self.arena.reclaim(pinned());
        self.arena.validate(pinned()).unwrap();
        let report = self.arena.report();
        assert_eq!((report.free_units, report.ranges_out), (report.total_units, 0), "{report:?}");
        let mut ranges = 0;
        self.arena
            .for_each(|_| {
                ranges += 1;
                core::ops::ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(ranges, spans, "ranges that did not merge");
        assert_eq!(self.tags_in_use(), spans, "tags of no range");
    }

    /// Returns how many tags the slab allocator has out.
    pub(super) fn tags_in_use(&self) -> u64 {
        let mut tags = 0;
        self.slabs.for_each_report(|cache| {
            if cache.name == rhumb_slab::Name::new("range_tag") {
                tags = cache.active_objects;
            }
        });
        tags
    }
}

/// Returns an arena without units.
pub(super) fn arena(tags: &'static Cache<Tag, TestMachine>, cpus: usize) -> Arena<TestMachine> {
    let layout = ArenaLayout::new(cpus).unwrap();
    // The memory may hold anything.
    let memory = std::vec![!0u64; layout.storage_bytes() / 8].leak();
    Arena::new(layout, tags, memory).unwrap()
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
