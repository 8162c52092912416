//! A CPU's cache: what it keeps, how it grows, and how it gives back.

use std::vec::Vec;

use super::world::*;
use crate::arena::cpu::{LEAST_ROOM, QUANTA};

/// Takes so many ranges, and gives them back.
fn turn_over(world: &World, units: u64, ranges: usize) {
    let held: Vec<_> = (0..ranges).map(|_| world.alloc(units).unwrap()).collect();
    held.into_iter().for_each(|range| world.free(range));
}

#[test]
fn a_pair_from_the_cache_takes_no_lock() {
    let world = World::new(1 << 20, 1);
    for units in 1..=QUANTA as u64 {
        turn_over(&world, units, 1);
        let off = stretches(|| (0..1000).for_each(|_| turn_over(&world, units, 1)));
        assert_eq!(off, 0, "{units} units");
    }
    world.assert_whole(1);
}

/// Bursts of the same size grow the room of the class, and a CPU then visits the lock a few times for each burst.
#[test]
fn the_room_grows_with_use() {
    let world = World::new(1 << 20, 1);
    let visits = |ranges| stretches(|| turn_over(&world, 1, ranges));
    let first = visits(100);
    (0..10).for_each(|_| turn_over(&world, 1, 100));
    let later = visits(100);
    assert!(later < first && later <= 20, "{first} visits, then {later}");
    let kept = world.arena.report().kept_units;
    assert!(kept > u64::from(LEAST_ROOM), "{kept} are kept");
    world.assert_whole(1);
}

/// Whatever a CPU does, it keeps no more units than its share.
#[test]
fn a_cpu_keeps_no_more_than_its_share() {
    for (total, cpus, most) in [(1 << 20, 2, 2048), (1600, 2, 100), (64, 8, 1)] {
        let world = World::new(total, cpus);
        for turn in 0..200 {
            turn_over(&world, 1 + turn % 16, 1 + (turn as usize) % 3);
        }
        if total > 1 << 16 {
            (0..200).for_each(|turn| turn_over(&world, 1 + turn % 16, 60));
        }
        let kept = world.arena.report().kept_units;
        assert!(kept <= most, "{kept} of {most} are kept");
        assert!(kept > 0 && (total < 1 << 16 || kept > 1024), "{kept}");
        world.arena.validate(pinned()).unwrap();
        world.assert_whole(1);
    }
}

#[test]
fn an_idle_cpu_gives_back_at_the_second_trim() {
    let world = World::new(1 << 16, 2);
    turn_over(&world, 3, 20);
    be_cpu(1);
    turn_over(&world, 4, 20);
    world.arena.trim(pinned());
    assert!(world.arena.report().kept_units > 0, "both were in use");
    turn_over(&world, 4, 60);
    let own = world.arena.cache(pinned().cpu()).unwrap().units();
    world.arena.trim(pinned());
    be_cpu(0);
    world.arena.tick(pinned());
    assert_eq!(world.arena.report().kept_units, u64::from(own), "the CPU that was in use keeps its own");
    be_cpu(1);
    world.arena.trim(pinned());
    assert_eq!(world.arena.report().kept_units, 0);
    world.assert_whole(1);
    be_cpu(0);
}

/// A CPU that keeps as many units as it may, nearly all of one size, gives back of that size, so that another size that
/// is in use finds room: this size does not visit the lock at each free.
#[test]
fn a_full_cache_gives_back_of_the_size_with_the_most_units() {
    let world = World::new(1 << 12, 1);
    world.arena.set_cpu_units(pinned(), 65);
    let [ones, large] = [(1, 2), (16, 4)]
        .map(|(units, ranges)| (0..ranges).map(|_| world.alloc(units).unwrap()).collect::<Vec<_>>());
    world.arena.drain(pinned());
    let mut ones = ones.into_iter();
    ones.next().into_iter().chain(large).for_each(|range| world.free(range));
    assert_eq!(world.arena.report().kept_units, 65);
    ones.for_each(|range| world.free(range));
    let cache = world.arena.cache(pinned().cpu()).unwrap();
    let of = |size| cache.kept().filter(|&(units, _)| units == size).count();
    assert_eq!((of(1), of(16)), (2, 2));
    world.assert_whole(1);
}

/// A handler that interrupts an operation on the cache leaves it alone; the next tick answers a drain that found it so.
#[test]
fn a_handler_leaves_an_interrupted_cache_alone() {
    let world = World::new(1 << 16, 1);
    turn_over(&world, 2, 20);
    let outside = world.alloc(2).unwrap();
    let cache = world.arena.cache(pinned().cpu()).unwrap();
    let before = cache.units();
    let held = cache.gate.alone(|| {
        let held = world.alloc(2).unwrap();
        world.free(outside);
        world.arena.drain(pinned());
        world.arena.reclaim(pinned());
        assert!(world.alloc(1 << 17).is_none());
        held
    });
    assert_eq!(cache.units(), before, "nothing was taken from it or put into it");
    world.arena.tick(pinned());
    assert_eq!(cache.units(), 0);
    world.free(held.unwrap());
    world.assert_whole(1);
}

/// A CPU that was asked gives back at its next slow operation, be it a free or an allocation, and keeps again after.
#[test]
fn a_cpu_that_is_asked_answers_at_its_next_free() {
    let world = World::new(1 << 16, 2);
    let held: Vec<_> = (0..10).map(|_| world.alloc(5).unwrap()).collect();
    turn_over(&world, 7, 6);
    be_cpu(1);
    world.arena.reclaim(pinned());
    be_cpu(0);
    assert!(world.arena.report().kept_units > 0);
    let mut held = held.into_iter();
    world.free(held.next().unwrap());
    assert_eq!(world.arena.report().kept_units, 0);
    world.free(held.next().unwrap());
    assert_eq!(world.arena.report().kept_units, 5);
    be_cpu(1);
    world.arena.reclaim(pinned());
    be_cpu(0);
    // A size of which it keeps none.
    let other = world.alloc(9).unwrap();
    let kept = world.arena.report().kept_units;
    assert!(kept > 0 && kept.is_multiple_of(9), "{kept}");
    held.chain([other]).for_each(|range| world.free(range));
    world.assert_whole(1);
}

/// A CPU whose share is taken away gives back what it keeps, and then visits the lock each time.
#[test]
fn a_cpu_without_a_share_keeps_nothing() {
    let world = World::new(1 << 16, 1);
    turn_over(&world, 1, 20);
    assert!(world.arena.report().kept_units > 0);
    let share = world.arena.set_cpu_units(pinned(), 0);
    assert!(share > 0);
    // A stretch for each operation, and for tags.
    assert!(stretches(|| turn_over(&world, 1, 10)) >= 20);
    assert_eq!(world.arena.report().kept_units, 0);
    assert_eq!(world.arena.set_cpu_units(pinned(), u32::MAX), 0);
    turn_over(&world, 1, 20);
    assert!(world.arena.report().kept_units > 0);
    world.assert_whole(1);
}
