//! Reports have the numbers that a walk over all frames would find.

use std::vec::Vec;

use rhumb_machine::Order;

use super::machine::*;
use crate::{Mobility, Place, Request, Zone};

#[test]
fn buddyinfo_counts_each_frame_once() {
    let frames = frames_over(1, &[(1 << 20, (1 << 20) + (2 << 18) + 700, 0)]);
    let mut held = Vec::new();
    for round in 0..300u32 {
        let order = Order::new((round * 7 % 12) as u8).unwrap();
        held.push(
            frames.alloc(pinned(), Request::new(order).kind(Mobility::ALL[round as usize % 3])).unwrap(),
        );
        if round % 3 == 0 {
            let frame = held.swap_remove((round / 2) as usize % held.len());
            frames.free(pinned(), frame);
        }
        let zone = frames.zone(node(0), Zone::Normal).unwrap();
        let counted: u64 = zone.free_by_order.iter().enumerate().map(|(order, count)| count << order).sum();
        assert_eq!(counted, zone.levels.free);
        let in_use: u64 = held.iter().map(|frame| frame.order().frames()).sum();
        assert_eq!(zone.levels.free + zone.cached + in_use, zone.present);
        assert_eq!(frames.free_frames() + in_use, zone.present);
    }
    assert_eq!(frames.totals().present, 524_988);
    held.into_iter().for_each(|frame| frames.free(pinned(), frame));
}

#[test]
fn a_frame_is_described_wherever_it_is() {
    let frames = frames_over(1, &[(1 << 20, (1 << 20) + 2048, 0)]);
    let place = |pfn| frames.describe(pfn).unwrap().place;
    let frame = frames.alloc(pinned(), Request::FRAME).unwrap();
    let pfn = frame.pfn();
    assert_eq!(place(pfn), Place::InUse);
    assert_eq!(place(pfn.plus(1)), Place::Cached(cpu()), "the rest of the block is this CPU's");
    assert_eq!(place(pfn.plus(512)), Place::Free(Order::LARGE));
    frames.free(pinned(), frame);
    frames.drain(pinned());
    assert_eq!(place(pfn), Place::Free(Order::LARGE));
    let run = frames.alloc(pinned(), Request::new(Order::new(4).unwrap())).unwrap();
    assert_eq!(place(run.pfn().plus(16)), Place::Free(Order::new(4).unwrap()));
    assert_eq!(place(run.pfn().plus(256)), Place::Free(Order::new(8).unwrap()));
    frames.free(pinned(), run);
    let large = frames.alloc(pinned(), Request::LARGE).unwrap();
    assert_eq!(place(large.pfn()), Place::InUseLarge(Order::LARGE));
    frames.free(pinned(), large);
    assert!(frames.describe(pfn.plus(1 << 30)).is_none());
}
