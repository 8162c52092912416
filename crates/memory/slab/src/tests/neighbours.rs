//! Neighbourhoods of CPUs: their depots, and their stores of cells.

use std::vec::Vec;

use super::world::*;
use crate::depot::NEIGHBOURS;
use crate::{CacheSpec, Config, RawCache};

const CPUS: usize = 3 * NEIGHBOURS;

#[test]
fn objects_that_far_cpus_free_come_back() {
    let world = World::new(4096, 1, Config::new(CPUS));
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 256)).unwrap();
    let far = CPUS - 1;
    let in_depot = || {
        let guard = rhumb_machine::Machine::irq_off(world.slabs.machine());
        [0, far].map(|index| cache.record.depot_of(0, cpu(index)).lock(guard.irq_off()).full.objects)
    };
    // Often enough for the magazines to grow.
    for _ in 0..8 {
        let all: Vec<_> = (0..2000).map(|_| cache.alloc(pinned()).unwrap()).collect();
        be_cpu(far);
        // SAFETY: objects of this cache.
        all.into_iter().for_each(|object| unsafe { cache.free(pinned(), object) });
        be_cpu(0);
    }
    let [near, before] = in_depot();
    assert!(near == 0 && before > 200, "{near}, {before}");
    let slabs = || cache.slabs().report_of(cache.record).slabs;
    let (made, mut all) = (slabs(), Vec::new());
    // Beyond what the CPU's own magazines had left.
    while in_depot()[1] > 0 && all.len() < 4000 {
        all.push(cache.alloc(pinned()).unwrap());
    }
    assert!(in_depot()[1] == 0 && slabs() == made, "{:?}", in_depot());
    // SAFETY: objects of this cache.
    all.into_iter().for_each(|object| unsafe { cache.free(pinned(), object) });
    world.slabs.validate(pinned()).unwrap();
}

/// Magazines and headers that one neighbourhood takes and another gives back.
#[test]
fn cells_go_back_to_the_store_that_they_came_from() {
    let world = World::new(4096, 1, Config::new(CPUS));
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 64)).unwrap();
    let settle = || {
        for index in 0..CPUS {
            be_cpu(index);
            // They stay, from the first time on.
            world.open_lines();
            world.slabs.drain(pinned());
        }
        world.slabs.reclaim(pinned());
        (0..CPUS).for_each(|index| {
            be_cpu(index);
            world.frames.drain(pinned());
        });
        be_cpu(0);
        world.used_frames()
    };
    let before = settle();
    for round in 0..4 {
        let mut all = Vec::new();
        for index in 0..CPUS {
            be_cpu(index);
            all.extend((0..700).map(|_| cache.alloc(pinned()).unwrap()));
        }
        let other = CPUS - NEIGHBOURS * round.min(2) - 1;
        be_cpu(other);
        // SAFETY: objects of this cache.
        all.into_iter().for_each(|object| unsafe { cache.free(pinned(), object) });
        world.slabs.validate(pinned()).unwrap();
    }
    assert_eq!(settle(), before);
}

/// The magazines of a cache grow where one of its CPUs needs it, and the others go on with those that they have.
#[test]
fn a_cpu_that_gets_along_with_its_magazines_keeps_them() {
    let world = World::new(4096, 1, Config::new(2));
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 64)).unwrap();
    // SAFETY: objects of this cache.
    let give = |all: Vec<_>| all.into_iter().for_each(|object| unsafe { cache.free(pinned(), object) });
    let take = |count| (0..count).map(|_| cache.alloc(pinned()).unwrap()).collect::<Vec<_>>();
    let rounds = cache.record.rounds();
    give(take(3 * rounds));
    be_cpu(1);
    (0..16).for_each(|_| give(take(2000)));
    assert!(cache.record.rounds() > 2 * rounds);
    be_cpu(0);
    // One exchange with a magazine beside the loaded one, for each magazine and direction: one stretch each.
    let most = stretches(|| give(take(2 * rounds)));
    assert!(most <= 6, "{most} stretches with interrupts off");
}
