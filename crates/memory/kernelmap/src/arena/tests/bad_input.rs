//! Requests that are refused, with nothing changed.

use super::world::*;
use crate::arena::MOST_SPANS;
use crate::{Arena, ArenaError, ArenaLayout, Fit, Units};

#[test]
fn sizes_and_alignments_that_there_are_none_of() {
    assert_eq!(Fit::new(0), Err(ArenaError::BadSize));
    assert_eq!(Fit::new((1 << 40) + 1), Err(ArenaError::BadSize));
    let fit = Fit::new(1 << 40).unwrap();
    for (align, offset) in [(0, 0), (3, 0), (1, 1), (8, 8), (1 << 41, 0)] {
        assert_eq!(fit.aligned(align, offset), Err(ArenaError::BadAlignment), "{align} {offset}");
    }
    let world = World::new(1000, 1);
    assert!(world.arena.alloc(pinned(), fit).is_err());
    assert!(world.arena.alloc(pinned(), fit.aligned(1 << 40, (1 << 40) - 1).unwrap()).is_err());
    world.assert_whole(1);
}

#[test]
fn spans_that_do_not_fit() {
    let world = World::new(100, 1);
    let add = |start, count| world.arena.add_span(pinned(), Units::of_length(start, count).unwrap());
    for (start, count) in [(0, 0), (START, 1), (START + 99, 1), (START - 1, 2), (0, 5000), (5000, 1 << 40)] {
        assert_eq!(add(start, count), Err(ArenaError::BadSpan), "{start} {count}");
    }
    for index in 1..MOST_SPANS as u64 {
        add(START + 1000 * index, 10).unwrap();
    }
    assert_eq!(add(1 << 30, 1), Err(ArenaError::BadSpan));
    assert_eq!(Units::of_length(u64::MAX, 1), None);
    world.assert_whole(MOST_SPANS as u64);
}

/// A span that is refused changes nothing: a share that was set stays, too.
#[test]
fn a_refused_span_leaves_the_share_of_a_cpu() {
    let world = World::new(1 << 16, 1);
    world.arena.set_cpu_units(pinned(), 0);
    let again = Units::of_length(START, 1).unwrap();
    assert_eq!(world.arena.add_span(pinned(), again), Err(ArenaError::BadSpan));
    assert_eq!(world.arena.set_cpu_units(pinned(), 5), 0);
    let other = Units::of_length(0, 1).unwrap();
    world.arena.add_span(pinned(), other).unwrap();
    assert_eq!(world.arena.set_cpu_units(pinned(), 5), 2048, "shared out anew");
}

#[test]
fn no_units_overlap_nothing() {
    let units = |start, count| Units::of_length(start, count).unwrap();
    for start in [9, 10, 15, 20, 21] {
        assert!(
            !units(start, 0).overlaps(units(10, 10)) && !units(10, 10).overlaps(units(start, 0)),
            "{start}"
        );
    }
    assert!(units(10, 10).overlaps(units(19, 1)) && !units(10, 10).overlaps(units(20, 1)));
}

#[test]
fn a_range_of_another_arena_comes_back() {
    let world = World::new(1000, 1);
    let other = arena(world.tags, 1);
    for units in [1, 20] {
        let held = world.alloc(units).unwrap();
        let range = held.range();
        let back = other.free(pinned(), held).unwrap_err();
        assert_eq!(back.0.range(), range);
        world.free(back.0);
    }
    world.assert_whole(1);
}

#[test]
fn memory_that_is_too_small() {
    let world = World::new(1000, 1);
    let layout = ArenaLayout::new(3).unwrap();
    let bytes = layout.storage_bytes();
    let memory = std::vec![0u64; bytes / 8 - 1].leak();
    let refused = Arena::new(layout, world.tags, memory).err();
    assert_eq!(refused, Some(ArenaError::StorageTooSmall(bytes - 8, bytes)));
    assert_eq!(ArenaLayout::new(0), Err(ArenaError::BadMachine));
    assert_eq!(ArenaLayout::new(rhumb_machine::MAX_CPUS + 1), Err(ArenaError::BadMachine));
    // Aligned badly, it is enough still.
    let memory = std::vec![0u64; bytes / 8 + 1].leak();
    assert!(Arena::new(layout, world.tags, &mut memory[1..]).is_ok());
}

/// The largest arena, in two spans, one of which ends with the last number there is: aligned requests at its end are
/// served or refused, and no sum passes the last number.
#[test]
fn the_last_numbers_there_are() {
    let world = World::new(0, 1);
    let half = 1 << 39;
    for start in [u64::MAX - half, 0] {
        world.arena.add_span(pinned(), Units::of_length(start, half).unwrap()).unwrap();
    }
    let one_more = Units::of_length(half, 1).unwrap();
    assert_eq!(world.arena.add_span(pinned(), one_more), Err(ArenaError::BadSpan));
    assert!(world.alloc(1 << 40).is_none() && world.alloc(half + 1).is_none());
    let low = world.alloc(half).unwrap();
    assert_eq!(low.range().start(), 0);
    assert!(world.arena.alloc(pinned(), Fit::new(2).unwrap().aligned(half, half - 2).unwrap()).is_err());
    let last = world.alloc_aligned(1, half, half - 2).unwrap();
    assert_eq!(last.range(), Units::of_length(u64::MAX - 1, 1).unwrap());
    let rest = world.alloc(half - 1);
    assert_eq!(world.arena.report().free_units, 0);
    world.arena.validate(pinned()).unwrap();
    assert!(
        world.arena.find(u64::MAX - 1).unwrap().is_some() && world.arena.find(u64::MAX).unwrap().is_none()
    );
    [Some(low), Some(last), rest].into_iter().flatten().for_each(|range| world.free(range));
    world.assert_whole(2);
}

#[test]
fn as_many_cpus_as_a_machine_can_have() {
    let world = World::new(1000, 1);
    let most = arena(world.tags, rhumb_machine::MAX_CPUS);
    most.add_span(pinned(), Units::of_length(0, 1 << 30).unwrap()).unwrap();
    let range = most.alloc(pinned(), Fit::new(3).unwrap()).unwrap();
    most.free(pinned(), range).unwrap();
    most.validate(pinned()).unwrap();
    most.trim(pinned());
    most.reclaim(pinned());
    assert_eq!((most.report().kept_units, most.report().ranges_out), (0, 0));
    assert_eq!(most.caches.len(), rhumb_machine::MAX_CPUS);
}
