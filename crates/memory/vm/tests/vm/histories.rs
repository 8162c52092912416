//! Random histories of maps against the plain model: the task's and the kernel's by the same code.

use crate::model::Pair;
use crate::world::{KINDS, Kind, Random, on_ground};

fn history(kind: Kind, seed: u64, steps: u64) {
    on_ground(|ground| {
        let mut pair = Pair::new(ground.map(kind));
        let mut random = Random(seed);
        for step in 0..steps {
            pair.step(&mut random).unwrap();
            if step % 50 == 49 {
                pair.check();
            }
        }
        pair.check();
        pair.map.unmap(pair.map.range()).unwrap();
        pair.pages.fill(None);
        pair.check();
        assert_eq!((pair.map.usage().address_pages, pair.map.usage().resident_pages), (0, 0));
    });
}

#[test]
fn maps_do_what_the_model_does() {
    for kind in KINDS {
        for seed in 1..=6 {
            history(kind, seed * 0x9e37_79b9, 400);
        }
    }
}
