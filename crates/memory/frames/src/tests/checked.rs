//! Checked builds: faults are seen at once, also in a magazine, with the frame's history; allocations fail on purpose.

use std::vec::Vec;

use rhumb_machine::Order;

use super::machine::*;
use crate::{FrameFault, Frames, Mobility, Request};

const BASE: u64 = 1 << 20;

fn checked() -> Frames<TestMachine> {
    let frames = frames_over(2, &[(BASE, BASE + 2048, 0)]);
    let descriptors = descriptors(BASE + 2048);
    // SAFETY: the array covers every block of the memory.
    unsafe { frames.with_descriptors(descriptors) }
}

#[test]
fn a_second_free_is_refused_at_once() {
    let frames = checked();
    for order in [0, 4, 9, 10].map(|order| Order::new(order).unwrap()) {
        let before = frames.refused_frees();
        let pfn = frames.alloc(pinned(), Request::new(order)).unwrap().into_pfn();
        // SAFETY: none; this is the mistake that is to be caught.
        let twice = unsafe { [frames.from_pfn(pfn, order).unwrap(), frames.from_pfn(pfn, order).unwrap()] };
        be_cpu(1);
        twice.into_iter().for_each(|frame| frames.free(pinned(), frame));
        assert_eq!((frames.refused_frees(), frames.last_refused()), (before + 1, Some(pfn)));
        // SAFETY: refused.
        let named = unsafe { frames.from_pfn(pfn, order) };
        assert_eq!(named.unwrap_err(), FrameFault::Free(pfn));
        let history = frames.descriptor(pfn).unwrap().history();
        assert_eq!((history.allocated_by.index(), history.freed_by.index()), (0, 1));
        assert!(history.allocations >= 1);
        frames.drain(pinned());
        be_cpu(0);
        frames.drain(pinned());
        assert_eq!(frames.free_frames(), 2048);
    }
    frames.validate().unwrap();
}

#[test]
fn a_wrong_order_and_a_foreign_frame_are_refused() {
    let frames = checked();
    let order = |order| Order::new(order).unwrap();
    let pfn = frames.alloc(pinned(), Request::new(order(3))).unwrap().into_pfn();
    // SAFETY: refused.
    let wrong = unsafe { frames.from_pfn(pfn, order(2)) };
    assert_eq!(wrong.unwrap_err(), FrameFault::WrongOrder(pfn, order(3), order(2)));
    // SAFETY: the holder's.
    frames.free(pinned(), unsafe { frames.from_pfn(pfn, order(3)) }.unwrap());
    let other = frames_over(1, &[(1 << 24, (1 << 24) + 2048, 0)]);
    let foreign = other.alloc(pinned(), Request::FRAME).unwrap();
    let number = foreign.pfn();
    frames.free(pinned(), foreign);
    assert_eq!(frames.last_refused(), Some(number));
    assert_eq!(frames.free_frames(), 2048);
    frames.validate().unwrap();
}

#[test]
fn a_failure_at_any_allocation_changes_no_counter() {
    for nth in 0..60 {
        let frames = checked();
        frames.fail_after(nth);
        let mut held = Vec::new();
        let mut failures = 0;
        for round in 0..120u32 {
            let order = Order::new([0, 1, 5, 9, 10, 0][round as usize % 6]).unwrap();
            let before = (frames.totals(), frames.free_large_blocks());
            match frames.alloc(pinned(), Request::new(order).kind(Mobility::ALL[round as usize % 3])) {
                Ok(frame) => held.push(frame),
                Err(_) => {
                    failures += 1;
                    assert_eq!(frames.free_frames(), before.0.free);
                    frames.validate().unwrap();
                    if let Some(frame) = held.pop() {
                        frames.free(pinned(), frame);
                    }
                }
            }
            if round % 4 == 3
                && let Some(frame) = held.pop()
            {
                frames.free(pinned(), frame);
            }
        }
        assert!(failures > 0 || nth > 40, "failure {nth} did not happen");
        held.into_iter().for_each(|frame| frames.free(pinned(), frame));
        frames.drain(pinned());
        frames.validate().unwrap();
        assert_eq!(frames.free_frames(), 2048);
    }
}
