//! Runs (orders 1 to 8): where freed ones go, how many are kept, how seldom a pool is visited.

use std::vec::Vec;

use rhumb_machine::Order;

use super::loose::Random;
use super::machine::*;
use crate::{Frame, Frames, Owner, Request, Zone};

const BASE: u64 = 1 << 20;
const BLOCKS: u64 = 512;

/// Memory of `cpus` CPUs, each of which has looked how much it may keep.
fn memory_of(cpus: usize) -> Frames<TestMachine> {
    blocks_of(cpus, BLOCKS)
}

fn blocks_of(cpus: usize, blocks: u64) -> Frames<TestMachine> {
    let frames = frames_over(cpus, &[(BASE, BASE + blocks * 512, 0)]);
    for cpu in (0..cpus).rev() {
        be_cpu(cpu);
        let frame = frames.alloc(pinned(), Request::FRAME.movable()).unwrap();
        frames.free(pinned(), frame);
    }
    frames
}

fn request(order: u8) -> Request {
    Request::new(Order::new(order).unwrap()).movable()
}

#[test]
fn a_long_run_goes_home_and_a_short_one_is_used_again() {
    for order in 1..9 {
        let frames = memory_of(1);
        let run = frames.alloc(pinned(), request(order)).unwrap();
        let freed = run.pfn();
        frames.free(pinned(), run);
        let next = frames.alloc(pinned(), request(order)).unwrap();
        assert_eq!(next.pfn() == freed, order < 6, "order {order}");
        frames.free(pinned(), next);
        frames.drain(pinned());
        assert_eq!(frames.free_large_blocks(), BLOCKS);
        frames.validate().unwrap();
    }
}

/// A block that bears an owner's name, or is another node's, is in no magazine or queue of runs: neither its descriptor
/// nor its place is looked at when it leaves there.
#[test]
fn only_plain_runs_of_this_node_are_kept() {
    for order in 1..10 {
        let frames =
            frames_over(1, &[(BASE, BASE + BLOCKS * 512, 0), (BASE << 1, (BASE << 1) + BLOCKS * 512, 1)]);
        // SAFETY: the array covers every block of the memory.
        let frames = unsafe { frames.with_descriptors(descriptors((BASE << 1) + BLOCKS * 512)) };
        let plain = frames.alloc(pinned(), request(order).bind(node(0))).unwrap();
        frames.free(pinned(), plain);
        let owned = frames.alloc(pinned(), request(order).owner(Owner(7))).unwrap();
        let start = owned.pfn();
        assert_eq!(frames.describe(start).unwrap().owner, Owner(7));
        frames.free(pinned(), owned);
        assert_eq!(frames.describe(start).unwrap().owner, Owner::NONE, "order {order}");
        let far = frames.alloc(pinned(), request(order).bind(node(1))).unwrap();
        let held = frames.totals().cached;
        frames.free(pinned(), far);
        assert!(frames.totals().cached <= held, "order {order}: another node's run was kept");
        frames.drain(pinned());
        frames.validate().unwrap();
    }
}

#[test]
fn runs_for_later_make_no_whole_block_partial() {
    for order in 1..9 {
        let frames = memory_of(1);
        frames.drain(pinned());
        frames.zones.cache(cpu()).unwrap().gate.bound(1024);
        let run = frames.alloc(pinned(), request(order)).unwrap();
        assert!(frames.zones.cache(cpu()).unwrap().held() > 0, "order {order}: runs came for later");
        assert_eq!(frames.free_large_blocks(), BLOCKS - 1, "order {order}");
        frames.free(pinned(), run);
    }
}

#[test]
fn long_runs_on_their_way_home_are_bounded_and_go_with_the_next_exchange() {
    let frames = memory_of(1);
    let cache = frames.zones.cache(cpu()).unwrap();
    let mut held: Vec<_> = (0..64).map(|at| frames.alloc(pinned(), request(6 + at % 3)).unwrap()).collect();
    let mut most = 0;
    let visits = lock_visits(|| {
        held.drain(..60).for_each(|run| {
            frames.free(pinned(), run);
            most = most.max(cache.away_runs.len());
        });
    });
    assert_eq!(most, 24);
    assert!(visits <= 60 / 24 + 1, "{visits}");
    // A miss of any order of runs takes them along.
    assert!(cache.away_runs.len() > 1);
    assert_eq!(lock_visits(|| held.push(frames.alloc(pinned(), request(1)).unwrap())), 1);
    assert_eq!(cache.away_runs.len(), 0);
    // Below the low watermark, none waits.
    frames.drain(pinned());
    frames.set_reserve(node(0), Zone::Normal, BLOCKS * 512);
    held.into_iter().for_each(|run| frames.free(pinned(), run));
    assert_eq!(cache.held(), 0);
    frames.validate().unwrap();
    assert_eq!(frames.free_large_blocks(), BLOCKS);
}

#[test]
fn long_runs_on_their_way_home_arrive_while_the_cpu_is_quiet() {
    let frames = memory_of(1);
    let cache = frames.zones.cache(cpu()).unwrap();
    let mut held: Vec<_> = (0..24).map(|at| frames.alloc(pinned(), request(6 + at % 3)).unwrap()).collect();
    // A CPU that frees one between two ticks visits no lock for each.
    let visits = lock_visits(|| {
        held.drain(..10).for_each(|run| {
            frames.free(pinned(), run);
            frames.tick(pinned());
        });
    });
    assert!(visits < 4 && cache.away_runs.len() > 4, "{visits}");
    cache.gate.alone(|| (0..4).for_each(|_| frames.tick(pinned())));
    assert!(cache.away_runs.len() > 0, "not from under an operation that the tick interrupts");
    (0..4).for_each(|_| assert!(irqs_off(|| frames.tick(pinned())) <= 1));
    assert_eq!(cache.away_runs.len(), 0);
    held.into_iter().for_each(|run| frames.free(pinned(), run));
    frames.drain(pinned());
    assert_eq!(frames.free_large_blocks(), BLOCKS);
    frames.validate().unwrap();
}

#[test]
fn a_long_run_on_its_way_home_comes_back_where_its_magazine_is_empty() {
    for order in 6..9 {
        let frames = memory_of(1);
        let cache = frames.zones.cache(cpu()).unwrap();
        let mut held: Vec<_> = (0..24).map(|_| frames.alloc(pinned(), request(order)).unwrap()).collect();
        let others: Vec<_> = (6..9)
            .filter(|&other| other != order)
            .map(|other| frames.alloc(pinned(), request(other)).unwrap())
            .collect();
        while cache.runs(Order::new(order).unwrap(), 1).unwrap().len() > 0 {
            held.push(frames.alloc(pinned(), request(order)).unwrap());
        }
        frames.drain(pinned());
        let frame = frames.alloc(pinned(), Request::FRAME.movable()).unwrap();
        frames.free(pinned(), frame);
        let freed: Vec<_> = held.iter().take(3).map(Frame::pfn).collect();
        let visits = lock_visits(|| {
            held.drain(..3).for_each(|run| frames.free(pinned(), run));
            others.into_iter().for_each(|run| frames.free(pinned(), run));
            let again: Vec<_> = (0..3).map(|_| frames.alloc(pinned(), request(order)).unwrap()).collect();
            // The newest first, and no run twice.
            assert!(again.iter().rev().map(Frame::pfn).eq(freed.iter().copied()), "order {order}");
            held.extend(again);
        });
        assert_eq!((visits, cache.away_runs.len()), (0, 2), "order {order}");
        // One of another kind does not.
        let unmovable = frames.alloc(pinned(), Request::new(Order::new(order).unwrap())).unwrap();
        assert!(!freed.contains(&unmovable.pfn()));
        held.into_iter().chain([unmovable]).for_each(|run| frames.free(pinned(), run));
        frames.drain(pinned());
        frames.validate().unwrap();
        assert_eq!(frames.free_large_blocks(), BLOCKS);
    }
}

#[test]
fn an_exchange_takes_for_later_what_the_cpu_has_asked_for() {
    let frames = memory_of(1);
    let cache = frames.zones.cache(cpu()).unwrap();
    let kept = |order| cache.runs(Order::new(order).unwrap(), 1).unwrap().len();
    let mut held: Vec<_> = (6..9).map(|order| frames.alloc(pinned(), request(order)).unwrap()).collect();
    assert!((6..9).all(|order| kept(order) > 0) && (1..6).chain([9]).all(|order| kept(order) == 0));
    held.extend([1, 9].map(|order| frames.alloc(pinned(), request(order)).unwrap()));
    assert_eq!((kept(1), kept(9)), (32, 2));
    // After a tick, an exchange leaves alone the orders that were asked for before it.
    frames.drain(pinned());
    let frame = frames.alloc(pinned(), Request::FRAME.movable()).unwrap();
    frames.free(pinned(), frame);
    frames.tick(pinned());
    held.push(frames.alloc(pinned(), request(7)).unwrap());
    assert!((1..9).filter(|&order| order != 7).all(|order| kept(order) == 0));
    held.into_iter().for_each(|run| frames.free(pinned(), run));
    frames.drain(pinned());
    assert_eq!(frames.free_large_blocks(), BLOCKS);
    frames.validate().unwrap();
}

/// Also where the CPU may keep less than it has.
#[test]
fn an_exchange_gives_back_at_most_half_of_each_magazine() {
    let frames = memory_of(1);
    let cache = frames.zones.cache(cpu()).unwrap();
    for order in 1..6 {
        let all: Vec<_> = (0..64).map(|_| frames.alloc(pinned(), request(order)).unwrap()).collect();
        all.into_iter().for_each(|run| frames.free(pinned(), run));
    }
    let kept = || [1, 2, 3, 4, 5].map(|order| cache.runs(Order::new(order).unwrap(), 1).unwrap().len());
    let before = kept();
    assert!(before.iter().sum::<u32>() > 120, "{before:?}");
    frames.tick(pinned());
    let run = frames.alloc(pinned(), request(8)).unwrap();
    let after = kept();
    for (before, after) in before.into_iter().zip(after) {
        assert!((before / 2..before).contains(&after), "of {before} are left {after}");
    }
    frames.free(pinned(), run);
    frames.validate().unwrap();
}

/// Two pools of one node: the runs of one lie among those of the other.
#[test]
fn full_magazines_of_two_pools_in_turn_make_room_in_batches() {
    for order in [1, 7] {
        let frames = frames_over(1, &[(BASE - BLOCKS * 512, BASE + BLOCKS * 512, 0)]);
        assert_eq!(frames.zones.pools.iter().count(), 2);
        let all = (0..).map_while(|_| frames.alloc(pinned(), request(order)).ok());
        let (high, low): (Vec<_>, Vec<_>) = all.partition(|run: &Frame| run.pfn().get() >= BASE);
        frames.drain(pinned());
        let mut freed = 0;
        let visits = lock_visits(|| {
            for (high, low) in high.into_iter().zip(low).take(1000) {
                frames.free(pinned(), high);
                frames.free(pinned(), low);
                freed += 2;
            }
        });
        assert!(visits * 4 <= freed, "order {order}: {visits} visits for {freed} frees");
        frames.drain(pinned());
        frames.validate().unwrap();
    }
}

#[test]
fn magazines_of_runs_are_bounded_in_frames() {
    for cpus in [1, 16, 64] {
        let frames = memory_of(cpus);
        let mut held: Vec<Frame> = Vec::new();
        for order in 1..9 {
            held.extend((0..80).map_while(|_| frames.alloc(pinned(), request(order)).ok()));
        }
        let cache = frames.zones.cache(cpu()).unwrap();
        // A 256th of the CPU's memory, and no more than two blocks of order 8.
        let most = (BLOCKS * 512 / cpus as u64 / 256).min(512);
        for run in held {
            let order = run.order();
            frames.free(pinned(), run);
            let kept = cache.runs(order, 1).unwrap().glimpse() << order.get();
            assert!(kept <= most, "{cpus} CPUs, order {order:?}: {kept} of {most}");
            assert!(cache.away_runs.glimpse_frames() <= 12 * most);
        }
        frames.validate().unwrap();
    }
}

/// Orders 0 to 9 at three quarters full, each two thirds as frequent as the one below it.
#[test]
fn a_mix_of_orders_visits_a_pool_in_five_of_a_thousand_pairs() {
    for cpus in [1, 2] {
        let frames = blocks_of(cpus, BLOCKS * cpus as u64);
        let target = BLOCKS * 512 * 3 / 4;
        let mut held: Vec<(Vec<Frame>, u64)> = (0..cpus).map(|_| (Vec::new(), 0)).collect();
        let (mut orders, mut victims) = (Random(1), Random(2));
        let mut run = |operations: usize| {
            let mut done = 0;
            while done < operations {
                for (cpu, (live, frames_live)) in held.iter_mut().enumerate() {
                    be_cpu(cpu);
                    let request = request((0..9).find(|_| orders.below(3) < 1).unwrap_or(9));
                    while *frames_live + request.order.frames() > target {
                        let victim = live.swap_remove(victims.below(live.len()));
                        *frames_live -= victim.order().frames();
                        frames.free(pinned(), victim);
                        done += 1;
                    }
                    *frames_live += request.order.frames();
                    live.push(frames.alloc(pinned(), request).unwrap());
                    done += 1;
                }
            }
        };
        // Until memory is as full as it gets.
        run(60_000 * cpus);
        let visits = lock_visits(|| run(40_000));
        assert!(visits <= 5 * 20, "{cpus} CPUs: {visits} in 20,000 pairs");
        frames.validate().unwrap();
    }
}
