//! Size classes; alignments with offsets.

use std::vec::Vec;

use proptest::prelude::*;

use super::world::*;
use crate::arena::class::{Class, ROWS};
use crate::arena::units::MOST_UNITS;
use crate::{Fit, Units};

fn position(class: Class) -> usize {
    class.row * 32 + class.column
}

proptest! {
    /// Each size is in the class that the classes' order says, and the class for "at least" has no smaller size.
    #[test]
    fn classes_are_in_the_order_of_sizes(units in 1..=MOST_UNITS, more in 0u64..10_000) {
        let class = Class::of(units);
        prop_assert!(class.row < ROWS && class.column < 32);
        prop_assert!(position(Class::of(units.saturating_add(more).min(MOST_UNITS))) >= position(class));
        if let Some(certain) = Class::at_least(units) {
            prop_assert!(position(certain) >= position(class));
            prop_assert!(position(certain) <= position(class) + 1);
            // The size below is of a class before it, or of the same one where that begins with it.
            if certain != class {
                prop_assert!(position(Class::of(units - 1)) < position(certain));
            }
        }
    }

    /// The place is the lowest that is allowed, by trying all of them.
    #[test]
    fn a_place_is_the_lowest(
        start in 0u64..200,
        count in 0u64..100,
        units in 1u64..60,
        shift in 0u32..6,
        offset in 0u64..64,
    ) {
        let (align, range) = (1 << shift, Units::of_length(start, count).unwrap());
        let offset = offset % align;
        let fit = Fit::new(units).unwrap().aligned(align, offset).unwrap();
        let mut places = range.start()..range.end();
        let lowest = places.find(|place| place % align == offset && place + units <= range.end());
        prop_assert_eq!(fit.place_in(range), lowest);
    }
}

/// A range of this class or a later one serves the request: the least of each class does.
#[test]
fn the_least_of_a_class_is_in_it() {
    for units in 1..5000 {
        let class = Class::at_least(units).unwrap();
        let least = (units..).find(|&size| Class::of(size) == class).unwrap();
        assert!((units..=units + units / 32 + 1).contains(&least), "{units} {least}");
        assert!((1..units).rev().take(200).all(|size| Class::of(size) != class), "{units}");
    }
    assert_eq!(Class::at_least(MOST_UNITS), Some(Class::of(MOST_UNITS)));
    assert_eq!(Class::at_least(u64::MAX), None);
}

#[test]
fn alignments_with_offsets_are_kept() {
    let world = World::new(1 << 16, 1);
    let mut held = Vec::new();
    for round in 0..4 {
        for shift in 0..10 {
            for offset in [0, 1, 3] {
                let (align, units) = (1 << shift, 1 + round * 7);
                let offset = offset % align;
                let range = world.alloc_aligned(units, align, offset).unwrap();
                assert_eq!(range.range().start() % align, offset);
                held.push(range);
                world.arena.validate(pinned()).unwrap();
            }
        }
    }
    held.into_iter().for_each(|range| world.free(range));
    world.assert_whole(1);
}

/// The one place that serves an aligned request is found, although a range that certainly serves it would be larger.
#[test]
fn an_aligned_place_of_its_exact_size_is_found() {
    let world = World::new(1024 - START % 512 + 24, 1);
    let aligned = world.alloc_aligned(512, 512, 0).unwrap();
    let start = aligned.range().start();
    world.free(aligned);
    let around: Vec<_> = [world.alloc(start - START).unwrap()].into();
    let aligned = world.alloc_aligned(512, 512, 0).unwrap();
    assert_eq!(aligned.range().start(), start);
    world.free(aligned);
    around.into_iter().for_each(|range| world.free(range));
    world.assert_whole(1);
}
