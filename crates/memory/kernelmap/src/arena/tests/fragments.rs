//! Fragmentation at its worst: what is free in small pieces stays usable as such, and merges as the rest is freed.

use std::vec::Vec;

use super::world::*;

/// Every second unit of an arena is held: half of it is free, and two units in a row are not to be had.
#[test]
fn a_comb_has_only_single_units() {
    let world = World::new(4096, 1);
    let held: Vec<_> = (0..4096).map(|_| world.alloc(1).unwrap()).collect();
    let (odd, even): (Vec<_>, Vec<_>) = held.into_iter().partition(|range| range.range().start() % 2 == 1);
    odd.into_iter().for_each(|range| world.free(range));
    world.arena.drain(pinned());
    world.arena.validate(pinned()).unwrap();
    assert_eq!(world.arena.report().free_units, 2048);
    assert!(world.alloc(2).is_none());
    let again: Vec<_> = (0..2048).map(|_| world.alloc(1).unwrap()).collect();
    assert!(world.alloc(1).is_none());
    again.into_iter().chain(even).for_each(|range| world.free(range));
    world.assert_whole(1);
}

/// One unit of each 32 is held, the worst that a 32nd of an arena can do: nothing larger than 31 units is to be had, and
/// all that is left can be had in ranges of 31.
#[test]
fn a_held_unit_in_each_32_leaves_ranges_of_31() {
    let total = 1 << 14;
    let world = World::new(total, 1);
    let mut held: Vec<_> = core::iter::from_fn(|| world.alloc(1)).collect();
    assert_eq!(held.len() as u64, total);
    let gone: Vec<_> =
        held.extract_if(.., |range| !(range.range().start() - START).is_multiple_of(32)).collect();
    gone.into_iter().for_each(|range| world.free(range));
    world.arena.drain(pinned());
    world.arena.validate(pinned()).unwrap();
    assert!(world.alloc(32).is_none());
    held.extend(core::iter::from_fn(|| world.alloc(31)));
    assert_eq!(world.arena.report().free_units, 0);
    held.into_iter().for_each(|range| world.free(range));
    world.assert_whole(1);
}

/// Mixed sizes come and go for long at nine tenths of the arena: nearly all requests are served.
#[test]
fn a_long_churn_at_nine_tenths_is_served() {
    let (total, mut random) = (1u64 << 20, Random(7));
    let world = World::new(total, 1);
    let (mut held, mut live, mut failed) = (Vec::new(), 0, 0);
    for _ in 0..200_000 {
        let units = 1 + random.below(512) as u64;
        while live + units > total / 10 * 9 {
            let gone: crate::HeldRange = held.swap_remove(random.below(held.len()));
            live -= gone.range().count();
            world.free(gone);
        }
        match world.alloc(units) {
            Some(range) => {
                live += units;
                held.push(range);
            }
            None => failed += 1,
        }
    }
    world.arena.validate(pinned()).unwrap();
    assert!(failed < 2000, "{failed} of 200,000 requests failed");
    held.into_iter().for_each(|range| world.free(range));
    world.assert_whole(1);
}
