//! Ranges come, go and merge.

use std::vec::Vec;

use super::world::*;
use crate::Units;

#[test]
fn a_range_is_taken_and_merges_again() {
    let world = World::new(1 << 20, 1);
    let mut held = world.alloc(100).unwrap();
    assert_eq!((held.range().count(), held.word()), (100, 0));
    held.set_word(7);
    assert_eq!(held.word(), 7);
    let report = world.arena.report();
    assert_eq!((report.free_units, report.held_units(), report.ranges_out), ((1 << 20) - 100, 100, 1));
    world.free(held);
    world.assert_whole(1);
}

#[test]
fn any_size_up_to_the_span() {
    for units in [1, 2, 31, 32, 33, 63, 64, 65, 100, 1000, 12_345] {
        let world = World::new(units, 1);
        let all = world.alloc(units).unwrap();
        assert_eq!(all.range(), Units::of_length(START, units).unwrap());
        assert!(world.alloc(1).is_none());
        world.free(all);
        world.assert_whole(1);
    }
}

/// Whatever the order in which three neighbours are freed, they merge with each other and with the rest.
#[test]
fn neighbours_merge_in_each_order() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let world = World::new(10_000, 1);
        let mut held: Vec<_> = [50, 60, 70].map(|units| world.alloc(units)).into();
        for index in order {
            world.free(held[index].take().unwrap());
            world.arena.validate(pinned()).unwrap();
        }
        world.assert_whole(1);
    }
}

#[test]
fn the_word_of_a_range_is_zero_for_its_next_holder() {
    let world = World::new(1000, 1);
    for units in [1, 50] {
        let mut held = world.alloc(units).unwrap();
        held.set_word(9);
        world.free(held);
        let held = world.alloc(units).unwrap();
        assert_eq!(held.word(), 0);
        world.free(held);
    }
}

/// Ranges do not cross from one span to the next, even where the spans adjoin.
#[test]
fn spans_do_not_merge() {
    let world = World::new(100, 1);
    world.arena.add_span(pinned(), Units::of_length(START + 100, 100).unwrap()).unwrap();
    assert!(world.alloc(101).is_none());
    let (one, other) = (world.alloc(100).unwrap(), world.alloc(100).unwrap());
    assert!(!one.range().overlaps(other.range()));
    world.free(one);
    world.free(other);
    world.assert_whole(2);
}
