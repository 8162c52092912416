//! Several CPUs at once, handlers in the middle of an operation, and caches that are asked to drain.

use std::boxed::Box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::vec::Vec;

use rhumb_machine::Order;

use super::machine::*;
use crate::{Frame, Frames, Mobility, Request};

const BASE: u64 = 1 << 20;

/// A small generator: the same numbers on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % bound
    }
}

/// Each frame of the memory says how many hold it.
fn hold(counts: &[AtomicUsize], frame: &Frame, by: usize) {
    for pfn in frame.frames().iter() {
        let before = counts[(pfn.get() - BASE) as usize].fetch_add(by, Ordering::Relaxed);
        assert_eq!(before, usize::from(by != 1), "{pfn} is held twice");
    }
}

#[test]
fn no_frame_is_held_twice_by_four_cpus() {
    const CPUS: usize = 4;
    let frames: &'static Frames<_> =
        Box::leak(Box::new(frames_over(CPUS, &[(BASE, BASE + 24 * 512 + 77, 0)])));
    let counts: Vec<_> = (0..24 * 512 + 77).map(|_| AtomicUsize::new(0)).collect();
    let passed_on: Mutex<Vec<Frame>> = Mutex::default();
    std::thread::scope(|scope| {
        for cpu in 0..CPUS {
            let (counts, passed_on) = (&counts, &passed_on);
            scope.spawn(move || {
                be_cpu(cpu);
                let (mut random, mut held) = (Random(cpu as u64), Vec::new());
                for _ in 0..20_000 {
                    if random.below(100) < 52 {
                        let order = Order::new([0, 0, 0, 1, 3, 6, 9][random.below(7)]).unwrap();
                        let request = Request::new(order).kind(Mobility::ALL[random.below(3)]);
                        if let Ok(frame) = frames.alloc(pinned(), request) {
                            hold(counts, &frame, 1);
                            held.push(frame);
                        }
                    } else if !held.is_empty() {
                        let frame: Frame = held.swap_remove(random.below(held.len()));
                        hold(counts, &frame, usize::MAX);
                        if random.below(4) == 0 {
                            // Freed by the next CPU that comes by.
                            passed_on.lock().unwrap().push(frame);
                        } else {
                            frames.free(pinned(), frame);
                        }
                    }
                    let mine = passed_on.lock().unwrap().pop();
                    mine.into_iter().for_each(|frame| frames.free(pinned(), frame));
                }
                for frame in held {
                    hold(counts, &frame, usize::MAX);
                    frames.free(pinned(), frame);
                }
                frames.drain(pinned());
            });
        }
    });
    let rest = passed_on.into_inner().unwrap();
    rest.into_iter().for_each(|frame| frames.free(pinned(), frame));
    frames.drain(pinned());
    frames.validate().unwrap();
    assert_eq!((frames.free_frames(), frames.free_large_blocks()), (24 * 512 + 77, 24));
    assert_eq!(frames.refused_frees(), 0);
}

#[test]
fn a_handler_leaves_an_interrupted_cache_alone() {
    let frames = frames_over(1, &[(BASE, BASE + 2048, 0)]);
    let outside = frames.alloc(pinned(), Request::FRAME).unwrap();
    let cache = frames.zones.cache(cpu()).unwrap();
    let before = cache.held();
    let from_handler = cache.gate.alone(|| {
        let frame = frames.alloc(pinned(), Request::FRAME).unwrap();
        let large = frames.alloc(pinned(), Request::LARGE).unwrap();
        frames.free(pinned(), large);
        frames.free(pinned(), outside);
        frames.drain(pinned());
        frame
    });
    assert_eq!(cache.held(), before, "nothing was taken from it or put into it");
    frames.validate().unwrap();
    frames.free(pinned(), from_handler.unwrap());
    frames.drain(pinned());
    assert_eq!(frames.free_large_blocks(), 4);
}

#[test]
fn a_cpu_keeps_no_more_than_its_bound() {
    let frames = frames_over(8, &[(BASE, BASE + (64 << 8), 0)]);
    let all: Vec<_> = std::iter::from_fn(|| frames.alloc(pinned(), Request::FRAME).ok()).collect();
    let total = all.len();
    for frame in all {
        frames.free(pinned(), frame);
        let cached = frames.totals().cached;
        assert!(
            cached <= total as u64 / 64 / 8 * 4,
            "{cached} frames of {total} in the cache of one of 8 CPUs"
        );
    }
}

#[test]
fn others_give_back_what_one_needs() {
    let frames = frames_over(2, &[(BASE, BASE + 64 * 512, 0)]);
    be_cpu(1);
    let kept = frames.alloc(pinned(), Request::FRAME).unwrap();
    frames.free(pinned(), kept);
    assert!(frames.totals().cached > 0);
    be_cpu(0);
    let mut all: Vec<_> = std::iter::from_fn(|| frames.alloc(pinned(), Request::FRAME).ok()).collect();
    assert_eq!(frames.free_frames(), frames.totals().cached, "all that is left is in the other cache");
    be_cpu(1);
    frames.tick(pinned());
    assert_eq!(frames.totals().cached, 0, "the failure asked for it");
    be_cpu(0);
    all.extend(std::iter::from_fn(|| frames.alloc(pinned(), Request::FRAME).ok()));
    assert_eq!(all.len(), 64 * 512);
    all.into_iter().for_each(|frame| frames.free(pinned(), frame));
    frames.validate().unwrap();
}

#[test]
fn a_cache_that_moves_while_it_is_looked_at_seems_to_hold_little() {
    let frames = frames_over(1, &[(BASE, BASE + 2048, 0)]);
    let cache = frames.zones.cache(cpu()).unwrap();
    assert_eq!(cache.held(), 0);
    // The view of another CPU that reads the new end, waits for two frees and a drain, and reads the old end.
    cache.small[0].forget_oldest(2);
    cache.away.forget_oldest(1);
    assert_eq!(cache.held(), 0);
    // A report ends, and finds nothing either.
    assert_eq!(frames.zone(node(0), crate::Zone::Normal).unwrap().cached, 0);
    assert!(frames.describe(rhumb_machine::Pfn::new(BASE)).is_some());
}

/// One CPU takes and frees large blocks, which other CPUs' magazines keep for a while; the other takes ranges of them.
#[test]
fn no_frame_of_a_range_is_held_twice() {
    const CPUS: usize = 2;
    const BLOCKS: u64 = 8;
    let frames: &'static Frames<_> =
        Box::leak(Box::new(frames_over(CPUS, &[(BASE, BASE + BLOCKS * 512, 0)])));
    let counts: Vec<_> = (0..BLOCKS * 512).map(|_| AtomicUsize::new(0)).collect();
    let hold_range = |range: rhumb_machine::PfnRange, by: usize| {
        for pfn in range.iter().step_by(64) {
            let before = counts[(pfn.get() - BASE) as usize].fetch_add(by, Ordering::Relaxed);
            assert_eq!(before, usize::from(by != 1), "{pfn} is held twice");
        }
    };
    let (stop, hold_range) = (&AtomicUsize::new(0), &hold_range);
    /// Ends the other thread, also where this one fails.
    struct Stop<'stop>(&'stop AtomicUsize);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(1, Ordering::Relaxed);
        }
    }
    let taken = std::thread::scope(|scope| {
        scope.spawn(move || {
            be_cpu(1);
            let mut random = Random(5);
            while stop.load(Ordering::Relaxed) == 0 {
                let order = Order::new([9, 9, 10, 3][random.below(4)]).unwrap();
                let held: Vec<_> = (0..3)
                    .filter_map(|_| frames.alloc(pinned(), Request::new(order).movable()).ok())
                    .inspect(|frame| hold_range(frame.frames(), 1))
                    .collect();
                for frame in held {
                    hold_range(frame.frames(), usize::MAX);
                    frames.free(pinned(), frame);
                }
                frames.drain(pinned());
            }
        });
        let _stop = Stop(stop);
        let (mut random, mut taken) = (Random(9), 0);
        for _ in 0..3_000 {
            let first = random.below(BLOCKS as usize - 1) as u64 * 512 + BASE;
            let length = 512 * (1 + random.below(2) as u64);
            if let Ok(got) = frames.alloc_range(pinned(), range(first, first + length), &crate::NothingMoves)
            {
                hold_range(got.frames(), 1);
                hold_range(got.frames(), usize::MAX);
                frames.free_range(pinned(), got).unwrap();
                taken += 1;
            }
        }
        taken
    });
    assert!(taken > 0, "nothing was ever taken");
    for cpu in 0..CPUS {
        be_cpu(cpu);
        frames.drain(pinned());
    }
    be_cpu(0);
    frames.validate().unwrap();
    assert_eq!((frames.free_large_blocks(), frames.refused_frees()), (BLOCKS, 0));
}
