//! Memory past the direct map: the order in which it is used, the guard of memory in the map, honest errors, handles.

use std::vec::Vec;

use proptest::prelude::*;
use rhumb_machine::{Order, Pfn};

use super::machine::*;
use crate::{AllocError, Anywhere, Frame, Frames, Layout, Mobility, Request, Zone};

/// The map ends within node 0's memory; node 1 is all past it.
const LIMIT: u64 = 0x4000;
const RANGES: [(u64, u64, usize); 3] = [(0x200, 0x1000, 0), (0x1000, 0x5000, 0), (0x5000, 0x7000, 1)];

/// Returns the zones and nodes that requests which reach past the map get frames from, until nothing is left.
fn places_anywhere(frames: &Frames<TestMachine>, request: Request) -> Vec<(Zone, usize)> {
    let (mut places, mut held) = (Vec::new(), Vec::new());
    while let Ok(frame) = frames.alloc_anywhere(pinned(), request) {
        let at = frames.describe(frame.pfn()).unwrap();
        let place = (at.zone, at.node.index());
        if places.last() != Some(&place) {
            places.push(place);
        }
        held.push(frame);
    }
    held.into_iter().for_each(|frame| frames.free(pinned(), frame));
    frames.drain(pinned());
    places
}

#[test]
fn all_memory_past_the_map_is_used_before_any_in_it() {
    let frames = frames_with(2, &memory(&RANGES), LIMIT);
    let (near, far) = ((Zone::High, 0), (Zone::High, 1));
    let low = [(Zone::Dma32, 0), (Zone::Dma, 0)];
    for order in [0, 4, 9].map(|order| Order::new(order).unwrap()) {
        let request = Request::new(order);
        assert_eq!(places_anywhere(&frames, request), [near, far, low[0], low[1]]);
        assert_eq!(places_anywhere(&frames, request.prefer(node(1))), [far, near, low[0], low[1]]);
        assert_eq!(places_anywhere(&frames, request.bind(node(1))), [far]);
        assert_eq!(places_anywhere(&frames, request.bind(node(0))), [near, low[0], low[1]]);
        assert_eq!(places_anywhere(&frames, request.ceiling(Zone::Normal)), low);
    }
}

/// Returns the guards as built: of all pools of the map, of each with its memory.
fn guards(ranges: &[(u64, u64, usize)], limit: u64) -> Vec<(Zone, u64, [u64; Zone::COUNT])> {
    let frames = frames_as_built(1, &memory(ranges), limit);
    frames.zones().map(|zone| (zone.zone, zone.present, zone.protection)).collect()
}

#[test]
fn a_32nd_of_the_memory_past_the_map_is_guarded_in_it() {
    // 256 MiB in the map, of which 15 are DMA; 1792 past it: 56 MiB, spread by size.
    let built = guards(&[(0x100, 0x8_0000, 0)], 0x1_0000);
    let (dma, dma32, past) = (0x1000 - 0x100, 0x1_0000 - 0x1000, 0x8_0000 - 0x1_0000);
    let share = |present| (past / 32) * present / (dma + dma32);
    assert_eq!(
        built,
        [
            (Zone::Dma, dma, [0, dma / 2, dma / 2, dma / 2]),
            (Zone::Dma32, dma32, [0, 0, 0, share(dma32)]),
            (Zone::High, past, [0; 4])
        ]
    );
    // Little in the map, and much past it: all of the map is guarded, and no more than all.
    let built = guards(&[(0x1000, 0x4_0000, 0)], 0x1800);
    assert_eq!(built[0], (Zone::Dma32, 0x800, [0, 0, 0, 0x800]));
    // None past it: nothing changes for machines with all memory in the map.
    let built = guards(&[(0x1000, 0x4_0000, 0)], 1 << 34);
    assert_eq!(built, [(Zone::Dma32, 0x3_f000, [0; 4])]);
}

#[test]
fn requests_that_reach_past_the_map_leave_the_guard_and_others_do_not() {
    let frames = frames_with(1, &memory(&[(0x1000, 0x2000, 0), (0x2000, 0x3000, 0)]), 0x2000);
    frames.set_high_guard(node(0), Zone::Dma32, 0x300);
    let held: Vec<_> = std::iter::from_fn(|| frames.alloc_anywhere(pinned(), Request::FRAME).ok()).collect();
    assert_eq!(frames.levels(node(0), Zone::High).free, 0);
    assert_eq!(frames.levels(node(0), Zone::Dma32).free, 0x300);
    let error = frames.alloc_anywhere(pinned(), Request::FRAME).map(Frame::into_pfn).unwrap_err();
    assert_eq!(error, AllocError::Exhausted(Order::BASE));
    let low: Vec<_> = std::iter::from_fn(|| frames.alloc(pinned(), Request::FRAME).ok()).collect();
    assert_eq!(low.len(), 0x300, "objects and page tables have the guard");
    low.into_iter().for_each(|frame| frames.free(pinned(), frame));
    held.into_iter().for_each(|frame| frames.free(pinned(), frame));
}

#[test]
fn low_memory_that_runs_out_while_high_memory_is_free_is_said_and_counted() {
    let frames = frames_with(1, &memory(&[(0x1000, 0x1400, 0), (0x1400, 0x1800, 0)]), 0x1400);
    let low: Vec<_> = std::iter::from_fn(|| frames.alloc(pinned(), Request::FRAME).ok()).collect();
    assert_eq!(low.len(), 0x400);
    // The last of the requests above was refused, too.
    assert_eq!(frames.refused_for_low_memory(), 1);
    for request in [Request::FRAME, Request::LARGE, Request::FRAME.zeroed(), Request::FRAME.bind(node(0))] {
        let before = frames.refused_for_low_memory();
        let error = frames.alloc(pinned(), request).map(Frame::into_pfn).unwrap_err();
        assert_eq!(error, AllocError::LowExhausted(request.order));
        assert!(error.is_exhaustion());
        assert_eq!(frames.refused_for_low_memory(), before + 1);
    }
    // A zone of its own is exhausted, wherever else memory is free.
    let error = frames.alloc(pinned(), Request::FRAME.ceiling(Zone::Dma32)).map(Frame::into_pfn).unwrap_err();
    assert_eq!(error, AllocError::Exhausted(Order::BASE));
    let before = frames.refused_for_low_memory();
    let high: Vec<_> = std::iter::from_fn(|| frames.alloc_anywhere(pinned(), Request::FRAME).ok()).collect();
    assert_eq!(high.len(), 0x400);
    let error = frames.alloc(pinned(), Request::FRAME).map(Frame::into_pfn).unwrap_err();
    assert_eq!(error, AllocError::Exhausted(Order::BASE), "nothing is free past the map, either");
    assert_eq!(frames.refused_for_low_memory(), before);
    let totals = frames.totals();
    assert_eq!((totals.present, totals.high, totals.free, totals.high_free), (0x800, 0x400, 0, 0));
    high.into_iter().for_each(|frame| frames.free(pinned(), frame));
    assert_eq!(frames.totals().high_free, 0x400);
    low.into_iter().for_each(|frame| frames.free(pinned(), frame));
}

#[test]
fn i5_only_frames_past_the_map_leave_and_return_without_a_change_of_it() {
    let frames = frames_with(1, &memory(&[(0x1000, 0x1400, 0), (0x1400, 0x1800, 0)]), 0x1400);
    let order = Order::new(3).unwrap();
    let low = frames.alloc(pinned(), Request::new(order)).unwrap().into_anywhere();
    assert!(!low.is_high());
    // SAFETY: there is no pool of unmapped frames.
    let low = unsafe { low.try_unmapped() }.map(Frame::into_pfn).unwrap_err();
    let low = low.try_mapped().map_err(Frame::into_pfn).unwrap();
    // SAFETY: there is no direct map, and no pool.
    let out = unsafe { low.assume_unmapped() };
    // SAFETY: the frame holds nothing.
    let out = unsafe { out.try_anywhere() }.map(Frame::into_pfn).unwrap_err();
    // SAFETY: there is no direct map.
    frames.free(pinned(), unsafe { out.assume_mapped() });

    let high = frames.alloc_anywhere(pinned(), Request::new(order)).unwrap();
    assert!(high.is_high());
    // SAFETY: there is no pool.
    let out = unsafe { high.try_unmapped() }.map_err(Frame::into_pfn).unwrap();
    let pfn = out.pfn();
    // SAFETY: this is such a part, and the block's handle is used for nothing else meanwhile.
    let part = unsafe { out.part(pfn.plus(1), Order::BASE) }.unwrap();
    assert!(part.is_high(), "a part of a block past the map is past it");
    let _ = part.into_pfn();
    // SAFETY: the frame holds nothing, and no part of it is in use.
    let back = unsafe { out.try_anywhere() }.map_err(Frame::into_pfn).unwrap();
    assert_eq!((back.pfn(), back.order()), (pfn, order));
    let pfn = back.into_pfn();
    // SAFETY: the block's number was just made of its handle.
    unsafe {
        assert!(frames.from_pfn(pfn, order).map(Frame::into_pfn).is_err());
        frames.free(pinned(), frames.from_pfn_anywhere(pfn, order).unwrap());
    }
    frames.drain(pinned());
    assert_eq!(frames.free_frames(), 0x800);
    frames.validate().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the sizes, and whatever is asked for: no frame past the map is free when one in it is given to a request
    /// that reaches past it, and such requests never take the guard. Requests in the map get no frame past it.
    #[test]
    fn requests_of_both_sorts_against_a_count(
        low in 1u64..6,
        high in 1u64..40,
        guard in 0u64..0x800,
        steps in proptest::collection::vec((any::<bool>(), 0u8..4, any::<u16>()), 1..300),
    ) {
        let (start, limit) = (0x1000, 0x1000 + low * 512);
        let ranges = memory(&[(start, limit, 0), (limit, limit + high * 64, 0)]);
        let layout = Layout::new(&ranges, 1, Pfn::new(limit)).unwrap();
        let free = ranges.iter().map(|range| range.frames);
        // SAFETY: the frames have no memory, and nothing touches them.
        let frames = unsafe {
            Frames::new(TestMachine::new(1, 1), &layout, free, storage(layout.storage_bytes()))
        }.unwrap();
        be_cpu(0);
        frames.set_reserve(node(0), Zone::Dma32, 0);
        frames.set_reserve(node(0), Zone::High, 0);
        frames.set_high_guard(node(0), Zone::Dma32, guard);
        let guard = guard.min(low * 512);
        let mut held = Vec::<Frame<Anywhere>>::new();
        for (reaches_past, action, which) in steps {
            if action == 0 && !held.is_empty() {
                let frame = held.swap_remove(usize::from(which) % held.len());
                frames.free(pinned(), frame);
                continue;
            }
            let kind = Mobility::ALL[usize::from(which) % 3];
            let request = Request::new(Order::new(action - u8::from(action > 0)).unwrap()).kind(kind);
            if !reaches_past {
                if let Ok(frame) = frames.alloc(pinned(), request) {
                    prop_assert!(frame.pfn().get() < limit);
                    held.push(frame.into_anywhere());
                }
                continue;
            }
            let high_free = frames.totals().high_free;
            let Ok(frame) = frames.alloc_anywhere(pinned(), request) else { continue };
            if request.order == Order::BASE {
                prop_assert_eq!(frame.is_high(), high_free > 0);
            }
            prop_assert_eq!(frame.is_high(), frame.pfn().get() >= limit);
            if !frame.is_high() {
                prop_assert!(frames.levels(node(0), Zone::Dma32).free >= guard);
            }
            held.push(frame);
        }
        held.into_iter().for_each(|frame| frames.free(pinned(), frame));
        frames.drain(pinned());
        prop_assert_eq!(frames.free_frames(), low * 512 + high * 64);
        frames.validate().unwrap();
    }
}
