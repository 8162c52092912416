//! The frame allocator over all of the memory.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Mutex;

use rhumb_frames::{
    Anywhere, Descriptor, Extent, Frame, Frames, Goal, Layout, MemoryRange, NothingMoves, Relocate, Request,
    Zone,
};
use rhumb_hosted::Cpu;
use rhumb_machine::{NodeId, Order, Pfn, PfnRange, Pinned, VirtAddr};

use super::{Clock, RAM_BYTES, ROUNDS};
use crate::world::{GIB, Hosted, phys};

fn ram() -> PfnRange {
    phys(4 * GIB, RAM_BYTES).whole_frames()
}

pub(super) fn allocator(machine: Hosted) -> Frames<Hosted> {
    let memory = [MemoryRange { frames: ram(), node: NodeId::FIRST }];
    let layout = Layout::new(&memory, machine.cpus().len(), ram().end()).unwrap();
    let storage = vec![0u64; layout.storage_bytes().div_ceil(8)].leak();
    let descriptors = vec![0u64; ram().end().get() as usize * size_of::<Descriptor>() / 8].leak();
    // SAFETY: nothing else uses the RAM; storage and descriptors are outside it, zero, and never freed.
    unsafe {
        let frames = Frames::new(machine, &layout, [ram()], storage).unwrap();
        frames.set_reserve(NodeId::FIRST, Zone::Normal, 0);
        frames.with_descriptors(VirtAddr::new(descriptors.as_ptr() as u64))
    }
}

/// Each CPU keeps what its magazines hold.
pub(super) fn fill_magazines(frames: &'static Frames<Hosted>) {
    let machine = *frames.machine();
    let fill = |cpu: &Cpu<'_>| {
        let taken: Vec<Frame> =
            (0..2000).map(|_| frames.alloc(cpu.pinned(), Request::FRAME).unwrap()).collect();
        taken.into_iter().rev().step_by(2).for_each(|frame| frames.free(cpu.pinned(), frame));
    };
    machine.run_on(machine.cpus(), fill).unwrap();
}

pub(super) fn clock(frames: &'static Frames<Hosted>, cpu: &Cpu<'_>, clock: &mut Clock) {
    for round in 0..ROUNDS as u64 {
        magazines(frames, cpu, clock);
        ranges(frames, cpu, clock, round);
        reports(frames, cpu, clock);
    }
    let owner = scatter(frames, cpu.pinned());
    for _ in 0..ROUNDS {
        let request = Request::new(Order::HUGE);
        assert!(
            clock.time(cpu, "alloc of 1 GiB that fails", || frames.alloc(cpu.pinned(), request)).is_err()
        );
        let compact = || frames.compact(cpu.pinned(), NodeId::FIRST, Goal::Anything, &owner, 4096);
        assert!(clock.time(cpu, "compaction", compact).moved > 0);
        let none = || frames.compact(cpu.pinned(), NodeId::FIRST, Goal::Anything, &NothingMoves, 4096);
        clock.time(cpu, "compaction where nothing moves", none);
        reports(frames, cpu, clock);
    }
    for &pfn in owner.0.lock().unwrap().iter() {
        // SAFETY: it was taken as this one frame, or moved here.
        let frame = unsafe { frames.from_pfn(pfn, Order::BASE) }.unwrap();
        frames.free(cpu.pinned(), frame);
    }
}

fn magazines(frames: &Frames<Hosted>, cpu: &Cpu<'_>, clock: &mut Clock) {
    let mut taken: Vec<Frame> =
        (0..60_000).map(|_| frames.alloc(cpu.pinned(), Request::FRAME).unwrap()).collect();
    // Frames of many blocks, so that neighbours do not go back together.
    let mut scattered: Vec<Frame> = Vec::new();
    for turn in (1..=1200).rev() {
        scattered.push(taken.swap_remove(turn * 49 % taken.len()));
    }
    taken.into_iter().for_each(|frame| frames.free(cpu.pinned(), frame));
    clock.time(cpu, "free of 1,200 scattered frames", || {
        scattered.into_iter().for_each(|frame| frames.free(cpu.pinned(), frame));
    });
    clock.time(cpu, "drain", || frames.drain(cpu.pinned()));
    clock.time(cpu, "request_drain", || frames.request_drain(cpu.pinned()));
    clock.time(cpu, "tick", || frames.tick(cpu.pinned()));
    let huge = || frames.alloc(cpu.pinned(), Request::new(Order::HUGE)).unwrap();
    let huge = clock.time(cpu, "alloc of 1 GiB", huge);
    clock.time(cpu, "free of 1 GiB", || frames.free(cpu.pinned(), huge));
}

fn ranges(frames: &Frames<Hosted>, cpu: &Cpu<'_>, clock: &mut Clock, round: u64) {
    let start = ram().start().plus(((32 + round) << 18) + 5);
    let range = PfnRange::of_length(start, (8 << 18) + 100).unwrap();
    let take = || frames.alloc_range(cpu.pinned(), range, &NothingMoves).unwrap();
    let taken = clock.time(cpu, "alloc_range of 8 GiB", take);
    clock.time(cpu, "free_range of 8 GiB", || frames.free_range(cpu.pinned(), taken).unwrap());
}

fn reports(frames: &Frames<Hosted>, cpu: &Cpu<'_>, clock: &mut Clock) {
    clock.time(cpu, "reports of zones", || {
        black_box((frames.totals(), frames.zones().count()));
        black_box(frames.describe(ram().start().plus(12345)).is_some());
    });
    clock.time(cpu, "validate of frames", || frames.validate().unwrap());
}

/// Frames that can be moved, by number.
struct Scattered(Mutex<BTreeSet<Pfn>>);

// SAFETY: it names frames that were taken and given up as numbers, whose content nothing uses.
unsafe impl Relocate for Scattered {
    fn extent(&self, pfn: Pfn) -> Option<Extent> {
        let known = self.0.lock().unwrap().contains(&pfn);
        known.then_some(Extent { start: pfn, order: Order::BASE })
    }

    fn relocate(&self, _: Pinned<'_>, from: Extent, to: Frame<Anywhere>) -> Result<(), Frame<Anywhere>> {
        let mut known = self.0.lock().unwrap();
        known.remove(&from.start);
        known.insert(to.into_pfn());
        Ok(())
    }
}

/// Takes all memory, and keeps a frame in 64: no block is whole.
fn scatter(frames: &Frames<Hosted>, pinned: Pinned<'_>) -> Scattered {
    let request = Request::FRAME.movable();
    let all: Vec<Frame> = std::iter::from_fn(|| frames.alloc(pinned, request).ok()).collect();
    let mut kept = BTreeSet::new();
    for frame in all {
        if frame.pfn().get().is_multiple_of(64) {
            kept.insert(frame.into_pfn());
        } else {
            frames.free(pinned, frame);
        }
    }
    frames.drain(pinned);
    Scattered(Mutex::new(kept))
}
