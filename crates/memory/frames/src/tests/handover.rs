//! From the boot allocator to this one without loss, and memory that comes later.

use std::vec::Vec;

use proptest::prelude::*;
use rhumb_machine::{MAX_CPUS, MAX_NODES, Order, Pfn};

use super::machine::*;
use crate::{Frame, FrameRange, Frames, Layout, MemoryRange, Request, Zone};

const SPAN: u64 = 6 * 512;

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any set of free ranges in ragged memory over two nodes: exactly those frames come out, and the others can be
    /// given back afterwards.
    #[test]
    fn exactly_the_free_frames_are_taken_over(mut cuts in proptest::collection::btree_set(0..SPAN, 2..24), split in 1..SPAN) {
        cuts.insert(0);
        let cuts: Vec<_> = cuts.into_iter().map(|cut| cut + (1 << 20)).collect();
        let middle = (1 << 20) + split;
        let memory = memory(&[(1 << 20, middle, 0), (middle, (1 << 20) + SPAN, 1)]);
        let layout = Layout::new(&memory, 1, Pfn::new(1 << 34)).unwrap();
        let machine = TestMachine::new(1, 1);
        be_cpu(0);
        let free: Vec<_> = cuts.chunks_exact(2).map(|pair| range(pair[0], pair[1])).collect();
        let storage = storage(layout.storage_bytes());
        // SAFETY: there is no memory behind the frames.
        let frames = unsafe { Frames::new(machine, &layout, free.iter().copied(), storage) }.unwrap();
        frames.validate().unwrap();
        (0..2).for_each(|index| frames.set_reserve(node(index), Zone::Normal, 0));
        let expected: Vec<_> = free.iter().flat_map(|range| range.iter()).collect();
        prop_assert_eq!(frames.free_frames(), expected.len() as u64);
        let held: Vec<_> = std::iter::from_fn(|| frames.alloc(pinned(), Request::FRAME).ok()).collect();
        let mut got: Vec<_> = held.iter().map(Frame::pfn).collect();
        got.sort_unstable();
        prop_assert_eq!(got, expected);
        held.into_iter().for_each(|frame| frames.free(pinned(), frame));
        frames.drain(pinned());
        // The frames of boot data and the RAM disk.
        let mut at = 1 << 20;
        for taken in free.iter().copied().chain([range((1 << 20) + SPAN, (1 << 20) + SPAN)]) {
            // SAFETY: these frames have no holder.
            let boot = unsafe { FrameRange::assume(range(at, taken.start().get())) };
            frames.free_range(pinned(), boot).unwrap();
            at = taken.end().get();
        }
        frames.validate().unwrap();
        prop_assert_eq!(frames.free_frames(), SPAN);
    }
}

#[test]
fn memory_comes_later() {
    let frames = frames_over(2, &[(1 << 20, (1 << 20) + 1024, 0), (1 << 21, (1 << 21) + 1024, 1)]);
    let added = memory(&[((1 << 20) + 4096, (1 << 20) + 4096 + 700, 0)])[0];
    // SAFETY: there is no memory behind the frames.
    unsafe { frames.add_memory(added, storage(1 << 16)) }.unwrap();
    frames.validate().unwrap();
    assert_eq!(frames.zone(node(0), Zone::Normal).unwrap().present, 1724);
    frames.set_reserve(node(0), Zone::Normal, 0);
    let held: Vec<_> = std::iter::from_fn(|| frames.alloc(pinned(), Request::FRAME).ok()).collect();
    assert_eq!(held.len(), 2748);
    let first_away = held.iter().position(|frame| frame.pfn().get() >= 1 << 21).unwrap();
    assert_eq!(first_away, 1724, "all of the own node first, the added memory too");
    held.into_iter().for_each(|frame| frames.free(pinned(), frame));
    frames.validate().unwrap();
}

#[test]
fn a_hole_costs_nothing_and_a_terabyte_little() {
    let near = memory(&[(1 << 20, (1 << 20) + (1 << 18), 0)]);
    let far = memory(&[(1 << 20, (1 << 20) + (1 << 17), 0), (1 << 28, (1 << 28) + (1 << 17), 0)]);
    let bytes = |memory: &[MemoryRange]| Layout::new(memory, 1, Pfn::new(1 << 34)).unwrap().storage_bytes();
    assert!(bytes(&far) < bytes(&near) + (16 << 10), "{} {}", bytes(&far), bytes(&near));
    let terabyte = memory(&[(1 << 20, (1 << 20) + (1 << 28), 0)]);
    let per_frame = bytes(&terabyte) as f64 / f64::from(1 << 28);
    assert!(per_frame < 0.16, "{per_frame}");
    let frames = frames_over(1, &[(1 << 20, (1 << 20) + (1 << 28), 0)]);
    let huge: Vec<_> = std::iter::from_fn(|| frames.alloc(pinned(), Request::HUGE).ok()).collect();
    assert_eq!(huge.len(), 1024);
    huge.into_iter().for_each(|frame| frames.free(pinned(), frame));
    assert_eq!(frames.zone(node(0), Zone::Normal).unwrap().free_by_order[Order::HUGE.get() as usize], 1024);
}

/// Frames of each node that come out, of memory that is all free.
fn by_node(ranges: &[(u64, u64, usize)]) -> (u64, usize) {
    let memory = memory(ranges);
    let layout = Layout::new(&memory, 1, Pfn::new(1 << 40)).unwrap();
    let frames = frames_with(1, &memory, 1 << 40);
    frames.validate().unwrap();
    let total: u64 = memory.iter().map(|range| range.frames.frames()).sum();
    assert_eq!((frames.totals().present, frames.free_frames()), (total, total));
    for range in &memory {
        let place = frames.describe(range.frames.start()).unwrap();
        assert!(layout.misplaced_frames() > 0 || place.node == range.node);
    }
    (layout.misplaced_frames(), frames.zones.pools.iter().count())
}

#[test]
fn sixty_four_nodes_of_three_zones_fit() {
    // Each node has memory below 16 MiB, below 4 GiB, and above.
    let zones = [(64, 48), (1 << 13, 1 << 13), (1 << 20, 1 << 20)];
    let ranges: Vec<_> = zones
        .iter()
        .flat_map(|&(base, stride)| {
            (0..64).map(move |node| (base + node * stride, base + (node + 1) * stride, node as usize))
        })
        .map(|(start, end, node)| (start, start + (end - start).min(600), node))
        .collect();
    assert_eq!(by_node(&ranges), (0, 192));
}

/// 64 TiB on 64 nodes with 1,024 CPUs: of each node's TiB its last GiB is there, the last one of which ends at 2^34.
#[test]
fn the_most_cpus_share_the_most_memory() {
    const FRAMES_OF_NODE: u64 = 1 << 28;
    let of_node =
        |node: u64| ((node + 1) * FRAMES_OF_NODE - (1 << 18), (node + 1) * FRAMES_OF_NODE, node as usize);
    let ranges: Vec<_> = (0..MAX_NODES as u64).map(of_node).collect();
    let frames = frames_over(MAX_CPUS, &ranges);
    let mut held = Vec::new();
    for cpu in (0..MAX_CPUS).step_by(31) {
        be_cpu(cpu);
        let (start, end, _) = ranges[cpu % MAX_NODES];
        for order in [0, 3, 9] {
            let frame = frames.alloc(pinned(), Request::new(Order::new(order).unwrap())).unwrap();
            let is_near = (start..end).contains(&frame.pfn().get());
            assert!(is_near, "CPU {cpu} of node {} got {}", cpu % MAX_NODES, frame.pfn());
            held.push(frame);
        }
    }
    assert!(
        held.iter().any(|frame| frame.pfn().get() >= (1 << 34) - (1 << 18)),
        "the last node's memory is used"
    );
    frames.validate().unwrap();
    // Another CPU gives all back.
    be_cpu(MAX_CPUS - 1);
    held.into_iter().for_each(|frame| frames.free(pinned(), frame));
    for cpu in (0..MAX_CPUS).step_by(31) {
        be_cpu(cpu);
        frames.drain(pinned());
    }
    assert_eq!(frames.free_frames(), frames.totals().present);
    frames.validate().unwrap();
    be_cpu(0);
}

#[test]
fn more_pieces_than_pools_are_joined_and_none_is_lost() {
    // Far apart, of one node: joined over the holes.
    let far: Vec<_> = (0..300).map(|at| ((at + 4) << 18, ((at + 4) << 18) + 40, 0)).collect();
    let (misplaced, pools) = by_node(&far);
    assert!(misplaced == 0 && pools <= 192, "{misplaced} {pools}");
    // Interleaved: some node knowledge is lost, and said to be.
    let woven: Vec<_> =
        (0..300).map(|at| ((1 << 20) + at * 600, (1 << 20) + (at + 1) * 600, at as usize % 8)).collect();
    let (misplaced, pools) = by_node(&woven);
    assert!(misplaced > 0 && misplaced <= 150 * 600 && pools >= 100, "{misplaced} {pools}");
}
