//! The magazines of a CPU: which frames they keep, how many, and which of them come out again.

use std::vec::Vec;

use rhumb_machine::Order;

use super::machine::*;
use crate::{Frames, Mobility, Request, Zone};
use rhumb_sync::atomic::Relaxed;

const BASE: u64 = 1 << 20;
const BLOCKS: u64 = 512;

fn large_memory() -> Frames<TestMachine> {
    frames_over(1, &[(BASE, BASE + BLOCKS * 512, 0)])
}

fn order(order: u8) -> Order {
    Order::new(order).unwrap()
}

/// Frames in this CPU's magazines, those of open blocks not counted.
fn held(frames: &Frames<TestMachine>) -> u64 {
    let mut held = 0;
    frames.zones.for_each_cached(|_, raw| held += raw.order().frames());
    held
}

/// Lets this CPU's next frees stay with it, as a free that has looked at the pool does.
fn let_keep(frames: &Frames<TestMachine>, cap: u32) {
    frames.zones.keepers.join(cpu());
    frames.zones.cache(cpu()).unwrap().gate.bound(cap);
}

#[test]
fn a_magazine_with_room_takes_and_gives_with_interrupts_on() {
    let frames = large_memory();
    for request in Mobility::ALL.into_iter().flat_map(|kind| [0, 1, 3, 8, 9].map(|log2| (kind, order(log2))))
    {
        let request = Request::new(request.1).kind(request.0);
        // The first comes from the pools, and is the first that is kept.
        let first = frames.alloc(pinned(), request).unwrap();
        frames.free(pinned(), first);
        let stretches = irqs_off(|| {
            let again = frames.alloc(pinned(), request).unwrap();
            frames.free(pinned(), again);
        });
        assert_eq!(stretches, 0, "{request:?}");
    }
    frames.validate().unwrap();
}

#[test]
fn a_run_comes_with_more_only_from_memory_that_may_be_kept_here() {
    let (first, second) = ((BASE, BASE + 0x4000, 0), (BASE + 0x4000, BASE + 0x8000, 1));
    let dma = (0x200, 0x1000, 0);
    for (memory, keeps) in [(&[first][..], true), (&[dma], false), (&[first, second], true)] {
        for log2 in [1, 3] {
            let frames = frames_over(2, memory);
            let request = Request::new(order(log2));
            // The first call takes note of the node, and drains.
            frames.alloc(pinned(), request).map(|run| frames.free(pinned(), run)).unwrap();
            frames.drain(pinned());
            let_keep(&frames, 128);
            let run = frames.alloc(pinned(), request).unwrap();
            assert_eq!(held(&frames) > 0, keeps, "order {log2} of {memory:?}");
            assert_eq!(held(&frames) % request.order.frames(), 0);
            frames.free(pinned(), run);
            frames.validate().unwrap();
        }
    }
    // Runs of another node are handed out one by one.
    let frames = frames_over(2, &[first, second]);
    let all: Vec<_> =
        std::iter::from_fn(|| frames.alloc(pinned(), Request::FRAME.bind(node(0))).ok()).collect();
    frames.drain(pinned());
    let_keep(&frames, 128);
    let run = frames.alloc(pinned(), Request::new(order(3))).unwrap();
    assert_eq!(frames.describe(run.pfn()).unwrap().node, node(1));
    assert_eq!(held(&frames), 0);
    all.into_iter().chain([run]).for_each(|frame| frames.free(pinned(), frame));
}

#[test]
fn a_cpu_keeps_little_of_scarce_memory_and_nothing_of_the_reserve() {
    let present = BLOCKS * 512;
    // Above the high watermark, between the two, and below the low one: 3/2 and 5/4 of the least.
    for (reserve, sixteenths) in [(0, 16), (present * 72 / 100, 1), (present * 85 / 100, 0)] {
        let frames = large_memory();
        frames.set_reserve(node(0), Zone::Normal, reserve);
        let frame = frames.alloc(pinned(), Request::FRAME).unwrap();
        frames.free(pinned(), frame);
        let most = frames.zones.small_limit.load(Relaxed);
        assert!(most > 16 && most % 16 != most / 16, "{most} tells a part from a remainder");
        let cap = frames.zones.cache(cpu()).unwrap().gate.cap();
        assert_eq!(cap, (most * sixteenths / 16) as i32, "reserve {reserve}");
        frames.drain(pinned());
        assert_eq!(frames.free_frames(), present);
    }
}

#[test]
fn a_single_frame_freed_twice_is_refused_once_wherever_the_batch_has_it() {
    for between in [0, 1, 70] {
        let frames = large_memory();
        let pfn = frames.alloc(pinned(), Request::FRAME).unwrap().into_pfn();
        let others: Vec<_> = (0..between).map(|_| frames.alloc(pinned(), Request::FRAME).unwrap()).collect();
        // SAFETY: none; this is the mistake that is to be caught.
        let [first, second] = [(); 2].map(|()| unsafe { frames.from_pfn(pfn, Order::BASE) }.unwrap());
        frames.free(pinned(), first);
        others.into_iter().for_each(|frame| frames.free(pinned(), frame));
        frames.free(pinned(), second);
        frames.drain(pinned());
        assert_eq!(frames.refused_frees(), 1, "{between} between the two");
        assert_eq!(frames.free_frames(), BLOCKS * 512);
        frames.validate().unwrap();
    }
}

/// A frame in a magazine that the pool has as free, too, would be given out twice.
#[cfg(not(feature = "checked"))]
#[test]
fn the_check_finds_a_frame_that_is_free_and_in_a_magazine() {
    use rhumb_machine::Pfn;

    let frames = large_memory();
    let taken = frames.alloc_range(pinned(), range(BASE + 100, BASE + 200), &crate::NothingMoves).unwrap();
    let cache = frames.zones.cache(cpu()).unwrap();
    let warm = frames.alloc(pinned(), Request::new(order(9))).unwrap();
    frames.free(pinned(), warm);
    frames.drain(pinned());
    let_keep(&frames, 64);
    for (pfn, is_found) in [(BASE + 150, false), (BASE + 99, true), (BASE + 200, true), (BASE + 600, true)] {
        frames.validate().unwrap();
        let pool = frames.zones.pool_of(Pfn::new(pfn)).unwrap();
        assert_eq!(pool.is_free(Pfn::new(pfn)), is_found, "{pfn:#x}");
        assert!(cache.push(pool.tag.at(Pfn::new(pfn), Order::BASE, Mobility::Movable)));
        let found = frames.validate();
        assert_eq!(
            found,
            if is_found { Err(crate::Inconsistency::CachedTwice(Pfn::new(pfn))) } else { Ok(()) }
        );
        assert!(cache.pop(Order::BASE, Mobility::Movable).is_some());
    }
    frames.free_range(pinned(), taken).unwrap();
}
