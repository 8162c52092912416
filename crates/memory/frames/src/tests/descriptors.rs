//! Descriptors are filled in when first used, a block at a time, whatever the memory behind them held.

use std::boxed::Box;
use std::sync::Barrier;
use std::vec::Vec;

use rhumb_machine::{Order, Pfn, PfnRange, VirtAddr};

use super::machine::*;
use crate::{Descriptor, DescriptorView, Frames, Owner, Place, Request};

const BASE: u64 = 1 << 20;
const STALE: u8 = 0xa5;

fn with_descriptors(cpus: usize, ranges: &[(u64, u64, usize)]) -> (Frames<TestMachine>, VirtAddr) {
    let end = ranges.last().map_or(0, |range| range.1);
    let array = descriptors(end);
    // SAFETY: the array covers every block of the memory.
    (unsafe { frames_over(cpus, ranges).with_descriptors(array) }, array)
}

/// Tells whether no byte of the descriptor was written.
fn is_stale(array: VirtAddr, pfn: u64) -> bool {
    let start = array.plus(pfn * size_of::<Descriptor>() as u64).as_ptr::<u8>();
    // SAFETY: within the array; no code writes meanwhile.
    (0..size_of::<Descriptor>()).all(|at| unsafe { start.add(at).read() } == STALE)
}

#[test]
fn the_first_owner_of_a_block_clears_it_and_no_other() {
    let (frames, array) = with_descriptors(1, &[(BASE, BASE + 2048, 0)]);
    assert!((BASE..BASE + 2048).all(|pfn| frames.descriptor(Pfn::new(pfn)).is_none()));
    assert!((BASE..BASE + 2048).all(|pfn| is_stale(array, pfn)), "building touched the array");
    assert_eq!(frames.describe(Pfn::new(BASE)).unwrap().owner, Owner::NONE);

    let request = Request::new(Order::new(3).unwrap()).owner(Owner(9));
    let frame = frames.alloc(pinned(), request).unwrap();
    let (pfn, start) = (frame.pfn(), frame.pfn().get() / 512 * 512);
    let descriptor = frames.descriptor(pfn).unwrap();
    assert_eq!((descriptor.owner(), descriptor.private(), descriptor.page_type()), (Owner(9), 0, 0));
    for other in (BASE..BASE + 2048).map(Pfn::new).filter(|&other| other != pfn) {
        match frames.descriptor(other) {
            Some(other) => assert_eq!((other.owner(), other.private()), (Owner::NONE, 0)),
            None => assert!(is_stale(array, other.get())),
        }
        let is_near = other.get() / 512 * 512 == start;
        assert_eq!(frames.descriptor(other).is_some(), is_near);
    }

    frames.descriptor_of(&frame).unwrap().set_private(0x1234_5678_9abc);
    // Every frame of the block is known to be its owner's.
    for part in frame.frames().iter() {
        let known = frames.describe(part).unwrap();
        assert_eq!((known.owner, known.block), (Owner(9), Some((pfn, frame.order()))));
        assert_eq!(known.private, if part == pfn { 0x1234_5678_9abc } else { 0 });
    }
    frames.free(pinned(), frame);
    let known = frames.describe(pfn).unwrap();
    assert_eq!((known.owner, known.block, known.private), (Owner::NONE, None, 0));
    assert!(matches!(known.place, Place::Cached(_) | Place::Free(_)));
}

#[test]
fn a_holder_without_a_name_may_write_too() {
    let (frames, _) = with_descriptors(1, &[(BASE, BASE + 1024, 0)]);
    let frame = frames.alloc(pinned(), Request::FRAME).unwrap();
    let descriptor = frames.descriptor_of(&frame).unwrap();
    assert_eq!(descriptor.private(), 0);
    descriptor.set_page_type(3);
    assert_eq!(frames.describe(frame.pfn()).unwrap().page_type, 3);
    frames.free(pinned(), frame);
    // SAFETY: there is no such frame.
    assert!(unsafe { frames.descriptor_to_write(Pfn::new(BASE + 1024)) }.is_none());
    let without = frames_over(1, &[(BASE, BASE + 1024, 0)]);
    let frame = without.alloc(pinned(), Request::FRAME).unwrap();
    assert!(without.descriptor_of(&frame).is_none());
    without.free(pinned(), frame);
}

/// The descriptor is another cache line, which a free without a name does not touch.
#[cfg(not(feature = "checked"))]
#[test]
fn a_free_without_a_name_leaves_the_descriptor_alone_and_one_with_a_name_clears_it() {
    for order in [0, 3, 9, 10].map(|order| Order::new(order).unwrap()) {
        let (frames, _) = with_descriptors(1, &[(BASE, BASE + 4096, 0)]);
        for (request, left) in [(Request::new(order), 77), (Request::new(order).owner(Owner(4)), 0)] {
            let frame = frames.alloc(pinned(), request).unwrap();
            let pfn = frame.pfn();
            frames.descriptor_of(&frame).unwrap().set_private(77);
            frames.free(pinned(), frame);
            assert_eq!(frames.descriptor(pfn).unwrap().private(), left, "order {order}");
            frames.drain(pinned());
        }
    }
}

#[test]
fn a_holder_that_names_itself_finds_nothing_of_one_that_did_not() {
    let (frames, _) = with_descriptors(1, &[(BASE, BASE + 512, 0)]);
    let unnamed = frames.alloc(pinned(), Request::FRAME).unwrap();
    let pfn = unnamed.pfn();
    let descriptor = frames.descriptor_of(&unnamed).unwrap();
    descriptor.set_page_type(3);
    descriptor.set_private(77);
    frames.free(pinned(), unnamed);
    frames.drain(pinned());
    let named: Vec<_> =
        core::iter::from_fn(|| frames.alloc(pinned(), Request::FRAME.owner(Owner(4))).ok()).collect();
    let known = frames.describe(pfn).unwrap();
    assert_eq!((known.owner, known.page_type, known.private), (Owner(4), 0, 0));
    named.into_iter().for_each(|frame| frames.free(pinned(), frame));
}

#[test]
fn two_pools_share_a_block_and_clear_their_own_parts() {
    let (frames, array) = with_descriptors(1, &[(BASE, BASE + 200, 0), (BASE + 200, BASE + 1024, 1)]);
    let on = |index| Request::FRAME.bind(node(index)).owner(Owner(4));
    let first = frames.alloc(pinned(), on(0)).unwrap();
    assert!(first.pfn().get() < BASE + 200);
    assert!((BASE..BASE + 200).all(|pfn| !is_stale(array, pfn)));
    assert!((BASE + 200..BASE + 1024).all(|pfn| is_stale(array, pfn)));
    frames.descriptor_of(&first).unwrap().set_private(77);
    let rest: Vec<_> = core::iter::from_fn(|| frames.alloc(pinned(), on(1)).ok()).collect();
    assert_eq!(rest.len(), 824);
    let kept = frames.descriptor(first.pfn()).unwrap();
    assert_eq!((kept.owner(), kept.private()), (Owner(4), 77));
    rest.into_iter().chain([first]).for_each(|frame| frames.free(pinned(), frame));
    frames.validate().unwrap();
}

/// Takes the frames `start..end` of one pool permanently.
fn hold(frames: &Frames<TestMachine>, start: u64, end: u64) {
    let held = frames.alloc_range(pinned(), range(start, end), &crate::NothingMoves).unwrap();
    let _ = held.into_frames();
}

#[test]
fn cpus_that_fill_a_block_at_once_lose_no_stamp() {
    const CPUS: usize = 2;
    const ROUNDS: u64 = 64;
    let (frames, _) = with_descriptors(CPUS, &[(BASE, BASE + ROUNDS * 512, 0)]);
    let frames: &'static Frames<_> = Box::leak(Box::new(frames));
    hold(frames, BASE, BASE + ROUNDS * 512);
    let start = Barrier::new(CPUS);
    std::thread::scope(|scope| {
        for cpu in 0..CPUS as u64 {
            let start = &start;
            scope.spawn(move || {
                be_cpu(cpu as usize);
                for round in 0..ROUNDS {
                    let pfn = Pfn::new(BASE + round * 512 + cpu * 511);
                    start.wait();
                    // SAFETY: each thread writes frames of its own, of those that the test holds.
                    unsafe { frames.descriptor_to_write(pfn) }.unwrap().set_private(round << 8 | cpu);
                    start.wait();
                    for other in 0..CPUS as u64 {
                        let pfn = Pfn::new(BASE + round * 512 + other * 511);
                        assert_eq!(frames.descriptor(pfn).unwrap().private(), round << 8 | other);
                    }
                }
            });
        }
    });
}

#[test]
fn holders_of_one_frame_count_themselves() {
    const CPUS: usize = 4;
    const ROUNDS: u32 = 500;
    let (frames, _) = with_descriptors(CPUS, &[(BASE, BASE + 512, 0)]);
    let frames: &'static Frames<_> = Box::leak(Box::new(frames));
    hold(frames, BASE, BASE + 512);
    // SAFETY: the test holds the frame.
    let descriptor = unsafe { frames.descriptor_to_write(Pfn::new(BASE)) }.unwrap();
    descriptor.set_private(7 << 32 | 1);
    std::thread::scope(|scope| {
        for _ in 0..CPUS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    assert!(descriptor.add(1) >= 1);
                    assert!(descriptor.subtract(1) >= 2, "the first holder is still there");
                }
            });
        }
    });
    assert_eq!((descriptor.low(), descriptor.private()), (1, 7 << 32 | 1), "the other half stays");
    assert_eq!((descriptor.subtract(1), descriptor.low()), (1, 0));
}

#[test]
fn descriptors_side_by_side_are_those_of_one_block_of_one_pool() {
    let end = BASE + 1024 + 256;
    let ranges = [(BASE, BASE + 1024, 0), (BASE + 1024, end, 1)];
    let (frames, _) = with_descriptors(1, &ranges);
    let range = |start, end| PfnRange::new(Pfn::new(start), Pfn::new(end)).unwrap();
    assert!(frames.descriptors(range(BASE, BASE + 12)).is_none(), "no descriptor was written yet");

    hold(&frames, BASE, BASE + 1024);
    hold(&frames, BASE + 1024, end);
    let write = |start, end| {
        // SAFETY: this test alone uses the allocator, and holds all its frames.
        unsafe { frames.descriptors_to_write(range(start, end)) }
    };
    for (at, descriptor) in (0..).zip(write(BASE + 500, BASE + 512).unwrap()) {
        descriptor.set_private(at + 1);
    }
    let read: Vec<u64> =
        frames.descriptors(range(BASE + 498, BASE + 512)).unwrap().map(DescriptorView::private).collect();
    assert_eq!(read, [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    assert_eq!(frames.descriptor(Pfn::new(BASE + 511)).unwrap().private(), 12);

    assert_eq!(write(end - 256, end).unwrap().len(), 256);
    for (start, end) in [
        (BASE + 500, BASE + 513),
        (BASE + 1000, BASE + 1030),
        (end - 1, end + 1),
        (end, end + 1),
        (BASE - 1, BASE + 1),
        (BASE, BASE),
        (0, 0),
        (0, u64::MAX),
    ] {
        assert!(write(start, end).is_none(), "{start:#x} to {end:#x}");
        assert!(frames.descriptors(range(start, end)).is_none(), "{start:#x} to {end:#x}");
    }
}

/// I13: an owner costs stores to a descriptor, and neither a stretch with interrupts off nor a visit to a lock.
#[test]
fn frames_with_an_owner_come_from_the_magazines_and_go_back_there() {
    let (frames, _) = with_descriptors(1, &[(BASE, BASE + 64 * 512, 0)]);
    for order in [0, 2, 9] {
        let request = Request::new(Order::new(order).unwrap());
        let held: Vec<_> = (0..4).map(|_| frames.alloc(pinned(), request.owner(Owner(7))).unwrap()).collect();
        held.into_iter().for_each(|frame| frames.free(pinned(), frame));
        for owner in [Owner(8), Owner::NONE, Owner(9)] {
            let mut frame = None;
            let (mut visits, mut back) = (0, 0);
            let stretches = irqs_off(|| {
                visits = lock_visits(|| frame = frames.alloc(pinned(), request.owner(owner)).ok());
            });
            let frame = frame.unwrap();
            let known = frames.describe(frame.pfn()).unwrap();
            assert_eq!((visits, stretches, known.owner), (0, 0, owner), "order {order}");
            let stretches = irqs_off(|| back = lock_visits(|| frames.free(pinned(), frame)));
            assert_eq!((back, stretches), (0, 0), "order {order}, {owner:?}");
        }
    }
    frames.drain(pinned());
    frames.validate().unwrap();
}
