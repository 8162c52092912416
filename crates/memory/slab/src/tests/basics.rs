//! The common way: allocate, free, by size and by cache.

use core::alloc::Layout;
use std::collections::BTreeSet;
use std::vec::Vec;

use super::world::*;
use crate::{CacheSpec, RawCache, Slabs};

#[test]
fn every_size_and_alignment_is_served() {
    let world = World::small();
    world.open_lines();
    let before = world.used_frames();
    for size in (0..300).chain([1000, 1500, 4095, 4096, 4097, 9000, 32768, 32769, 40000, 70000, 300_000]) {
        for align in [1, 8, 16, 64, 256, 4096, 8192, 64 << 10, 1 << 20] {
            let layout = Layout::from_size_align(size, align).unwrap();
            let objects: Vec<_> = (0..3).map(|_| world.slabs.alloc(pinned(), layout).unwrap()).collect();
            for object in &objects {
                assert!((object.addr().get()).is_multiple_of(align), "{layout:?} at {object:?}");
                // SAFETY: the object is ours and has this size.
                unsafe { object.write_bytes(0xee, Slabs::<TestMachine>::usable_bytes(layout).unwrap()) };
            }
            world.slabs.validate(pinned()).unwrap();
            // SAFETY: each came with this layout.
            objects.into_iter().for_each(|object| unsafe { world.slabs.free(pinned(), object, layout) });
        }
    }
    world.slabs.validate(pinned()).unwrap();
    assert_eq!(world.slabs.totals().live_bytes, 0);
    world.slabs.reclaim(pinned());
    world.frames.validate().unwrap();
    assert_eq!(world.used_frames(), before, "all memory came back");
    assert_eq!(world.frames.refused_frees(), 0);
}

#[test]
fn objects_are_disjoint_and_come_back() {
    let world = World::small();
    for size in [8, 24, 200, 1024, 5000] {
        let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("test", size)).unwrap();
        let all: BTreeSet<usize> = (0..2000).map(|_| cache.alloc(pinned()).unwrap().addr().get()).collect();
        assert_eq!(all.len(), 2000);
        let gaps = all.iter().zip(all.iter().skip(1)).map(|(a, b)| b - a).min().unwrap();
        assert!(gaps >= size);
        world.slabs.validate(pinned()).unwrap();
        assert_eq!(world.slabs.report_of(cache.record).active_objects, 2000);
        for object in all {
            // SAFETY: objects of this cache.
            unsafe { cache.free(pinned(), core::ptr::NonNull::new(object as *mut u8).unwrap()) };
        }
        world.slabs.validate(pinned()).unwrap();
        assert_eq!(world.slabs.report_of(cache.record).active_objects, 0);
        cache.destroy(pinned()).unwrap();
    }
    world.slabs.validate(pinned()).unwrap();
}
