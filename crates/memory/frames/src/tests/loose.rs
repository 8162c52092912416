//! Loose memory: much of it is free, and scattered. It becomes whole by use.

use std::vec::Vec;

use rhumb_machine::Order;

use super::machine::*;
use crate::{AllocClass, Frame, Frames, Mobility, Request, Zone};

const BASE: u64 = 1 << 20;
const BLOCKS: u64 = 256;

/// Random numbers, the same in each run.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// Memory of which each CPU has taken its share and freed a random half, and the frames that it holds.
fn scattered(cpus: usize) -> (Frames<TestMachine>, Vec<Vec<Frame>>) {
    let frames = frames_over(cpus, &[(BASE, BASE + BLOCKS * 512, 0)]);
    let share = (BLOCKS * 512) as usize / cpus;
    let taken = |cpu: usize| {
        be_cpu(cpu);
        (0..share).map(|_| frames.alloc(pinned(), Request::FRAME.movable()).unwrap()).collect()
    };
    let mut held: Vec<Vec<Frame>> = (0..cpus).map(taken).collect();
    for (cpu, held) in held.iter_mut().enumerate() {
        be_cpu(cpu);
        let mut random = Random(cpu as u64);
        while held.len() > share / 2 {
            frames.free(pinned(), held.swap_remove(random.below(held.len())));
        }
    }
    drain_all(&frames, cpus);
    (frames, held)
}

fn drain_all(frames: &Frames<TestMachine>, cpus: usize) {
    for cpu in 0..cpus {
        be_cpu(cpu);
        frames.drain(pinned());
    }
}

/// Five turns, in which each held frame is freed and another taken at once.
#[test]
fn half_of_the_blocks_that_could_be_whole_are_after_each_frame_was_replaced_five_times() {
    for cpus in [1, 2, 4] {
        let (frames, mut held) = scattered(cpus);
        assert!(frames.free_large_blocks() < 4);
        for _ in 0..5 {
            let turn: Vec<_> = held.iter_mut().map(core::mem::take).collect();
            let mut turn: Vec<_> = turn.into_iter().map(Vec::into_iter).collect();
            while turn[0].len() > 0 {
                for (cpu, (left, held)) in turn.iter_mut().zip(&mut held).enumerate() {
                    be_cpu(cpu);
                    left.next().into_iter().for_each(|frame| frames.free(pinned(), frame));
                    held.push(frames.alloc(pinned(), Request::FRAME.movable()).unwrap());
                }
            }
        }
        drain_all(&frames, cpus);
        assert!(frames.free_large_blocks() >= BLOCKS / 4, "{cpus} CPUs: {}", frames.free_large_blocks());
        assert_eq!(frames.free_frames(), BLOCKS * 512 / 2);
        frames.validate().unwrap();
        held.into_iter().flatten().for_each(|frame| frames.free(pinned(), frame));
        frames.validate().unwrap();
    }
}

#[test]
fn frames_on_their_way_home_are_bounded_and_go_there_when_asked_for_or_when_memory_is_short() {
    let (frames, mut held) = scattered(2);
    let free = |count: usize, held: &mut Vec<Frame>| {
        held.drain(..count).for_each(|frame| frames.free(pinned(), frame));
    };
    be_cpu(0);
    let cache_0 = frames.zones.cache(cpu()).unwrap();
    for _ in 0..50 {
        free(20, &mut held[0]);
        assert!(cache_0.held() <= 128, "{}", cache_0.held());
    }
    // Of twenty frees, nearly all kept interrupts on.
    assert!(irqs_off(|| free(20, &mut held[0])) <= 4);
    be_cpu(1);
    frames.request_drain(pinned());
    be_cpu(0);
    free(1, &mut held[0]);
    while cache_0.gate.is_wanted() {
        frames.tick(pinned());
    }
    assert!(cache_0.held() <= 1, "the frame that found the request");
    // Below the low watermark, nothing is kept.
    frames.set_reserve(node(0), Zone::Normal, BLOCKS * 512);
    frames.tick(pinned());
    free(100, &mut held[0]);
    assert!(cache_0.held() <= 1, "none of the hundred");
    held.into_iter().flatten().for_each(|frame| frames.free(pinned(), frame));
    frames.validate().unwrap();
}

/// Memory of which one half is full and of the other half six frames in ten are free, for as long as its holder lives:
/// the frames of the full half, and those of the other.
fn half_full() -> (Frames<TestMachine>, Vec<Frame>, Vec<Frame>) {
    let frames = frames_over(1, &[(BASE, BASE + BLOCKS * 512, 0)]);
    let all = (0..BLOCKS * 512).map(|_| frames.alloc(pinned(), Request::FRAME.movable()).unwrap());
    let (full, mut rest): (Vec<_>, Vec<_>) = all.partition(|frame| frame.pfn().get() < BASE + BLOCKS * 256);
    let mut random = Random(1);
    for _ in 0..BLOCKS * 256 * 6 / 10 {
        frames.free(pinned(), rest.swap_remove(random.below(rest.len())));
    }
    frames.drain(pinned());
    (frames, full, rest)
}

#[test]
fn locks_are_visited_once_in_many_operations_also_where_each_free_frame_is_in_a_block_of_its_own() {
    for burst in [1, 100, 1000] {
        let (frames, mut full, rest) = half_full();
        let mut random = Random(2);
        let turns = 20_000 / burst;
        let visits = lock_visits(|| {
            for _ in 0..turns {
                for _ in 0..burst {
                    frames.free(pinned(), full.swap_remove(random.below(full.len())));
                }
                (0..burst).for_each(|_| full.push(frames.alloc(pinned(), Request::FRAME.movable()).unwrap()));
            }
        });
        assert!(frames.zones.pools.iter().all(|pool| pool.is_loose()));
        assert!(visits * 8 < 2 * 20_000, "{visits} visits for 40,000 operations, {burst} at a time");
        full.into_iter().chain(rest).for_each(|frame| frames.free(pinned(), frame));
        frames.validate().unwrap();
    }
}

#[test]
fn runs_of_few_frames_are_kept_in_loose_memory_too() {
    let (frames, _held) = scattered(1);
    for log2 in [1, 2, 3] {
        let request = Request::new(Order::new(log2).unwrap());
        let run = frames.alloc(pinned(), request).unwrap();
        frames.free(pinned(), run);
        let visits = lock_visits(|| {
            for _ in 0..100 {
                let run = frames.alloc(pinned(), request).unwrap();
                frames.free(pinned(), run);
            }
        });
        assert!(visits < 4, "order {log2}: {visits}");
    }
}

/// Two nodes; the memory of node 0, which the CPU is on, is loose or not.
fn two_nodes(is_loose: bool) -> (Frames<TestMachine>, Vec<Frame>, Vec<Frame>) {
    let end = BASE + BLOCKS * 512;
    let frames = frames_over(2, &[(BASE, end, 0), (end, end + BLOCKS * 512, 1)]);
    let take = |at, count| {
        (0..count).map(|_| frames.alloc(pinned(), Request::FRAME.movable().bind(node(at))).unwrap()).collect()
    };
    let (mut near, far): (Vec<_>, Vec<_>) = (take(0, BLOCKS * 512), take(1, 4000));
    if is_loose {
        let mut random = Random(3);
        for _ in 0..BLOCKS * 256 {
            frames.free(pinned(), near.swap_remove(random.below(near.len())));
        }
    } else {
        near.drain(..64 * 512).for_each(|frame| frames.free(pinned(), frame));
    }
    frames.drain(pinned());
    assert_eq!(frames.zones.pool_of(near[0].pfn()).unwrap().is_loose(), is_loose);
    (frames, near, far)
}

#[test]
fn frames_of_other_nodes_go_home_in_batches_after_a_tick_and_in_loose_memory_too() {
    for is_loose in [false, true] {
        let (frames, mut near, mut far) = two_nodes(is_loose);
        frames.free(pinned(), near.pop().unwrap());
        let mut free = |count: usize| far.drain(..count).for_each(|frame| frames.free(pinned(), frame));
        assert!(lock_visits(|| free(1000)) <= 100, "loose: {is_loose}");
        frames.tick(pinned());
        assert!(lock_visits(|| free(1000)) <= 100, "after a tick");
        // In a shortage of that node, none waits.
        frames.drain(pinned());
        frames.set_reserve(node(1), Zone::Normal, BLOCKS * 512);
        free(100);
        assert_eq!(frames.totals().cached, 0);
        near.into_iter().chain(far).for_each(|frame| frames.free(pinned(), frame));
        frames.validate().unwrap();
    }
}

#[test]
fn frames_of_two_nodes_that_wait_in_turn_go_home_with_two_visits_a_batch() {
    let (frames, near, far) = two_nodes(true);
    let visits = lock_visits(|| {
        for (near, far) in near.into_iter().take(2000).zip(far) {
            frames.free(pinned(), near);
            frames.free(pinned(), far);
        }
    });
    // A batch has at most 24 words.
    assert!(visits < 4000 / 8, "{visits}");
    frames.drain(pinned());
    frames.validate().unwrap();
}

#[test]
fn a_request_that_meets_a_shortage_has_the_next_free_look_anew() {
    let (frames, mut held) = scattered(1);
    let cache = frames.zones.cache(cpu()).unwrap();
    held[0].drain(..20).for_each(|frame| frames.free(pinned(), frame));
    assert!(cache.loose_cap.load(rhumb_sync::atomic::Relaxed) > 0);
    frames.set_reserve(node(0), Zone::Normal, BLOCKS * 512 * 45 / 100);
    let request = Request::FRAME.kind(Mobility::Reclaimable).class(AllocClass::Atomic);
    let frame = frames.alloc(pinned(), request).unwrap();
    let kept = cache.held();
    held[0].drain(..50).for_each(|frame| frames.free(pinned(), frame));
    assert_eq!(cache.held(), kept);
    frames.free(pinned(), frame);
}

#[test]
fn frames_on_their_way_home_arrive_while_the_cpu_is_quiet() {
    let (frames, mut held) = scattered(1);
    let cache = frames.zones.cache(cpu()).unwrap();
    held[0].drain(..100).for_each(|frame| frames.free(pinned(), frame));
    assert!(cache.held() > 24);
    // A CPU that frees one frame between two ticks visits no lock for each.
    let busy = lock_visits(|| {
        held[0].drain(..20).for_each(|frame| {
            frames.free(pinned(), frame);
            frames.tick(pinned());
        });
    });
    assert!(busy < 4, "{busy}");
    for _ in 0..8 {
        assert!(irqs_off(|| frames.tick(pinned())) <= 1);
    }
    assert_eq!(cache.held(), 0);
    // Not from under an operation that the tick interrupts.
    held[0].drain(..10).for_each(|frame| frames.free(pinned(), frame));
    let before = cache.held();
    cache.gate.alone(|| (0..4).for_each(|_| frames.tick(pinned())));
    assert_eq!(cache.held(), before);
}

#[test]
fn frames_kept_from_before_memory_was_loose_go_home_on_a_cpu_that_only_frees() {
    let frames = frames_over(1, &[(BASE, BASE + BLOCKS * 512, 0)]);
    let take = || frames.alloc(pinned(), Request::FRAME.movable()).unwrap();
    let mut held: Vec<_> = (0..BLOCKS * 512).map(|_| take()).collect();
    let mut random = Random(4);
    let cache = frames.zones.cache(cpu()).unwrap();
    let mut most = 0;
    while held.len() as u64 > BLOCKS * 256 {
        frames.free(pinned(), held.swap_remove(random.below(held.len())));
        most = most.max(cache.held());
    }
    assert!(most >= 1000, "before, it kept them: {most}");
    assert!(cache.held() <= 128 + 104 + 63, "{}", cache.held());
    held.into_iter().for_each(|frame| frames.free(pinned(), frame));
    frames.validate().unwrap();
}

/// A refill uses frames of partial blocks before it makes a whole block partial.
#[test]
fn a_refill_of_nearly_full_blocks_leaves_whole_ones_alone() {
    let frames = frames_over(1, &[(BASE, BASE + BLOCKS * 512, 0)]);
    let mut held: Vec<_> =
        (0..20 * 512).map(|_| frames.alloc(pinned(), Request::FRAME.movable()).unwrap()).collect();
    frames.drain(pinned());
    for block in 0..4 {
        frames.free(pinned(), held.swap_remove(block * 600));
    }
    frames.drain(pinned());
    let whole = frames.free_large_blocks();
    for at in 0..5 {
        let visits = lock_visits(|| held.push(frames.alloc(pinned(), Request::FRAME.movable()).unwrap()));
        let (is_refill, is_opened) = (at % 4 == 0, at == 4);
        assert_eq!(
            (visits, frames.free_large_blocks()),
            (is_refill.into(), whole - u64::from(is_opened)),
            "{at}"
        );
    }
}
