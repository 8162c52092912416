//! The blocks that a compaction chooses, and how long it looks: budgets, turns, edges of pools, zones that would not
//! serve.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::vec::Vec;

use rhumb_machine::{Pfn, Pinned};

use super::machine::*;
use super::moving::{Mover, scattered};
use crate::{AllocClass, Anywhere, Compaction, Extent, Frame, Frames, Goal, Relocate, Request, Zone};

const BASE: u64 = 1 << 20;

#[test]
fn a_budget_bounds_it() {
    let (frames, mover) = scattered(32, 0);
    let done = frames.compact(pinned(), node(0), Goal::Anything, &mover, 300);
    assert_eq!((done.blocks, done.moved), (3, 384), "whole blocks: the last one is finished");
    frames.validate().unwrap();
}

#[test]
fn blocks_that_stay_do_not_use_up_each_budget() {
    const STUCK: u64 = 64;
    let frames = frames_over(1, &[(BASE, BASE + (STUCK + 20) * 512, 0)]);
    let request = Request::FRAME.movable();
    let all: Vec<_> = std::iter::from_fn(|| frames.alloc(pinned(), request).ok()).collect();
    let (mut held, mut stay, mut made) = (BTreeMap::new(), Vec::new(), Vec::new());
    for frame in all {
        let at = frame.pfn().get() - BASE;
        if at >= STUCK * 512 && at.is_multiple_of(3) {
            held.insert(frame.pfn().get(), frame.into_anywhere());
        } else if at < STUCK * 512 && at.is_multiple_of(512) {
            // One frame in each of the emptiest blocks: no owner can move it.
            stay.push(frame);
        } else {
            frames.free(pinned(), frame);
        }
    }
    frames.drain(pinned());
    let mover = Mover { held: RefCell::new(held), moves_left: Cell::new(u64::MAX) };
    // A budget is for fewer blocks than those that stay, or for one alone.
    for budget in core::iter::repeat_n(STUCK / 4 * Compaction::LEAST_COST, 10).chain([1; 400]) {
        frames.compact(pinned(), node(0), Goal::Anything, &mover, budget);
        made.push(frames.free_large_blocks());
    }
    frames.validate().unwrap();
    assert!(made[9] > 0 && made[409] >= 13, "of 20 blocks, whole after each call: {made:?}");
    mover.held.into_inner().into_values().for_each(|frame| frames.free(pinned(), frame));
    stay.into_iter().for_each(|frame| frames.free(pinned(), frame));
    frames.drain(pinned());
    frames.validate().unwrap();
    assert_eq!(frames.free_large_blocks(), STUCK + 20);
}

/// A pool whose blocks cannot be emptied does not keep the budget of each call from the node's other pools.
#[test]
fn pools_of_a_node_take_turns_where_one_is_stuck() {
    const BLOCKS: u64 = 40;
    let far = BASE + (1 << 20);
    let frames = frames_over(1, &[(BASE, BASE + BLOCKS * 512, 0), (far, far + BLOCKS * 512, 0)]);
    assert_eq!(frames.zones.pools.iter().count(), 2);
    let first = frames.zones.zonelist(0, Zone::High).next().unwrap().base.get();
    let request = Request::FRAME.movable();
    let all: Vec<_> = std::iter::from_fn(|| frames.alloc(pinned(), request).ok()).collect();
    let (mut held, mut stay) = (BTreeMap::new(), Vec::new());
    for frame in all {
        let at = frame.pfn().get();
        if !at.is_multiple_of(4) {
            frames.free(pinned(), frame);
        } else if (first..first + BLOCKS * 512).contains(&at) {
            stay.push(frame);
        } else {
            held.insert(at, frame.into_anywhere());
        }
    }
    frames.drain(pinned());
    let mover = Mover { held: RefCell::new(held), moves_left: Cell::new(u64::MAX) };
    let whole: Vec<u64> = (0..8)
        .map(|_| frames.compact(pinned(), node(0), Goal::Anything, &mover, 8 * Compaction::LEAST_COST).blocks)
        .collect();
    assert!(whole.iter().sum::<u64>() >= 3, "blocks made whole by each call: {whole:?}");
    frames.validate().unwrap();
    mover.held.into_inner().into_values().for_each(|frame| frames.free(pinned(), frame));
    stay.into_iter().for_each(|frame| frames.free(pinned(), frame));
}

/// A block of which a part is outside of the pool is no candidate, and does not hide those that are.
#[test]
fn blocks_at_the_edges_of_a_pool_are_left_alone() {
    let frames = frames_over(1, &[(BASE + 1, BASE + 10 * 512 + 500, 0)]);
    let request = Request::FRAME.movable();
    let all: Vec<_> = std::iter::from_fn(|| frames.alloc(pinned(), request).ok()).collect();
    let mut held = BTreeMap::new();
    for frame in all {
        let at = frame.pfn().get();
        let is_edge = !(BASE + 512..BASE + 10 * 512).contains(&at);
        // The edges are the emptiest in use, counted in frames.
        if at.is_multiple_of(if is_edge { 100 } else { 2 }) {
            held.insert(at, frame.into_anywhere());
        } else {
            frames.free(pinned(), frame);
        }
    }
    frames.drain(pinned());
    struct NoEdges(Mover);
    // SAFETY: as the mover.
    unsafe impl Relocate for NoEdges {
        fn extent(&self, pfn: Pfn) -> Option<Extent> {
            assert!((BASE + 512..BASE + 10 * 512).contains(&pfn.get()), "asked for {pfn}, at an edge");
            self.0.extent(pfn)
        }
        fn relocate(
            &self,
            pinned: Pinned<'_>,
            from: Extent,
            to: Frame<Anywhere>,
        ) -> Result<(), Frame<Anywhere>> {
            self.0.relocate(pinned, from, to)
        }
    }
    let mover = NoEdges(Mover { held: RefCell::new(held), moves_left: Cell::new(u64::MAX) });
    let done = frames.compact(pinned(), node(0), Goal::Anything, &mover, u64::MAX);
    assert!(done.blocks >= 4, "{done:?}");
    let NoEdges(mover) = mover;
    frames.validate().unwrap();
    mover.held.into_inner().into_values().for_each(|frame| frames.free(pinned(), frame));
}

/// Memory of 4,096 blocks, the last of which lies at the edge of its pool, all in use but for a few scattered frames: in
/// each of `blocks`, `used` frames are. Returns those of them that can be moved, and the rest.
fn large_and_scattered(blocks: [u64; 4], used: [u64; 4]) -> (Frames<TestMachine>, Mover, Vec<Frame>) {
    const BLOCKS: u64 = 4096;
    let frames = frames_over(1, &[(BASE, BASE + BLOCKS * 512 - 12, 0)]);
    let take = |request| std::iter::from_fn(|| frames.alloc(pinned(), request).ok()).collect::<Vec<_>>();
    let (scattered, mut rest): (Vec<_>, Vec<_>) = take(Request::LARGE.movable())
        .into_iter()
        .partition(|block| blocks.contains(&((block.pfn().get() - BASE) / 512)));
    scattered.into_iter().for_each(|block| frames.free(pinned(), block));
    frames.drain(pinned());
    let mut held = BTreeMap::new();
    for frame in take(Request::FRAME.movable()) {
        let at = frame.pfn().get() - BASE;
        match blocks.iter().position(|&block| block == at / 512) {
            Some(place) if at % 512 < used[place] => {
                held.insert(frame.pfn().get(), frame.into_anywhere());
            }
            Some(_) => frames.free(pinned(), frame),
            None => rest.push(frame),
        }
    }
    frames.drain(pinned());
    assert_eq!(frames.free_large_blocks(), 0);
    (frames, Mover { held: RefCell::new(held), moves_left: Cell::new(u64::MAX) }, rest)
}

/// A compaction for a request moves the frames of one block. In a pool of a tebibyte it finds one, too.
#[test]
fn an_edge_that_is_emptiest_hides_no_block_of_a_large_pool() {
    let (frames, mover, rest) = large_and_scattered([4095, 2000, 2100, 2200], [10, 100, 120, 140]);
    let made = [(); 3].map(|()| frames.compact(pinned(), node(0), Goal::Anything, &mover, 1).blocks);
    assert_eq!(made, [1; 3], "frames of the last one move to the edge");
    frames.validate().unwrap();
    mover.held.into_inner().into_values().for_each(|frame| frames.free(pinned(), frame));
    rest.into_iter().for_each(|frame| frames.free(pinned(), frame));
}

#[test]
fn a_block_that_stays_hides_no_other_of_a_large_pool() {
    let (frames, mover, mut rest) = large_and_scattered([1000, 2000, 2100, 2200], [1, 100, 120, 140]);
    let stays = mover.held.borrow_mut().remove(&(BASE + 1000 * 512)).unwrap();
    let made = [(); 4].map(|()| frames.compact(pinned(), node(0), Goal::Anything, &mover, 1).blocks);
    assert_eq!(made, [0, 1, 0, 1], "every second look goes to the block that stays");
    frames.validate().unwrap();
    rest.extend(stays.try_mapped().ok());
    mover.held.into_inner().into_values().for_each(|frame| frames.free(pinned(), frame));
    rest.into_iter().for_each(|frame| frames.free(pinned(), frame));
}

/// Of blocks that are alike, each is tried before one is tried again.
#[test]
fn blocks_of_one_bin_take_turns() {
    struct Stuck(RefCell<Vec<u64>>);
    // SAFETY: it names no block.
    unsafe impl Relocate for Stuck {
        fn extent(&self, pfn: Pfn) -> Option<Extent> {
            self.0.borrow_mut().push((pfn.get() - BASE) / 512);
            None
        }
        fn relocate(&self, _: Pinned<'_>, _: Extent, to: Frame<Anywhere>) -> Result<(), Frame<Anywhere>> {
            Err(to)
        }
    }
    let (frames, mover, rest) = large_and_scattered([1000, 2000, 2100, 2200], [100; 4]);
    let stuck = Stuck(RefCell::default());
    for _ in 0..8 {
        frames.compact(pinned(), node(0), Goal::Anything, &stuck, 1);
    }
    let tried = stuck.0.into_inner();
    let mut first = tried[..4].to_vec();
    first.sort_unstable();
    assert_eq!((first.as_slice(), &tried[..4]), ([1000, 2000, 2100, 2200].as_slice(), &tried[4..]));
    mover.held.into_inner().into_values().for_each(|frame| frames.free(pinned(), frame));
    rest.into_iter().for_each(|frame| frames.free(pinned(), frame));
}

#[test]
fn zones_that_would_not_serve_the_request_are_left_alone() {
    // The last 2 MiB below 16 MiB, and as much above: two zones.
    let below = 16 << 8;
    let frames = frames_over(1, &[(below - 4 * 512, below + 4 * 512, 0)]);
    let all: Vec<_> = [Zone::Normal, Zone::Dma]
        .into_iter()
        .map(|zone| Request::FRAME.movable().class(AllocClass::Emergency).ceiling(zone))
        .flat_map(|request| std::iter::from_fn(|| frames.alloc(pinned(), request).ok()).collect::<Vec<_>>())
        .collect();
    let mut held = BTreeMap::new();
    for frame in all {
        if frame.pfn().get() % 4 == 0 {
            held.insert(frame.pfn().get(), frame.into_anywhere());
        } else {
            frames.free(pinned(), frame);
        }
    }
    frames.drain(pinned());
    let mover = Mover { held: RefCell::new(held), moves_left: Cell::new(u64::MAX) };
    assert_eq!(frames.free_large_blocks(), 0);
    frames.set_guard(node(0), Zone::Dma, 4 * 512);
    let done = frames.compact(pinned(), node(0), Goal::Requests(Zone::Dma), &mover, 1);
    assert_eq!(done.blocks, 1, "not guarded from those that have no other zone");
    // Pools that serve most requests come first.
    let done = frames.compact(pinned(), node(0), Goal::Requests(Zone::Normal), &mover, 1);
    let above = frames.zone(node(0), Zone::Dma32).unwrap();
    assert_eq!((done.blocks, above.free_by_order[9]), (1, 1));
    let done = frames.compact(pinned(), node(0), Goal::Requests(Zone::Normal), &mover, u64::MAX);
    let below = frames.zone(node(0), Zone::Dma).unwrap();
    assert_eq!((done.blocks, below.free_by_order[9]), (2, 1), "what is guarded is left alone");
    let done = frames.compact(pinned(), node(0), Goal::Anything, &mover, u64::MAX);
    assert_eq!(done.blocks, 2);
    frames.validate().unwrap();
    mover.held.into_inner().into_values().for_each(|frame| frames.free(pinned(), frame));
}

#[test]
fn a_budget_bounds_the_looks_at_what_cannot_be_moved() {
    struct Stuck(Cell<u64>);
    // SAFETY: it names no block.
    unsafe impl Relocate for Stuck {
        fn extent(&self, _: Pfn) -> Option<Extent> {
            self.0.set(self.0.get() + 1);
            None
        }
        fn relocate(&self, _: Pinned<'_>, _: Extent, to: Frame<Anywhere>) -> Result<(), Frame<Anywhere>> {
            Err(to)
        }
    }
    for blocks in [32, 256] {
        let (frames, mover) = scattered(blocks, 0);
        let stuck = Stuck(Cell::new(0));
        let done = frames.compact(pinned(), node(0), Goal::Anything, &stuck, 64);
        assert_eq!((done.blocks, done.stuck, stuck.0.get()), (0, 4, 4), "of {blocks}");
        frames.validate().unwrap();
        // None is withheld afterwards.
        let done = frames.compact(pinned(), node(0), Goal::Anything, &mover, u64::MAX);
        assert_eq!(done.blocks, blocks / 4 * 3);
        mover.held.into_inner().into_values().for_each(|frame| frames.free(pinned(), frame));
    }
}
