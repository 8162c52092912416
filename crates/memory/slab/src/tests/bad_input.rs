//! Refusals, and their errors.

use core::alloc::Layout;
use std::vec::Vec;

use rhumb_frames::AllocClass;

use super::world::*;
use crate::{AllocError, Cache, CacheSpec, Config, DestroyError, Name, RawCache, Slabs, SpecError};

fn error(world: &World, size: usize, align: usize) -> SpecError {
    RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", size).align(align)).unwrap_err()
}

#[test]
fn caches_of_impossible_objects() {
    let world = World::small();
    assert_eq!(error(&world, 0, 8), SpecError::ZeroSize);
    assert_eq!(error(&world, 8, 0), SpecError::BadAlign(0));
    assert_eq!(error(&world, 8, 24), SpecError::BadAlign(24));
    assert_eq!(error(&world, 8, 256 << 10), SpecError::AlignTooLarge(256 << 10));
    assert_eq!(error(&world, 32769, 8), SpecError::TooLarge(32769));
    assert_eq!(error(&world, usize::MAX, 8), SpecError::TooLarge(usize::MAX));
    let widest = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 8).align(128 << 10)).unwrap();
    assert!(widest.alloc(pinned()).unwrap().addr().get().is_multiple_of(128 << 10));
    assert!(matches!(
        Cache::<(), _>::new(world.slabs, pinned(), CacheSpec::of::<()>("t")),
        Err(SpecError::ZeroSize)
    ));
}

#[test]
fn machines_that_cannot_be() {
    let world = World::small();
    for config in [
        Config::new(0),
        Config::new(rhumb_machine::MAX_CPUS + 1),
        Config { nodes: 0, ..Config::new(1) },
        Config { nodes: rhumb_machine::MAX_NODES + 1, ..Config::new(1) },
    ] {
        assert_eq!(Slabs::new(world.frames, pinned(), config).err(), Some(SpecError::BadMachine));
    }
}

#[test]
fn a_frame_allocator_without_descriptors() {
    let frames = frames_without_descriptors();
    assert_eq!(Slabs::new(frames, pinned(), Config::new(1)).err(), Some(SpecError::NoDescriptors));
}

#[test]
fn sizes_past_the_limit() {
    let world = World::small();
    let huge = |bytes| Layout::from_size_align(bytes, 8).unwrap();
    assert_eq!(world.slabs.alloc(pinned(), huge(isize::MAX as usize - 7)), Err(AllocError::TooLarge));
    assert_eq!(world.slabs.alloc(pinned(), huge((1 << 30) + 1)), Err(AllocError::TooLarge));
    assert_eq!(world.slabs.alloc(pinned(), huge(1 << 30)), Err(AllocError::Exhausted));
    let aligned = Layout::from_size_align(8, 1 << 40).unwrap();
    assert_eq!(world.slabs.alloc(pinned(), aligned), Err(AllocError::TooLarge));
}

#[test]
fn a_cpu_that_is_none_of_ours() {
    let world = World::small();
    be_cpu(3);
    assert_eq!(world.slabs.alloc(pinned(), Layout::new::<u64>()), Err(AllocError::NoSuchCpu));
    be_cpu(0);
}

#[test]
fn a_cache_with_objects_is_not_given_up() {
    let world = World::small();
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 100)).unwrap();
    let objects: Vec<_> = (0..20).map(|_| cache.alloc(pinned()).unwrap()).collect();
    let Err((cache, DestroyError::InUse(in_use))) = cache.destroy(pinned()) else { panic!("20 are out") };
    assert_eq!((in_use.objects, in_use.owners.len()), (20, crate::NAMED_SITES));
    assert!(objects.iter().any(|object| object.addr().get() as u64 == in_use.owners[0].object.get()));
    // It goes on working.
    // SAFETY: objects of this cache.
    objects.into_iter().for_each(|object| unsafe { cache.free(pinned(), object) });
    world.slabs.validate(pinned()).unwrap();
    cache.destroy(pinned()).unwrap();
}

#[test]
fn there_are_only_so_many_caches() {
    let world = World::small();
    let spec = CacheSpec::new("a name that is far longer than what is kept of it", 64);
    let mut caches = Vec::new();
    let last = loop {
        match RawCache::new(world.slabs, pinned(), &spec) {
            Ok(cache) => caches.push(cache),
            Err(error) => break error,
        }
    };
    assert_eq!(
        (last, caches.len()),
        (SpecError::TooManyCaches, crate::lines::MAX_CACHES - crate::class::CLASSES)
    );
    assert_eq!(caches[0].record.setup.name, Name::new("a name that is far longe"));
    caches.into_iter().for_each(|cache| cache.destroy(pinned()).unwrap());
    RawCache::new(world.slabs, pinned(), &spec).unwrap().destroy(pinned()).unwrap();
}

#[test]
fn a_class_that_reclaims_nothing_fails_sooner() {
    let world = World::new(600, 1, Config::new(1));
    let layout = Layout::from_size_align(4096, 8).unwrap();
    let mut held = Vec::new();
    while let Ok(object) = world.slabs.alloc_as(pinned(), layout, AllocClass::Atomic) {
        held.push(object);
    }
    assert!(held.len() > 400);
    world.slabs.validate(pinned()).unwrap();
    // SAFETY: each came with this layout.
    held.into_iter().for_each(|object| unsafe { world.slabs.free(pinned(), object, layout) });
}
