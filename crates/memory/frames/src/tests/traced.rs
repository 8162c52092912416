//! A traced allocator tells of each allocation and free, once, and does the same as an untraced one.

use std::cell::RefCell;
use std::vec::Vec;

use rhumb_machine::{MemoryEvent, Order, Pfn};

use super::machine::*;
use crate::{Frames, Layout, NothingMoves, Owner, Request, Zone};

std::thread_local! {
    static TOLD: RefCell<Vec<MemoryEvent>> = const { RefCell::new(Vec::new()) };
}

/// Returns what this thread was told since the last call.
fn told() -> Vec<MemoryEvent> {
    TOLD.take()
}

const BASE: u64 = 1 << 20;
const COUNT: u64 = 4096;

/// Returns an allocator with descriptors, whose last half is past the direct map.
fn traced() -> Frames<TestMachine> {
    let memory = memory(&[(BASE, BASE + COUNT, 0)]);
    let layout = Layout::new(&memory, 2, Pfn::new(BASE + COUNT / 2)).unwrap();
    let traced = |event: &MemoryEvent| TOLD.with_borrow_mut(|told| told.push(*event));
    let machine = TestMachine { traced, ..TestMachine::new(2, 1) };
    let free = memory.iter().map(|range| range.frames);
    // SAFETY: the frames have no memory, and nothing touches them; the array covers every block.
    let frames = unsafe {
        Frames::new(machine, &layout, free, storage(layout.storage_bytes()))
            .unwrap()
            .with_descriptors(descriptors(BASE + COUNT))
    };
    be_cpu(0);
    frames
}

#[test]
fn each_allocation_and_free_is_told_once_while_it_is_traced() {
    let frames = traced();
    let requests = [0, 0, 3, 9, 10].map(|order| Request::new(Order::new(order).unwrap()));
    let owned = Request::FRAME.owner(Owner(5));
    for is_traced in [false, true, false, true] {
        frames.set_traced(is_traced);
        for request in requests.into_iter().chain([owned]) {
            // Twice, so that the second comes from the magazine.
            for _ in 0..2 {
                let frame = frames.alloc(pinned(), request).unwrap();
                let (first, count) = (frame.pfn(), request.order.frames());
                let owner = request.owner.0;
                let expected = MemoryEvent::FramesAllocated { first, frames: count, owner };
                assert_eq!(told(), if is_traced { std::vec![expected] } else { Vec::new() });
                frames.free(pinned(), frame);
                let expected = MemoryEvent::FramesFreed { first, frames: count, owner };
                assert_eq!(told(), if is_traced { std::vec![expected] } else { Vec::new() });
            }
        }
    }
    frames.drain(pinned());
    assert_eq!(frames.free_frames(), COUNT);
    frames.validate().unwrap();
}

#[test]
fn ranges_and_memory_past_the_map_are_told_of() {
    let frames = traced();
    frames.set_traced(true);
    let high = frames.alloc_anywhere(pinned(), Request::FRAME.ceiling(Zone::High)).unwrap();
    let first = high.pfn();
    assert_eq!(told(), [MemoryEvent::FramesAllocated { first, frames: 1, owner: 0 }]);
    frames.free(pinned(), high);
    assert_eq!(told(), [MemoryEvent::FramesFreed { first, frames: 1, owner: 0 }]);
    let wanted = range(BASE + 100, BASE + 110);
    let held = frames.alloc_range(pinned(), wanted, &NothingMoves).unwrap();
    assert_eq!(told(), [MemoryEvent::FramesAllocated { first: wanted.start(), frames: 10, owner: 0 }]);
    frames.free_range(pinned(), held).unwrap();
    assert_eq!(told(), [MemoryEvent::FramesFreed { first: wanted.start(), frames: 10, owner: 0 }]);
    // A request that fails is not told.
    assert!(frames.alloc(pinned(), Request::new(Order::new(18).unwrap())).is_err());
    assert_eq!(told(), []);
}

#[test]
fn the_magazine_serves_a_traced_allocator_too() {
    let frames = traced();
    let frame = frames.alloc(pinned(), Request::FRAME).unwrap();
    frames.free(pinned(), frame);
    frames.set_traced(true);
    let visits = lock_visits(|| {
        for _ in 0..100 {
            let frame = frames.alloc(pinned(), Request::FRAME).unwrap();
            frames.free(pinned(), frame);
        }
    });
    assert_eq!(visits, 0);
}
