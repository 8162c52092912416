//! The measures of caches of every size: the smallest slab that wastes little, else the one that wastes least.

use std::vec::Vec;

use crate::class::LARGEST;
use crate::shape::{MAX_OBJECTS, Margins, Shape};

/// Bytes that are no slot's, of a slab of `bytes`; `None` where none fits.
fn rest(bytes: u32, slot: u32) -> Option<(u32, u32)> {
    let objects = (bytes / slot).min(MAX_OBJECTS);
    (objects > 0).then(|| (objects, bytes - objects * slot))
}

#[test]
fn a_slab_is_the_smallest_that_wastes_a_ninth_or_else_the_one_that_wastes_least() {
    let mut none_is_good = 0;
    for size in (8..=LARGEST).step_by(8) {
        for (align, margins) in
            [(8, Margins::default()), (8, Margins { lead: 64, tail: 72 }), (4096, Margins::default())]
        {
            let shape = Shape::new(size, align, margins).unwrap();
            let slabs: Vec<_> = (0..6)
                .map(|order| 4096u32 << order)
                .filter(|&bytes| bytes >= align as u32)
                .filter_map(|bytes| {
                    rest(bytes, shape.slot_bytes).map(|(objects, rest)| (bytes, objects, rest))
                })
                .collect();
            let good = slabs.iter().find(|&&(bytes, _, rest)| rest * 9 <= bytes);
            none_is_good += u32::from(good.is_none());
            // A share is compared without rounding; of two alike, the smaller slab is the first.
            let least = slabs.iter().min_by(|one, other| {
                (u64::from(one.2) * u64::from(other.0)).cmp(&(u64::from(other.2) * u64::from(one.0)))
            });
            let &(bytes, objects, _) = good.or(least).unwrap();
            let is = (shape.slab_bytes(), shape.objects);
            assert_eq!(is, (bytes as usize, objects), "{size} bytes at {align}, {margins:?}");
        }
    }
    assert!(none_is_good > 1000, "{none_is_good}");
}
