//! The runs of an array over sparse RAM.

extern crate std;

use std::collections::BTreeSet;
use std::vec::Vec;

use proptest::prelude::*;
use rhumb_machine::{NodeId, PhysAddr, PhysRange, VirtAddr};

use super::{ArrayRun, FrameArray};

const PAGE: u64 = 4096;
const BASE: u64 = 0xffff_e000_0000_0000;

fn array(element_bytes: u64, group_frames: u64) -> FrameArray {
    FrameArray { base: VirtAddr::new(BASE), element_bytes, group_frames }
}

fn ram(pieces: &[(u64, u64, usize)]) -> Vec<(PhysRange, NodeId)> {
    let piece = |&(start, end, node): &(u64, u64, usize)| {
        let range = PhysRange::new(PhysAddr::new(start), PhysAddr::new(end)).unwrap();
        (range, NodeId::new(node).unwrap())
    };
    pieces.iter().map(piece).collect()
}

fn shown(runs: impl Iterator<Item = ArrayRun>) -> Vec<(u64, u64, usize)> {
    let page = |at: VirtAddr| (at.get() - BASE) / PAGE;
    runs.map(|run| (page(run.virt.start()), page(run.virt.end()), run.node.index())).collect()
}

#[test]
fn a_pc_of_two_nodes() {
    let pieces = [(0, 0x9f000, 0), (0x10_0000, 2 << 30, 0), (4 << 30, 18 << 30, 0), (18 << 30, 34 << 30, 1)];
    // 2 GiB have 6 MiB of descriptors; the hole below 1 MiB shares their first page, that for devices has none.
    let runs = shown(array(12, 512).runs(ram(&pieces)));
    assert_eq!(runs, [(0, 1536, 0), (3072, 13824, 0), (13824, 26112, 1)]);
}

#[test]
fn what_does_not_fill_a_page_is_rounded_and_what_wraps_left_out() {
    let piece = [(600 * PAGE, 601 * PAGE, 0), (5000 * PAGE + 1, 5001 * PAGE, 0)];
    // Frames 512 to 1023: bytes 6144 to 12288. The second piece holds no whole frame.
    assert_eq!(shown(array(12, 512).runs(ram(&piece))), [(1, 3, 0)]);
    assert_eq!(shown(array(1 << 60, 512).runs(ram(&piece))), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Every element of a group with RAM is there, every page has such an element, and none is there twice.
    #[test]
    fn all_that_is_needed_and_nothing_else(
        lengths in proptest::collection::vec((0u64..3000, 0u64..1500, 0usize..3), 0..8),
        element_bytes in prop_oneof![Just(12u64), Just(16), Just(64)],
    ) {
        let mut at = 0;
        let mut pieces = Vec::new();
        for (gap, frames, node) in lengths {
            pieces.push(((at + gap) * PAGE, (at + gap + frames) * PAGE, node));
            at += gap + frames;
        }
        let needed: BTreeSet<u64> = pieces
            .iter()
            .flat_map(|&(start, end, _)| start / PAGE..end / PAGE)
            .map(|frame| frame / 512 * 512)
            .flat_map(|group| group * element_bytes / PAGE..((group + 512) * element_bytes).div_ceil(PAGE))
            .collect();
        let runs = shown(array(element_bytes, 512).runs(ram(&pieces)));
        let mut there = BTreeSet::new();
        for &(start, end, _) in &runs {
            prop_assert!(start < end);
            prop_assert!((start..end).all(|page| there.insert(page)), "twice");
        }
        prop_assert!(runs.windows(2).all(|pair| pair[0].1 < pair[1].0 || pair[0].2 != pair[1].2), "not joined");
        prop_assert_eq!(there, needed);
    }
}
