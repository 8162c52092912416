//! Memory that is gone while objects of the cache are free elsewhere: the request finds them.

use core::ptr::NonNull;
use std::vec::Vec;

use rhumb_frames::{AllocClass, Frame, Request};

use super::world::*;
use crate::depot::{LOOKS, NEIGHBOURS};
use crate::{CacheSpec, CheckList, Config, RawCache};

/// Takes all objects that a CPU can have, and all frames.
fn take_all(world: &World, cache: &RawCache<TestMachine>) -> (Vec<NonNull<u8>>, Vec<Frame>) {
    let mut objects: Vec<_> = (0..500).map(|_| cache.alloc(pinned()).unwrap()).collect();
    let frame = || world.frames.alloc(pinned(), Request::FRAME.class(AllocClass::Atomic)).ok();
    let frames = core::iter::from_fn(frame).collect();
    let object = || world.slabs.alloc_from(cache.record, pinned(), AllocClass::Atomic).ok();
    objects.extend(core::iter::from_fn(object));
    (objects, frames)
}

/// Gives all back, and checks that nothing is left.
fn give_all(world: &World, cache: RawCache<TestMachine>, objects: Vec<NonNull<u8>>, frames: Vec<Frame>) {
    // SAFETY: objects of this cache.
    objects.into_iter().for_each(|object| unsafe { cache.free(pinned(), object) });
    frames.into_iter().for_each(|frame| world.frames.free(pinned(), frame));
    world.slabs.validate(pinned()).unwrap();
    cache.destroy(pinned()).unwrap();
}

/// Returns how many objects are free in slabs and depots: those that lie with no CPU.
fn free_objects(world: &World, cache: &RawCache<TestMachine>) -> u64 {
    let guard = rhumb_machine::Machine::irq_off(world.slabs.machine());
    let record = cache.record;
    let of_slabs: u64 = (0..record.node_count()).map(|node| record.node(guard.irq_off(), node).free).sum();
    let of_depots = record.depots().map(|(_, depot)| u64::from(depot.lock(guard.irq_off()).full.objects));
    of_slabs + of_depots.sum::<u64>()
}

/// Frees so many objects on the last CPU, every other one, so that no slab becomes free; and takes them on CPU 0, which
/// has a magazine of the only size that there is for such objects.
fn take_again(checks: &str, cpus: usize, nodes: usize, frees: usize, class: AllocClass) {
    let checks = CheckList::parse(checks).unwrap();
    let world = World::new(1024 * nodes as u64, nodes, Config { checks, ..Config::new(cpus) });
    if class == AllocClass::Ordinary {
        world.slabs.register().unwrap();
    }
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 2000)).unwrap();
    let first = cache.alloc(pinned()).unwrap();
    // SAFETY: an object of this cache.
    unsafe { cache.free(pinned(), first) };
    be_cpu(cpus - 1);
    let (objects, frames) = take_all(&world, &cache);
    let is_freed = |at: usize| at.is_multiple_of(2) && at < 2 * frees;
    let (freed, objects): (Vec<_>, Vec<_>) =
        objects.into_iter().enumerate().partition(|&(at, _)| is_freed(at));
    let mut objects: Vec<_> = objects.into_iter().map(|(_, object)| object).collect();
    // SAFETY: objects of this cache.
    freed.into_iter().for_each(|(_, object)| unsafe { cache.free(pinned(), object) });
    be_cpu(0);
    let free = free_objects(&world, &cache);
    assert!(free > 10, "{free}");
    let take = || world.slabs.alloc_from(cache.record, pinned(), class).ok();
    let taken: Vec<_> = core::iter::from_fn(take).collect();
    assert!(taken.len() as u64 >= free, "{} of {free}", taken.len());
    assert_eq!(free_objects(&world, &cache), 0);
    objects.extend(taken);
    world.slabs.validate(pinned()).unwrap();
    give_all(&world, cache, objects, frames);
}

#[test]
fn i12_a_request_finds_the_objects_of_the_farthest_depot() {
    let cpus = (LOOKS + 3) * NEIGHBOURS;
    take_again("-", cpus, 1, 200, AllocClass::Atomic);
}

/// A reclaimer gives them to slabs that other objects keep, so that no frame comes of it.
#[test]
fn i12_a_request_finds_the_objects_that_its_reclaim_gave_to_slabs() {
    let cpus = (LOOKS + 3) * NEIGHBOURS;
    // Few, so that no frame of magazines becomes free either.
    take_again("-", cpus, 1, 32, AllocClass::Ordinary);
}

#[test]
fn i12_a_request_finds_the_objects_of_another_node() {
    for checks in ["-", "F"] {
        take_again(checks, 2, 2, 200, AllocClass::Atomic);
        take_again(checks, 2, 2, 200, AllocClass::Ordinary);
    }
}
