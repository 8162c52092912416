//! A checker of accesses is told of each frame that is given out and comes back, and of no other.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::vec::Vec;

use rhumb_machine::{MemoryUse, Order, Pfn, PfnRange, VirtAddr, VirtRange};

use super::machine::*;
use crate::{Frames, Layout, NothingMoves, Request};

const BASE: u64 = 1 << 20;
const LIMIT: u64 = BASE + 2048;
const END: u64 = BASE + 4096;
/// Where the direct map begins, so that an address is not taken for a frame's.
const MAP: u64 = 0xffff_8000_0000_0000;

std::thread_local! {
    static TOLD: RefCell<BTreeMap<u64, MemoryUse>> = const { RefCell::new(BTreeMap::new()) };
}

/// Writes down what the memory of each page may be used for.
fn tell(range: VirtRange, memory_use: MemoryUse) {
    let page = |addr: VirtAddr| (addr.get() - MAP) >> 12;
    let pages = page(range.start())..page(range.end());
    TOLD.with_borrow_mut(|told| told.extend(pages.map(|pfn| (pfn, memory_use))));
}

fn watched() -> Frames<TestMachine> {
    let memory = memory(&[(BASE, END, 0)]);
    let layout = Layout::new(&memory, 1, Pfn::new(LIMIT)).unwrap();
    let machine = TestMachine { base: VirtAddr::new(MAP), told: tell, ..TestMachine::new(1, 1) };
    // SAFETY: the frames have no memory, and nothing touches them.
    let frames = unsafe {
        Frames::new(machine, &layout, [range(BASE, END)], storage(layout.storage_bytes())).unwrap()
    };
    be_cpu(0);
    for report in frames.zones().collect::<Vec<_>>() {
        frames.set_reserve(report.node, report.zone, 0);
        frames.set_guard(report.node, report.zone, 0);
    }
    TOLD.with_borrow_mut(BTreeMap::clear);
    frames
}

/// Returns the frames of which the checker has been told this last.
fn told(memory_use: MemoryUse) -> Vec<u64> {
    TOLD.with_borrow(|told| told.iter().filter(|&(_, is)| *is == memory_use).map(|(&pfn, _)| pfn).collect())
}

fn numbers(range: PfnRange) -> Vec<u64> {
    range.iter().map(Pfn::get).collect()
}

#[test]
fn a_block_is_allowed_while_it_is_held() {
    for order in [0, 3, 9, 10].map(|order| Order::new(order).unwrap()) {
        let frames = watched();
        let frame = frames.alloc(pinned(), Request::new(order)).unwrap();
        let its = numbers(frame.frames());
        assert_eq!(told(MemoryUse::Allowed), its, "order {order}");
        assert_eq!(told(MemoryUse::FreeFrame), []);
        frames.free(pinned(), frame);
        assert_eq!(told(MemoryUse::FreeFrame), its, "order {order}");
        assert_eq!(told(MemoryUse::Allowed), []);
    }
}

#[test]
fn a_range_is_allowed_while_it_is_held() {
    let frames = watched();
    let wanted = range(BASE + 500, BASE + 1030);
    let held = frames.alloc_range(pinned(), wanted, &NothingMoves).unwrap();
    assert_eq!(told(MemoryUse::Allowed), numbers(wanted));
    assert_eq!(told(MemoryUse::FreeFrame), []);
    frames.free_range(pinned(), held).unwrap();
    assert_eq!(told(MemoryUse::FreeFrame), numbers(wanted));
    assert_eq!(told(MemoryUse::Allowed), []);
}

#[test]
fn of_frames_past_the_direct_map_no_address_is_told() {
    let frames = watched();
    let held = frames.alloc_range(pinned(), range(LIMIT + 5, LIMIT + 600), &NothingMoves).unwrap();
    let frame = frames.alloc_anywhere(pinned(), Request::FRAME).unwrap();
    assert!(frame.pfn().get() >= LIMIT);
    frames.free(pinned(), frame);
    frames.free_range(pinned(), held).unwrap();
    assert!(TOLD.with_borrow(BTreeMap::is_empty));
}
