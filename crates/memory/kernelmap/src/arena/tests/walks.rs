//! Walks and look-ups while the arena changes.

use core::ops::ControlFlow;
use std::vec::Vec;

use super::world::*;
use crate::arena::RangePlace;
use crate::arena::walk::STEP;
use crate::{ArenaError, Units};

#[test]
fn each_unit_is_found_in_its_range() {
    let world = World::new(3000, 1);
    world.arena.add_span(pinned(), Units::of_length(1 << 30, 50).unwrap()).unwrap();
    let held: Vec<_> = (1..60).filter_map(|units| world.alloc(units)).collect();
    let mut ranges = Vec::new();
    world
        .arena
        .for_each(|range| {
            ranges.push(range);
            ControlFlow::Continue(())
        })
        .unwrap();
    for range in &ranges {
        for unit in [range.range.start(), range.range.end() - 1] {
            assert_eq!(world.arena.find(unit), Ok(Some(*range)));
        }
    }
    assert_eq!(ranges.iter().map(|range| range.range.count()).sum::<u64>(), 3050);
    for unit in [0, START - 1, START + 3000, (1 << 30) - 1, (1 << 30) + 50, u64::MAX] {
        assert_eq!(world.arena.find(unit), Ok(None), "{unit}");
    }
    held.into_iter().for_each(|range| world.free(range));
}

#[test]
fn a_walk_shows_where_a_range_is() {
    let world = World::new(100, 1);
    let mut held = world.alloc(20).unwrap();
    held.set_word(5);
    let kept = world.alloc(1).unwrap();
    let (held_at, kept_at) = (held.range().start(), kept.range().start());
    world.free(kept);
    let found = |unit| world.arena.find(unit).unwrap().unwrap();
    assert_eq!((found(held_at).place, found(held_at).word), (RangePlace::Held, 5));
    assert_eq!((found(kept_at).place, found(kept_at).word), (RangePlace::Kept, 0));
    assert_eq!(found(START + 99).place, RangePlace::Free);
    world.free(held);
}

/// Ranges around the walk's place merge and are divided in between: those that stay are seen once each, in order.
#[test]
fn a_walk_goes_on_where_ranges_merge_under_it() {
    let world = World::new(4000, 1);
    let mut held: Vec<_> = (0..100).map(|_| world.alloc(30).unwrap()).collect();
    held.sort_by_key(|range| range.range().start());
    let mut stay = Vec::new();
    let mut go = Vec::new();
    for (index, range) in held.into_iter().enumerate() {
        if index % 10 == 5 { stay.push(range) } else { go.push(range) }
    }
    go.reverse();
    let (mut seen, mut turns) = (Vec::new(), 0);
    world
        .arena
        .for_each(|range| {
            turns += 1;
            // Those ahead are freed while the walk approaches them, and one is taken anew.
            for _ in 0..3 {
                if let Some(range) = go.pop() {
                    world.free(range);
                }
            }
            if turns % 7 == 0 {
                go.extend(world.alloc(25));
            }
            if range.place == RangePlace::Held && stay.iter().any(|stays| stays.range() == range.range) {
                seen.push(range.range);
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen, stay.iter().map(crate::HeldRange::range).collect::<Vec<_>>());
    stay.into_iter().chain(go).for_each(|range| world.free(range));
    world.assert_whole(1);
}

/// The place of a walk is where the tag goes that the walk would come to next: the walk goes on behind it.
#[test]
fn a_walk_outlives_each_range_that_it_stands_at() {
    for gone in 0..40 {
        let world = World::new(2000, 1);
        let mut held: Vec<_> = (0..40).map(|_| world.alloc(40)).collect();
        let mut turn = 0;
        let mut seen = 0;
        world
            .arena
            .for_each(|range| {
                if turn == 0 {
                    // The first of a step: its ranges were seen, the place is the one behind them.
                    for index in [gone, (gone + 1) % 40, (gone + 39) % 40] {
                        held[index].take().into_iter().for_each(|range| world.free(range));
                    }
                }
                turn += 1;
                seen += u64::from(range.place == RangePlace::Held);
                ControlFlow::Continue(())
            })
            .unwrap();
        assert!((37..=40).contains(&seen), "{seen}");
        held.into_iter().flatten().for_each(|range| world.free(range));
        world.assert_whole(1);
    }
}

#[test]
fn a_fifth_walk_is_refused() {
    fn nested(world: &World, depth: usize) -> Result<usize, ArenaError> {
        let mut deepest = Ok(depth);
        world.arena.for_each(|_| {
            deepest = nested(world, depth + 1);
            ControlFlow::Break(())
        })?;
        deepest
    }
    let world = World::new(100, 1);
    assert_eq!(nested(&world, 0), Err(ArenaError::TooManyWalks));
    // All of them are over.
    assert!(world.arena.find(START).unwrap().is_some());
    world.arena.validate(pinned()).unwrap();
}

/// A free range that grows over what a walk has seen is not seen from there again, but from the walk's place on; nor is
/// one that is taken from it.
#[test]
fn a_walk_does_not_go_back() {
    // The first range behind those of the walk's first step, and the last of them, in either order.
    let orders = [[STEP, STEP - 1], [STEP - 1, STEP]];
    for (is_taken, order) in
        [false, true].into_iter().flat_map(|is_taken| orders.map(|order| (is_taken, order)))
    {
        let world = World::new(1 << 10, 1);
        world.arena.set_cpu_units(pinned(), 0);
        let mut held: Vec<_> = (0..40).map(|_| world.alloc(4)).collect();
        held.sort_by_key(|range| range.as_ref().map(|range| range.range().start()));
        let (mut passed, mut seen) = (START, 0);
        world
            .arena
            .for_each(|report| {
                let start = report.range.start();
                assert!(start == passed || is_taken && start > passed, "{report:?} after {passed}");
                passed = report.range.end();
                if seen == 0 {
                    for at in order {
                        held[at].take().into_iter().for_each(|range| world.free(range));
                    }
                    if is_taken {
                        held.push(world.alloc(8));
                    }
                }
                seen += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        assert!(seen > 38, "{seen}");
        held.into_iter().flatten().for_each(|range| world.free(range));
        world.assert_whole(1);
    }
}

/// A free range is divided while a walk is at it: the walk goes on at the piece that has its unit.
#[test]
fn a_walk_sees_all_pieces_of_a_range_that_is_divided_under_it() {
    for (units, align, offset) in [(8, 1, 0), (4, 16, 0), (4, 16, 5)] {
        let world = World::new(1 << 10, 1);
        world.arena.set_cpu_units(pinned(), 0);
        let held: Vec<_> = (0..STEP).map(|_| world.alloc(4).unwrap()).collect();
        let (mut passed, mut taken) = (START, None);
        world
            .arena
            .for_each(|report| {
                assert_eq!(report.range.start(), passed);
                passed = report.range.end();
                if taken.is_none() {
                    taken = world.alloc_aligned(units, align, offset);
                    world.arena.validate(pinned()).unwrap();
                }
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(passed, START + (1 << 10));
        held.into_iter().chain(taken).for_each(|range| world.free(range));
        world.assert_whole(1);
    }
}

/// Whatever comes, goes and merges around a walk, each range that stays is seen once, and each unit is found.
#[test]
fn a_walk_comes_to_each_unit_in_any_churn() {
    for seed in 0..20 {
        let (world, mut random) = (World::new(2000, 1), Random(seed));
        world.arena.set_cpu_units(pinned(), 0);
        let mut held: Vec<_> = (0..60).filter_map(|_| world.alloc(1 + random.below(40) as u64)).collect();
        let mut stay: Vec<_> = held.extract_if(.., |_| random.below(4) == 0).collect();
        stay.sort_by_key(|range| range.range().start());
        let (mut passed, mut seen) = (START, Vec::new());
        world
            .arena
            .for_each(|report| {
                assert!(report.range.start() >= passed, "{report:?} after {passed}");
                passed = report.range.end();
                seen.extend(stay.iter().map(crate::HeldRange::range).filter(|&range| range == report.range));
                for _ in 0..4 {
                    if random.below(2) == 0 && !held.is_empty() {
                        world.free(held.swap_remove(random.below(held.len())));
                    } else {
                        held.extend(world.alloc(1 + random.below(40) as u64));
                    }
                }
                world.arena.validate(pinned()).unwrap();
                let unit = START + random.below(2000) as u64;
                let found = world.arena.find(unit).unwrap().unwrap();
                assert!(found.range.contains(unit), "{unit} in {found:?}");
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(seen, stay.iter().map(crate::HeldRange::range).collect::<Vec<_>>());
        stay.into_iter().chain(held).for_each(|range| world.free(range));
        world.assert_whole(1);
    }
}
