//! Directed cases: what comes out goes back in, to the last frame.

use std::collections::BTreeSet;
use std::vec::Vec;

use rhumb_machine::{Order, Pfn};

use super::machine::*;
use crate::{AllocError, Frame, Frames, Mobility, Request};

const GIB: u64 = 1 << 18;
/// Where most tests put their memory: past 4 GiB, so that it is one pool.
const BASE: u64 = 4 * GIB;

fn take_all(frames: &Frames<TestMachine>, request: Request) -> Vec<Frame> {
    std::iter::from_fn(|| frames.alloc(pinned(), request).ok()).collect()
}

#[test]
fn every_frame_comes_out_once_and_goes_back() {
    let frames = frames_over(2, &[(BASE + 3, BASE + 4000, 0)]);
    let all = take_all(&frames, Request::FRAME);
    let distinct: BTreeSet<_> = all.iter().map(Frame::pfn).collect();
    assert_eq!(distinct.len(), 3997);
    assert!(distinct.iter().all(|pfn| (BASE + 3..BASE + 4000).contains(&pfn.get())));
    assert_eq!(frames.free_frames(), 0);
    frames.validate().unwrap();
    all.into_iter().for_each(|frame| frames.free(pinned(), frame));
    frames.validate().unwrap();
    assert_eq!(frames.free_frames(), 3997);
    frames.drain(pinned());
    frames.validate().unwrap();
    assert_eq!(frames.free_large_blocks(), 6);
    assert_eq!(frames.totals().cached, 0);
}

#[test]
fn each_order_takes_all_aligned_blocks() {
    for order in Order::all() {
        for kind in Mobility::ALL {
            let frames = frames_over(1, &[(BASE, BASE + GIB + 9 * 512, 0)]);
            let all = take_all(&frames, Request::new(order).kind(kind));
            assert_eq!(all.len() as u64, (GIB + 9 * 512) / order.frames(), "order {order}");
            assert!(
                all.iter().all(|frame| frame.pfn().get() % order.frames() == 0 && frame.order() == order)
            );
            assert_eq!(
                frames.alloc(pinned(), Request::new(order)).unwrap_err(),
                AllocError::Exhausted(order)
            );
            if order.get() % 3 == 0 {
                frames.validate().unwrap();
            }
            all.into_iter().for_each(|frame| frames.free(pinned(), frame));
            frames.drain(pinned());
            frames.validate().unwrap();
            assert_eq!(frames.free_large_blocks(), 521);
        }
    }
}

#[test]
fn handles_survive_as_numbers() {
    let frames = frames_over(1, &[(BASE, BASE + GIB, 0)]);
    for kind in Mobility::ALL {
        for order in [0, 3, 8, 9, 12, 18].map(|order| Order::new(order).unwrap()) {
            let pfn = frames.alloc(pinned(), Request::new(order).kind(kind)).unwrap().into_pfn();
            // SAFETY: the handle was just given up.
            let frame = unsafe { frames.from_pfn(pfn, order) }.unwrap();
            assert_eq!((frame.pfn(), frame.order(), frame.kind()), (pfn, order, kind));
            frames.free(pinned(), frame);
            frames.drain(pinned());
        }
    }
    frames.drain(pinned());
    assert_eq!(frames.free_frames(), GIB);
    // SAFETY: refused.
    assert!(unsafe { frames.from_pfn(Pfn::new(5), Order::BASE) }.is_err());
}
