//! Faults that are planted in the structures are found by the check, and are gone when they are undone.

use std::vec::Vec;

use rhumb_machine::Machine;

use super::world::*;
use crate::magazine::Round;
use crate::magazine::Stack;
use crate::{CacheSpec, Config, Inconsistency, RawCache};

const COUNT: usize = 4_000;

/// Two nodes with a CPU each; the depot of the first has full magazines.
fn world() -> (World, RawCache<TestMachine>) {
    let world = World::new(4096, 2, Config::new(2));
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 64)).unwrap();
    let all: Vec<_> = (0..COUNT).map(|_| cache.alloc(pinned()).unwrap()).collect();
    // SAFETY: objects of this cache, each freed once.
    all.into_iter().for_each(|object| unsafe { cache.free(pinned(), object) });
    world.slabs.validate(pinned()).unwrap();
    (world, cache)
}

/// Works on the full magazines of a node's depot.
fn full<A>(
    world: &World,
    cache: &RawCache<TestMachine>,
    node: usize,
    work: impl FnOnce(&mut Stack) -> A,
) -> A {
    let guard = world.slabs.machine().irq_off();
    work(&mut cache.record.depot_of(node, cpu(node)).lock(guard.irq_off()).full)
}

fn sizes(world: &World, cache: &RawCache<TestMachine>) -> [(u32, u32); 2] {
    [0, 1].map(|node| full(world, cache, node, |full| (full.count, full.objects)))
}

#[test]
fn a_magazine_in_the_depot_of_another_node_is_found() {
    let (world, cache) = world();
    let before = sizes(&world, &cache);
    assert!(before[0].0 > 1, "{before:?}");
    let moved = full(&world, &cache, 0, Stack::pop).unwrap();
    full(&world, &cache, 1, |full| full.push(moved));
    let planted = sizes(&world, &cache);
    let found = world.slabs.validate(pinned()).unwrap_err();
    assert!(matches!(found, Inconsistency::OtherNode(_, 1, _)), "{found}");
    assert_eq!(sizes(&world, &cache), planted, "a check that fails puts back what it took");
    let moved = full(&world, &cache, 1, Stack::pop).unwrap();
    full(&world, &cache, 0, |full| full.push(moved));
    world.slabs.validate(pinned()).unwrap();
    assert_eq!(sizes(&world, &cache), before);
    cache.destroy(pinned()).unwrap();
}

#[test]
fn a_round_that_is_twice_in_a_magazine_or_free_in_its_slab_is_found() {
    let (world, cache) = world();
    be_cpu(1);
    let free_in_slab = cache.alloc(pinned()).unwrap();
    let kept = cache.alloc(pinned()).unwrap();
    // SAFETY: an object of this cache.
    unsafe { cache.free(pinned(), free_in_slab) };
    world.slabs.drain(pinned());
    be_cpu(0);
    let before = sizes(&world, &cache);
    // Below the top, so that the check has to come to it.
    let swap_round = |planted: Option<Round>| {
        full(&world, &cache, 0, |full| {
            let (above, mut magazine) = (full.pop().unwrap(), full.pop().unwrap());
            let old = magazine.round(0);
            let new = planted.unwrap_or_else(|| magazine.round(1));
            magazine.set_round(0, new);
            full.push(magazine);
            full.push(above);
            (old, new)
        })
    };
    for planted in [None, Some(free_in_slab)] {
        let (old, new) = swap_round(planted);
        let found = world.slabs.validate(pinned()).unwrap_err();
        assert!(
            matches!(found, Inconsistency::Magazine(_, object) if object == new.addr().get()),
            "{found} instead of {new:?}"
        );
        assert_eq!(sizes(&world, &cache), before);
        swap_round(Some(old));
        world.slabs.validate(pinned()).unwrap();
    }
    // SAFETY: an object of this cache.
    unsafe { cache.free(pinned(), kept) };
    world.slabs.reclaim(pinned());
    world.slabs.validate(pinned()).unwrap();
}
