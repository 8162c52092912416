//! Allocators on the machine for tests, over address space that is never touched.

use std::boxed::Box;
use std::cell::Cell;
use std::vec::Vec;

use rhumb_machine::testing;
pub(super) use rhumb_machine::testing::{TestMachine, irqs_off, this_cpu as cpu};
use rhumb_machine::{MemoryUse, NodeId, Pfn, PfnRange, Pinned, VirtAddr, VirtRange};

use crate::{Frames, Layout, MemoryRange};

std::thread_local! {
    static LOCK_VISITS: Cell<u64> = const { Cell::new(0) };
    static FORBIDDEN: Cell<VirtRange> = const { Cell::new(VirtRange::new(VirtAddr::ZERO, VirtAddr::ZERO).unwrap()) };
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

/// Counts a visit of this thread to a pool's lock.
pub(crate) fn note_lock_visit() {
    LOCK_VISITS.set(LOCK_VISITS.get() + 1);
}

/// Does `work`, and returns how often this thread took a pool's lock meanwhile.
pub(super) fn lock_visits(work: impl FnOnce()) -> u64 {
    let before = LOCK_VISITS.get();
    work();
    LOCK_VISITS.get() - before
}

/// Returns the frames that an allocator last told this thread are free.
pub(super) fn last_forbidden() -> VirtRange {
    FORBIDDEN.get()
}

pub(super) fn range(start: u64, end: u64) -> PfnRange {
    PfnRange::new(Pfn::new(start), Pfn::new(end)).unwrap()
}

pub(super) fn node(index: usize) -> NodeId {
    NodeId::new(index).unwrap()
}

/// A word of storage that nothing has written: as the record of a block, it would say that the descriptors are filled
/// in.
pub(super) const UNWRITTEN: u64 = 0x0000_0002_a5a5_a5a5;

/// Storage that is never given back. The allocator must do with the memory's contents.
pub(super) fn storage(bytes: usize) -> &'static mut [u64] {
    Box::leak(std::vec![UNWRITTEN; bytes.div_ceil(8)].into_boxed_slice())
}

/// Descriptors of the first `frames` frames and the rest of their last block, never given back. Any build must do with
/// the memory's contents.
pub(super) fn descriptors(frames: u64) -> VirtAddr {
    let all = (0..frames.next_multiple_of(512)).map(|_| crate::Descriptor::default()).collect::<Vec<_>>();
    let all = all.leak();
    // SAFETY: made of integers, for which any bits are a value.
    unsafe { all.as_mut_ptr().cast::<u8>().write_bytes(0xa5, size_of_val(all)) };
    all.as_ptr().cast::<u8>().into()
}

/// Memory from (start, end, node).
pub(super) fn memory(ranges: &[(u64, u64, usize)]) -> Vec<MemoryRange> {
    let range = |&(start, end, index)| MemoryRange { frames: range(start, end), node: node(index) };
    ranges.iter().map(range).collect()
}

/// Returns an allocator over these ranges, all free, with the reserves and guards that it sets; the direct map ends at
/// frame
/// `limit`.
pub(super) fn frames_as_built(cpus: usize, memory: &[MemoryRange], limit: u64) -> Frames<TestMachine> {
    let layout = Layout::new(memory, cpus, Pfn::new(limit)).unwrap();
    let told = |range, memory_use| {
        if memory_use == MemoryUse::FreeFrame {
            FORBIDDEN.set(range);
        }
    };
    let machine = TestMachine { told, ..TestMachine::new(cpus, layout.nodes) };
    let free = memory.iter().map(|range| range.frames);
    // SAFETY: the frames have no memory, and nothing touches them.
    let frames = unsafe { Frames::new(machine, &layout, free, storage(layout.storage_bytes())) }.unwrap();
    be_cpu(0);
    frames
}

/// As [`frames_as_built`], without reserves or guards.
pub(super) fn frames_with(cpus: usize, memory: &[MemoryRange], limit: u64) -> Frames<TestMachine> {
    let frames = frames_as_built(cpus, memory, limit);
    for report in frames.zones().collect::<Vec<_>>() {
        frames.set_reserve(report.node, report.zone, 0);
        frames.set_guard(report.node, report.zone, 0);
    }
    frames
}

/// As [`frames_with`], all in the direct map.
pub(super) fn frames_over(cpus: usize, ranges: &[(u64, u64, usize)]) -> Frames<TestMachine> {
    frames_with(cpus, &memory(ranges), 1 << 34)
}
