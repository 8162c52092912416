//! The zones and nodes that a compaction works for, and the answer of an owner without blocks.

use rhumb_machine::Order;

use super::machine::*;
use super::moving::scattered;
use crate::{Extent, Goal, NothingMoves, Relocate, Request, Zone};

#[test]
fn a_zone_is_emptied_for_requests_that_it_could_serve_and_for_no_others() {
    const FREE: u64 = 8 * 384;
    for ceiling in [Zone::Normal, Zone::High] {
        let goal = Goal::Requests(ceiling);
        // A block more than the watermark, or than watermark and guard, and one frame less than that.
        for (reserve, guard, blocks) in [
            (FREE - 512, 0, 6),
            (FREE - 511, 0, 0),
            (64, FREE - 576, 6),
            (64, FREE - 575, if ceiling > Zone::Normal { 0 } else { 6 }),
            (0, 0, 6),
        ] {
            let (frames, mover) = scattered(8, 0);
            assert_eq!(frames.free_frames(), FREE);
            frames.set_reserve(node(0), Zone::Normal, reserve);
            frames.set_guard(node(0), Zone::Normal, guard);
            let done = frames.compact(pinned(), node(0), goal, &mover, u64::MAX);
            assert_eq!(done.blocks, blocks, "{ceiling:?}, reserve {reserve}, guard {guard}");
            frames.validate().unwrap();
        }
    }
}

#[test]
fn nothing_moves_where_no_block_has_an_owner() {
    let frames = frames_over(1, &[(1 << 20, (1 << 20) + 512, 0)]);
    let to = frames.alloc(pinned(), Request::FRAME).unwrap().into_anywhere();
    let pfn = to.pfn();
    assert_eq!(NothingMoves.extent(pfn), None);
    let from = Extent { start: pfn, order: Order::BASE };
    let back = NothingMoves.relocate(pinned(), from, to).unwrap_err();
    assert_eq!(back.pfn(), pfn, "a refusal returns the destination");
    frames.free(pinned(), back);
}
