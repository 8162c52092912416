//! The order of fallback, reserves and classes, reclaimers, mobility kinds.

use std::boxed::Box;
use std::collections::HashSet;
use std::sync::Mutex;
use std::vec::Vec;

use rhumb_machine::{MAX_NODES, Order, Pfn, Pinned};

use super::machine::*;
use crate::{AllocClass, AllocError, Frame, Frames, Layout, Mobility, Reclaimer, Request, Shortage, Zone};

const DMA: (u64, u64, usize) = (0x200, 0x600, 0);
const DMA32: (u64, u64, usize) = (0x1000, 0x1400, 0);
const DIRECT0: (u64, u64, usize) = (1 << 20, (1 << 20) + 0x400, 0);
const DIRECT1: (u64, u64, usize) = ((1 << 20) + 0x400, (1 << 20) + 0x800, 1);

/// Returns the zones and nodes that requests get frames from, until nothing is left.
fn order_of_places(frames: &Frames<TestMachine>, request: Request) -> Vec<(Zone, usize)> {
    let mut places = Vec::new();
    let mut held = Vec::new();
    while let Ok(frame) = frames.alloc(pinned(), request) {
        let at = frames.describe(frame.pfn()).unwrap();
        if places.last() != Some(&(at.zone, at.node.index())) {
            places.push((at.zone, at.node.index()));
        }
        held.push(frame);
    }
    held.into_iter().for_each(|frame| frames.free(pinned(), frame));
    frames.drain(pinned());
    frames.validate().unwrap();
    places
}

#[test]
fn own_node_highest_zone_first_then_by_distance_and_dma_last() {
    let frames = frames_over(2, &[DMA, DMA32, DIRECT0, DIRECT1]);
    let own = [(Zone::Normal, 0), (Zone::Dma32, 0), (Zone::Normal, 1), (Zone::Dma, 0)];
    for order in [0, 4, 9].map(|order| Order::new(order).unwrap()) {
        let request = Request::new(order);
        assert_eq!(order_of_places(&frames, request), own);
        assert_eq!(order_of_places(&frames, request.ceiling(Zone::Dma32)), [own[1], own[3]]);
        assert_eq!(order_of_places(&frames, request.bind(node(1))), own[2..3]);
        let away = order_of_places(&frames, request.prefer(node(1)));
        assert_eq!(away, [own[2], own[0], own[1], own[3]]);
        be_cpu(1);
        assert_eq!(order_of_places(&frames, request), away, "CPU 1 is on node 1");
        be_cpu(0);
    }
}

#[test]
fn other_nodes_come_in_the_order_of_the_distances_that_the_layout_has() {
    let memory = memory(&[DIRECT0, DIRECT1, (DIRECT1.1, DIRECT1.1 + 0x400, 2)]);
    // Not alike in both directions, as a table of a firmware need not be.
    let mut table = std::vec![255; 3 * MAX_NODES];
    for (from, row) in [[10, 40, 20], [15, 10, 30], [50, 25, 10]].iter().enumerate() {
        table[from * MAX_NODES..][..3].copy_from_slice(row);
    }
    let layout = Layout::new(&memory, 3, Pfn::new(1 << 34)).unwrap();
    for (layout, orders) in [
        (layout, [[0, 1, 2], [1, 0, 2], [2, 0, 1]]),
        (layout.distances(&table), [[0, 2, 1], [1, 0, 2], [2, 1, 0]]),
    ] {
        let machine = TestMachine::new(3, 3);
        let free = memory.iter().map(|range| range.frames);
        // SAFETY: the frames have no memory, and nothing touches them.
        let frames = unsafe { Frames::new(machine, &layout, free, storage(layout.storage_bytes())) }.unwrap();
        (0..3).for_each(|index| {
            frames.set_reserve(node(index), Zone::Normal, 0);
            frames.set_guard(node(index), Zone::Normal, 0);
        });
        for (cpu, order) in orders.into_iter().enumerate() {
            be_cpu(cpu);
            let wanted = order.map(|node| (Zone::Normal, node));
            assert_eq!(order_of_places(&frames, Request::new(Order::new(4).unwrap())), wanted, "CPU {cpu}");
        }
        be_cpu(0);
    }
}

#[test]
fn classes_stop_where_they_should() {
    let frames = frames_over(1, &[DIRECT0]);
    frames.set_reserve(node(0), Zone::Normal, 64);
    let request = Request::new(Order::new(1).unwrap());
    let take =
        |class| std::iter::from_fn(|| frames.alloc(pinned(), request.class(class)).ok()).collect::<Vec<_>>();
    let mut held = Vec::new();
    for (class, left) in [
        (AllocClass::Ordinary, 64),
        (AllocClass::Spare, 64),
        (AllocClass::Atomic, 32),
        (AllocClass::PageTables, 16),
        (AllocClass::Emergency, 0),
    ] {
        held.extend(take(class));
        assert_eq!(frames.free_frames(), left, "{class:?}");
        assert!(frames.is_short(node(0)));
    }
    held.into_iter().for_each(|frame| frames.free(pinned(), frame));
    assert!(!frames.is_short(node(0)));
    let levels = frames.levels(node(0), Zone::Normal);
    assert_eq!((levels.min, levels.low, levels.high), (64, 80, 96));
}

#[test]
fn a_low_zone_is_guarded_from_those_who_could_go_higher() {
    let frames = frames_over(1, &[DMA32, DIRECT0]);
    frames.set_guard(node(0), Zone::Dma32, 0x100);
    let held: Vec<_> = std::iter::from_fn(|| frames.alloc(pinned(), Request::FRAME).ok()).collect();
    assert_eq!(frames.levels(node(0), Zone::Dma32).free, 0x100);
    let low = frames.alloc(pinned(), Request::FRAME.ceiling(Zone::Dma32)).unwrap();
    frames.free(pinned(), low);
    held.into_iter().for_each(|frame| frames.free(pinned(), frame));
}

#[test]
fn the_highest_zone_is_guarded_from_nobody() {
    let left_of_dma32 = |ranges: &[(u64, u64, usize)]| {
        let frames = frames_as_built(1, &memory(ranges), 1 << 34);
        frames.set_reserve(node(0), Zone::Dma32, 0);
        let held: Vec<_> = std::iter::from_fn(|| frames.alloc(pinned(), Request::FRAME).ok()).collect();
        let left = frames.levels(node(0), Zone::Dma32).free;
        held.into_iter().for_each(|frame| frames.free(pinned(), frame));
        left
    };
    assert_eq!(left_of_dma32(&[DMA32]), 0, "there is nothing higher up");
    assert_eq!(left_of_dma32(&[DMA32, DIRECT0]), 0x400 / 64);
}

/// Gives back what it was lent, a frame a call.
struct Lender {
    frames: &'static Frames<TestMachine>,
    lent: Mutex<Vec<Frame>>,
    calls: Mutex<Vec<&'static str>>,
}

struct Named(&'static str, &'static Lender);

impl Reclaimer for Named {
    fn name(&self) -> &str {
        self.0
    }

    fn reclaim(&self, pinned: Pinned<'_>, shortage: &Shortage) -> u64 {
        self.1.calls.lock().unwrap().push(self.0);
        // A reclaimer's own request calls no reclaimer.
        assert!(self.1.frames.alloc(pinned, Request::new(shortage.order)).is_err());
        if self.0 == "empty" {
            return 0;
        }
        let Some(frame) = self.1.lent.lock().unwrap().pop() else { return 0 };
        self.1.frames.free(pinned, frame);
        1
    }
}

#[test]
fn reclaimers_are_called_in_order_until_one_helps() {
    let frames: &'static _ = Box::leak(Box::new(frames_over(1, &[DIRECT0])));
    let lent: Vec<_> = (0..2).map(|_| frames.alloc(pinned(), Request::FRAME).unwrap()).collect();
    let lender: &'static _ =
        Box::leak(Box::new(Lender { frames, lent: Mutex::new(lent), calls: Mutex::default() }));
    for name in ["empty", "cache", "never"] {
        frames.register_reclaimer(Box::leak(Box::new(Named(name, lender)))).unwrap();
    }
    let mut held: Vec<_> = Vec::new();
    let error = loop {
        match frames.alloc(pinned(), Request::FRAME) {
            Ok(frame) => held.push(frame),
            Err(error) => break error,
        }
    };
    assert_eq!(error, AllocError::Exhausted(Order::BASE));
    assert_eq!(
        *lender.calls.lock().unwrap(),
        ["empty", "cache", "empty", "cache", "empty", "cache", "never"]
    );
    assert_eq!((held.len(), frames.free_frames()), (0x400, 0));
    for class in [AllocClass::Spare, AllocClass::Atomic, AllocClass::Emergency] {
        assert!(frames.alloc(pinned(), Request::FRAME.class(class)).is_err());
    }
    assert_eq!(lender.calls.lock().unwrap().len(), 7, "these classes call no lender");
    held.into_iter().for_each(|frame| frames.free(pinned(), frame));
}

#[test]
fn kinds_keep_to_their_own_blocks() {
    let frames = frames_over(1, &[(1 << 20, (1 << 20) + 32 * 512, 0)]);
    let mut held = Vec::new();
    for round in 0..600u32 {
        for kind in Mobility::ALL {
            let order = Order::new((round % 4) as u8).unwrap();
            held.push(frames.alloc(pinned(), Request::new(order).kind(kind)).unwrap());
        }
    }
    for frame in &held {
        assert_eq!(frames.describe(frame.pfn()).unwrap().kind, frame.kind());
    }
    let zone = frames.zone(node(0), Zone::Normal).unwrap();
    assert!(zone.blocks_by_kind.iter().all(|&blocks| blocks <= 6), "{:?}", zone.blocks_by_kind);
    let highest_unmovable = held.iter().filter(|f| f.kind() != Mobility::Movable).map(Frame::pfn).max();
    let lowest_movable = held.iter().filter(|f| f.kind() == Mobility::Movable).map(Frame::pfn).min();
    assert!(highest_unmovable < lowest_movable, "they grow from opposite ends");
    held.into_iter().for_each(|frame| frames.free(pinned(), frame));
}

#[test]
fn a_stolen_block_changes_its_kind() {
    let frames = frames_over(1, &[(1 << 20, (1 << 20) + 2 * 512, 0)]);
    let movable: Vec<_> = (0..4)
        .map(|_| frames.alloc(pinned(), Request::new(Order::new(7).unwrap()).movable()).unwrap())
        .collect();
    let other: Vec<_> = (0..3)
        .map(|_| frames.alloc(pinned(), Request::new(Order::new(7).unwrap()).movable()).unwrap())
        .collect();
    // No whole block is left: the last quarter is stolen, and its block is unmovable from then on.
    let frame = frames.alloc(pinned(), Request::new(Order::new(5).unwrap())).unwrap();
    assert_eq!(frames.describe(frame.pfn()).unwrap().kind, Mobility::Unmovable);
    frames.free(pinned(), frame);
    movable.into_iter().chain(other).for_each(|frame| frames.free(pinned(), frame));
    frames.drain(pinned());
    frames.validate().unwrap();
    assert_eq!(frames.free_large_blocks(), 2);
}

#[test]
fn frames_of_another_node_go_home_in_batches() {
    let frames = frames_over(2, &[DIRECT0, DIRECT1]);
    let held: Vec<_> =
        (0..200).map(|_| frames.alloc(pinned(), Request::FRAME.bind(node(0))).unwrap()).collect();
    be_cpu(1);
    let before = frames.levels(node(0), Zone::Normal).free;
    held.into_iter().for_each(|frame| frames.free(pinned(), frame));
    let after = frames.levels(node(0), Zone::Normal).free;
    assert!(after > before, "some are home");
    frames.drain(pinned());
    assert_eq!(frames.zone(node(0), Zone::Normal).unwrap().cached, frames.totals().cached);
    let frame = frames.alloc(pinned(), Request::FRAME).unwrap();
    assert_eq!(frames.describe(frame.pfn()).unwrap().node, node(1));
    frames.free(pinned(), frame);
    frames.validate().unwrap();
}

#[test]
fn single_frames_and_long_runs_break_different_blocks() {
    let frames = frames_over(1, &[(1 << 20, (1 << 20) + 32 * 512, 0)]);
    let mut held = Vec::new();
    let mut blocks = [HashSet::new(), HashSet::new(), HashSet::new()];
    for _ in 0..64 {
        for order in [0, 4, 7] {
            let frame = frames.alloc(pinned(), Request::new(Order::new(order).unwrap())).unwrap();
            blocks[usize::from(order) / 3].insert(frame.pfn().get() / 512);
            held.push(frame);
        }
    }
    assert!(blocks[0].is_disjoint(&blocks[1]) && blocks[0].is_disjoint(&blocks[2]));
    assert!(blocks[1].is_disjoint(&blocks[2]));
    // With no whole block left, any run will do.
    while let Ok(frame) = frames.alloc(pinned(), Request::LARGE) {
        held.push(frame);
    }
    frames.drain(pinned());
    let (single, free) = (held.len(), frames.free_frames());
    while let Ok(frame) = frames.alloc(pinned(), Request::FRAME) {
        held.push(frame);
    }
    assert_eq!((held.len() - single) as u64, free, "every frame is served");
    frames.validate().unwrap();
    held.into_iter().for_each(|frame| frames.free(pinned(), frame));
}

#[test]
fn a_cpu_that_learns_its_node_late_is_served_from_it() {
    let middle = (1 << 20) + 8 * 512;
    let mut frames = frames_over(2, &[(1 << 20, middle, 0), (middle, middle + 8 * 512, 1)]);
    // The machine says node 0 of each CPU, until they run.
    frames.machine.nodes = 1;
    be_cpu(1);
    let early: Vec<_> = [0, 4, 9]
        .map(|order| frames.alloc(pinned(), Request::new(Order::new(order).unwrap())).unwrap())
        .into();
    assert!(early.iter().all(|frame| frames.describe(frame.pfn()).unwrap().node == node(0)));
    early.into_iter().for_each(|frame| frames.free(pinned(), frame));
    frames.machine.nodes = 2;
    // The first visit to the pools learns the node, and gives back what was kept before.
    let first = frames.alloc(pinned(), Request::new(Order::new(10).unwrap())).unwrap();
    frames.free(pinned(), first);
    for order in [0, 4, 8, 9] {
        let frame = frames.alloc(pinned(), Request::new(Order::new(order).unwrap())).unwrap();
        assert_eq!(frames.describe(frame.pfn()).unwrap().node, node(1), "order {order}");
        frames.free(pinned(), frame);
        assert!(frames.zones.cache(cpu()).unwrap().held() > 0, "it is kept as one of the own node");
    }
    frames.drain(pinned());
    be_cpu(0);
    frames.validate().unwrap();
}

#[test]
fn the_reserve_does_not_reach_normal_requests_through_the_caches() {
    for class in [AllocClass::Atomic, AllocClass::PageTables, AllocClass::Emergency] {
        for order in [0, 2] {
            let frames = frames_over(1, &[(1 << 20, (1 << 20) + 64 * 512, 0)]);
            frames.set_reserve(node(0), Zone::Normal, 2048);
            let request = Request::new(Order::new(order).unwrap());
            let normal = || std::iter::from_fn(|| frames.alloc(pinned(), request).ok()).collect::<Vec<_>>();
            let mut held = normal();
            assert_eq!(frames.free_frames(), 2048);
            for _ in 0..64 {
                let frame = frames.alloc(pinned(), request.class(class)).unwrap();
                assert_eq!(normal().len(), 0, "{class:?}, order {order}");
                // Nor by being freed.
                frames.free(pinned(), frame);
                assert_eq!(normal().len(), 0, "{class:?}, order {order}");
                held.push(frames.alloc(pinned(), request.class(class)).unwrap());
            }
            held.into_iter().for_each(|frame| frames.free(pinned(), frame));
        }
    }
}

/// Nor do frames that a zone keeps for requests which have no other.
#[test]
fn a_guard_does_not_reach_normal_requests_through_the_caches() {
    for class in [AllocClass::Ordinary, AllocClass::Atomic, AllocClass::PageTables, AllocClass::Emergency] {
        for order in [0, 2, 7] {
            let frames =
                frames_over(1, &[(1 << 19, (1 << 19) + 64 * 512, 0), (1 << 20, (1 << 20) + 64 * 512, 0)]);
            frames.set_guard(node(0), Zone::Dma32, 32 * 512);
            let request = Request::new(Order::new(order).unwrap());
            let normal = || std::iter::from_fn(|| frames.alloc(pinned(), request).ok()).collect::<Vec<_>>();
            let mut held = normal();
            assert_eq!(frames.free_frames(), 32 * 512);
            for _ in 0..32 {
                let ceiling = if class == AllocClass::Ordinary { Zone::Dma32 } else { Zone::Normal };
                // As after a free that found enough memory.
                frames.zones.cache(cpu()).unwrap().gate.bound(1024);
                let frame = frames.alloc(pinned(), request.class(class).ceiling(ceiling)).unwrap();
                assert_eq!(normal().len(), 0, "{class:?}, order {order}");
                // Nor by being freed.
                frames.free(pinned(), frame);
                assert_eq!(normal().len(), 0, "{class:?}, order {order}");
                held.push(frames.alloc(pinned(), request.class(class).ceiling(ceiling)).unwrap());
            }
            held.into_iter().for_each(|frame| frames.free(pinned(), frame));
        }
    }
}

#[test]
fn what_is_set_for_a_zone_is_spread_over_its_pools_and_never_more_than_they_have() {
    let hole = 1 << 19;
    let frames =
        frames_over(1, &[(1 << 20, (1 << 20) + 0x800, 0), ((1 << 20) + hole, (1 << 20) + hole + 0x800, 0)]);
    frames.set_guard(node(0), Zone::Normal, 0x100);
    let guards = || {
        frames.zones.pools.iter().map(|pool| pool.marks.guard.load(rhumb_sync::atomic::Relaxed)).sum::<u64>()
    };
    assert_eq!(guards(), 0x100);
    frames.set_guard(node(0), Zone::Normal, u64::MAX);
    assert_eq!(guards(), 0x1000);
    frames.set_guard(node(0), Zone::Normal, 0);
    frames.set_reserve(node(0), Zone::Normal, u64::MAX);
    assert_eq!(frames.levels(node(0), Zone::Normal).min, 0x1000);
    for order in [0, 5, 9, 10] {
        assert!(frames.alloc(pinned(), Request::new(Order::new(order).unwrap())).is_err());
    }
}

#[test]
fn frees_of_another_nodes_frames_do_not_bound_this_nodes_caches() {
    let frames = frames_over(
        2,
        &[(1 << 20, (1 << 20) + 64 * 512, 0), ((1 << 20) + 64 * 512, (1 << 20) + 128 * 512, 1)],
    );
    let all: Vec<_> =
        std::iter::from_fn(|| frames.alloc(pinned(), Request::FRAME.bind(node(1))).ok()).collect();
    frames.set_reserve(node(1), Zone::Normal, 1 << 14);
    let mine = frames.alloc(pinned(), Request::FRAME).unwrap();
    frames.free(pinned(), mine);
    let cap = frames.zones.cache(cpu()).unwrap().gate.cap();
    assert!(cap > 0);
    for frame in all {
        frames.free(pinned(), frame);
        assert_eq!(frames.zones.cache(cpu()).unwrap().gate.cap(), cap);
    }
    frames.drain(pinned());
    frames.validate().unwrap();
}

struct Panics;

impl Reclaimer for Panics {
    fn name(&self) -> &str {
        "panics"
    }

    fn reclaim(&self, _: Pinned<'_>, _: &Shortage) -> u64 {
        panic!("on purpose")
    }
}

#[test]
fn a_reclaimer_that_panics_is_called_again() {
    let frames = frames_over(1, &[DIRECT0]);
    frames.register_reclaimer(&Panics).unwrap();
    for _ in 0..2 {
        let ask = std::panic::AssertUnwindSafe(|| frames.alloc(pinned(), Request::HUGE).map(Frame::into_pfn));
        assert!(std::panic::catch_unwind(ask).is_err());
    }
}
