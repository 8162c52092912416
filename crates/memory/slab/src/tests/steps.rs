//! Long work goes in steps: no stretch with interrupts off grows with what there is.

use core::task::Poll;
use std::vec::Vec;

use rhumb_machine::Machine;

use super::world::*;
use crate::{CacheSpec, CheckList, Config, DestroyError, Inconsistency, RawCache, Reclaiming};

/// A stretch with interrupts off for each slab at least, where each slab is looked at.
#[test]
fn each_slab_is_a_stretch_of_its_own() {
    for (list, objects) in [("U,t", 3_000), ("U,other", 30_000)] {
        let world = World::new(4096, 1, Config { checks: CheckList::parse(list).unwrap(), ..Config::new(1) });
        let slabs = world.slabs;
        let cache = RawCache::new(slabs, pinned(), &CacheSpec::new("t", 400)).unwrap();
        let keeps_users = !cache.record.setup.checks.is_off();
        let all: Vec<_> = (0..objects).map(|_| cache.alloc(pinned()).unwrap()).collect();
        let count = slabs.report_of(cache.record).slabs;
        assert!(count > 400, "{count} slabs");
        assert!(stretches(|| slabs.validate(pinned()).unwrap()) >= count);
        let listed = stretches(|| {
            slabs.leaks(|_, in_use| assert_eq!(in_use.objects, all.len() as u64));
        });
        assert!(!keeps_users || listed >= count, "{listed} for {count} slabs");
        let mut refused = None;
        let ended = stretches(|| refused = cache.destroy(pinned()).err());
        assert!(!keeps_users || ended >= count, "{ended} for {count} slabs");
        let (cache, error) = refused.unwrap();
        let in_use = match error {
            DestroyError::InUse(in_use) => in_use,
            error => panic!("{error}"),
        };
        assert_eq!(in_use.objects, all.len() as u64);
        // SAFETY: objects of this cache.
        all.into_iter().for_each(|object| unsafe { cache.free(pinned(), object) });
        slabs.validate(pinned()).unwrap();
        cache.destroy(pinned()).unwrap();
    }
}

/// Slabs that become free while all are looked at stay until then; the visits after that let them go, few at a time.
#[test]
fn no_slab_leaves_while_all_are_looked_at() {
    let world = World::small();
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 1000)).unwrap();
    let all: Vec<_> = (0..2_000).map(|_| cache.alloc(pinned()).unwrap()).collect();
    let slabs = || world.slabs.report_of(cache.record).slabs;
    let node = |change: &dyn Fn(&mut u32)| {
        change(&mut cache.record.node(world.slabs.machine().irq_off().irq_off(), 0).walkers);
    };
    let late = cache.alloc(pinned()).unwrap();
    let most = slabs();
    node(&|walkers| *walkers += 1);
    // SAFETY: objects of this cache.
    all.into_iter().for_each(|object| unsafe { cache.free(pinned(), object) });
    world.slabs.reclaim(pinned());
    assert_eq!(slabs(), most);
    world.slabs.validate(pinned()).unwrap();
    node(&|walkers| *walkers -= 1);
    // SAFETY: an object of this cache.
    unsafe { cache.free(pinned(), late) };
    world.slabs.drain(pinned());
    assert!(
        (most - 40..most).contains(&slabs()),
        "{} slabs of {most}: one visit does not let all go",
        slabs()
    );
    world.slabs.reclaim(pinned());
    assert_eq!(slabs(), 0);
}

/// The check sees what does not fit, and leaves every magazine where it was.
#[test]
fn the_check_sees_what_does_not_fit() {
    let world = World::new(4096, 1, Config::new(2));
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 64)).unwrap();
    let all: Vec<_> = (0..3_000).map(|_| cache.alloc(pinned()).unwrap()).collect();
    // SAFETY: objects of this cache.
    all.iter().skip(1).for_each(|&object| unsafe { cache.free(pinned(), object) });
    let before = world.slabs.report_of(cache.record);
    assert!(before.in_magazines > 100);
    world.slabs.validate(pinned()).unwrap();
    assert_eq!(world.slabs.report_of(cache.record), before);
    let slab = {
        let guard = world.slabs.machine().irq_off();
        cache.record.node(guard.irq_off(), 0).newest().unwrap()
    };
    let found = |what: &str| world.slabs.validate(pinned()).expect_err(what);
    let older = slab.older();
    slab.set_older(Some(slab));
    assert!(matches!(found("a broken list"), Inconsistency::Links(_)));
    slab.set_older(older);
    let bin = slab.bin();
    slab.set_bin(bin ^ 1);
    assert!(matches!(found("a wrong bin"), Inconsistency::WrongBin(..)));
    slab.set_bin(bin);
    // A second free stays in the magazine until it comes to the slab.
    // SAFETY: wrong on purpose: an object of this cache that is in a magazine, or in its slab, already.
    unsafe { cache.free(pinned(), all[2_999]) };
    assert!(matches!(found("an object that is twice in magazines, or free"), Inconsistency::Magazine(..)));
    world.slabs.drain(pinned());
    world.slabs.validate(pinned()).unwrap();
    // SAFETY: an object of this cache.
    unsafe { cache.free(pinned(), all[0]) };
    cache.destroy(pinned()).unwrap();
}

/// A step of a reclaim gives back what one cache has, and the steps together what the whole does.
#[test]
fn i13_a_reclaim_in_steps_looks_at_one_cache_in_each() {
    let world = World::small();
    let slabs = world.slabs;
    let caches: Vec<_> =
        (0..20).map(|_| RawCache::new(slabs, pinned(), &CacheSpec::new("t", 1000)).unwrap()).collect();
    for cache in &caches {
        let all: Vec<_> = (0..200).map(|_| cache.alloc(pinned()).unwrap()).collect();
        // SAFETY: objects of this cache.
        all.into_iter().for_each(|object| unsafe { cache.free(pinned(), object) });
    }
    let in_use = || caches.iter().filter(|cache| slabs.report_of(cache.record).held_bytes() > 0).count();
    let (mut work, mut left, mut steps) = (Reclaiming::new(), in_use(), 0);
    assert_eq!(left, 20);
    let frames = loop {
        let answer = work.step(slabs, pinned());
        steps += 1;
        assert!(in_use() + 1 >= left, "one step has emptied {} caches", left - in_use());
        left = in_use();
        if let Poll::Ready(frames) = answer {
            break frames;
        }
    };
    assert!(steps > 20 && left == 0 && frames > 0, "{steps} steps, {left} caches left, {frames} frames");
    assert_eq!(slabs.reclaim(pinned()), 0);
}
