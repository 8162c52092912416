//! Memory comes back: after a peak, on demand, under pressure; and small objects hold back no large page.

use core::alloc::Layout;
use std::vec::Vec;

use rhumb_frames::Request;

use super::world::*;
use crate::{Cache, CacheSpec, Config, Constructed, RawCache, TryBox};

#[test]
fn after_a_peak_nearly_all_returns_without_being_asked() {
    let world = World::new(16384, 1, Config::new(1));
    let layout = Layout::from_size_align(256, 8).unwrap();
    let before = world.slabs.totals().held_bytes;
    let all: Vec<_> = (0..100_000).map(|_| world.slabs.alloc(pinned(), layout).unwrap()).collect();
    let peak = world.slabs.totals().held_bytes;
    assert!(peak > 25_600_000 && peak < 25_600_000 * 110 / 100, "{peak}");
    // SAFETY: each came with this layout.
    all.into_iter().for_each(|object| unsafe { world.slabs.free(pinned(), object, layout) });
    let after = world.slabs.totals().held_bytes - before;
    assert!(after < peak / 40, "{after} of {peak} bytes are kept");
    world.slabs.reclaim(pinned());
    assert!(world.slabs.totals().held_bytes <= before);
    world.slabs.validate().unwrap();
}

#[test]
fn depots_let_go_of_what_they_did_not_need() {
    let world = World::small();
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 64)).unwrap();
    for _ in 0..50 {
        let all: Vec<_> = (0..2000).map(|_| cache.alloc(pinned()).unwrap()).collect();
        // SAFETY: objects of this cache.
        all.into_iter().for_each(|object| unsafe { cache.free(pinned(), object) });
    }
    let kept = || world.slabs.report_of(cache.record).in_magazines;
    let busy = kept();
    assert!(busy > 1000, "the depot has grown: {busy}");
    world.slabs.trim(pinned());
    world.slabs.trim(pinned());
    let quiet = kept();
    assert!(quiet * 2 < busy, "{quiet} of {busy} are left");
    world.slabs.validate().unwrap();
}

#[test]
fn another_cpu_gives_back_what_it_is_asked_for() {
    let world = World::new(4096, 1, Config::new(2));
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 64)).unwrap();
    be_cpu(1);
    let object = cache.alloc(pinned()).unwrap();
    be_cpu(0);
    world.slabs.reclaim(pinned());
    let kept = || world.slabs.report_of(cache.record).in_magazines;
    assert!(kept() > 0, "another CPU's magazines are its own");
    be_cpu(1);
    // SAFETY: an object of this cache.
    unsafe { cache.free(pinned(), object) };
    assert!(kept() <= 1, "its next free answers");
    be_cpu(0);
    world.slabs.reclaim(pinned());
    be_cpu(1);
    world.slabs.tick(pinned());
    assert_eq!(kept(), 0, "or its next tick");
    be_cpu(0);
    world.slabs.reclaim(pinned());
    assert_eq!(world.slabs.report_of(cache.record).slabs, 0);
    world.slabs.validate().unwrap();
}

#[test]
fn frames_get_memory_from_here_when_they_run_short() {
    let world = World::new(2048, 1, Config::new(1));
    world.slabs.register(pinned()).unwrap();
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 2048)).unwrap();
    let all: Vec<_> = core::iter::from_fn(|| cache.alloc(pinned()).ok()).collect();
    assert!(all.len() > 3500);
    assert!(world.frames.alloc(pinned(), Request::FRAME).is_err());
    // The first half: whole slabs, some of them kept in magazines.
    // SAFETY: objects of this cache.
    all.iter().take(20).for_each(|&object| unsafe { cache.free(pinned(), object) });
    let mut frames = Vec::new();
    while let Ok(frame) = world.frames.alloc(pinned(), Request::FRAME) {
        frames.push(frame);
    }
    assert!(frames.len() >= 9, "{}", frames.len());
    assert!(world.slabs.totals().reclaimed_frames > 0);
    frames.into_iter().for_each(|frame| world.frames.free(pinned(), frame));
    world.slabs.validate().unwrap();
}

#[test]
fn one_small_object_holds_back_one_frame() {
    let world = World::new(8192, 1, Config::new(1));
    let idle = world.used_frames();
    // One object of each class is left behind out of many: no slab is larger than 128 KiB, and of most sizes a frame.
    let mut left = Vec::new();
    for class in 0..crate::class::CLASSES {
        let layout = Layout::from_size_align(crate::class::bytes(class), 8).unwrap();
        let mut all: Vec<_> = (0..64).map(|_| world.slabs.alloc(pinned(), layout).unwrap()).collect();
        left.push((all.swap_remove(31), layout));
        // SAFETY: each came with this layout.
        all.into_iter().for_each(|object| unsafe { world.slabs.free(pinned(), object, layout) });
    }
    world.slabs.reclaim(pinned());
    let mut largest = 0;
    world.slabs.for_each_report(|cache| {
        assert_eq!(cache.slabs, cache.active_objects, "{cache:?}");
        assert!(cache.object_bytes > 576 || cache.frames_per_slab == 1, "{cache:?}");
        largest = largest.max(cache.frames_per_slab);
    });
    assert_eq!(largest, 32);
    let held = world.used_frames() - idle;
    assert!(held < 512, "{held} frames for {} objects", left.len());
    // SAFETY: each came with this layout.
    left.into_iter().for_each(|(object, layout)| unsafe { world.slabs.free(pinned(), object, layout) });
}

#[test]
fn sparse_survivors_hold_back_little() {
    let world = World::new(16384, 1, Config::new(1));
    let (mut random, mut held) = (Random(1), Vec::new());
    for _ in 0..40_000 {
        let layout = Layout::from_size_align(16 + random.below(2033), 8).unwrap();
        held.push((world.slabs.alloc(pinned(), layout).unwrap(), layout));
    }
    let live: usize = held.iter().map(|(_, layout)| layout.size()).sum();
    let ratio = world.slabs.totals().held_bytes as f64 / live as f64;
    assert!(ratio < 1.10, "{ratio} bytes held for each that lives");
    let mut kept = Vec::new();
    for (object, layout) in held {
        if random.below(10) == 0 {
            kept.push((object, layout));
        } else {
            // SAFETY: it came with this layout.
            unsafe { world.slabs.free(pinned(), object, layout) };
        }
    }
    world.slabs.reclaim(pinned());
    let live: usize = kept.iter().map(|(_, layout)| layout.size()).sum();
    let ratio = world.slabs.totals().held_bytes as f64 / live as f64;
    assert!(ratio < 5.0, "{ratio} bytes held for each that lives");
    // SAFETY: each came with this layout.
    kept.into_iter().for_each(|(object, layout)| unsafe { world.slabs.free(pinned(), object, layout) });
    world.slabs.validate().unwrap();
}

#[test]
fn values_are_dropped_once_and_come_back_on_failure() {
    use std::rc::Rc;
    let world = World::small();
    let counted = Rc::new(());
    let cache = Cache::<Rc<()>, _>::new(world.slabs, pinned(), CacheSpec::of::<Rc<()>>("rc")).unwrap();
    let one = cache.alloc(pinned(), Rc::clone(&counted)).unwrap();
    let two = cache.alloc(pinned(), Rc::clone(&counted)).unwrap();
    let boxed = TryBox::new(world.slabs, pinned(), Rc::clone(&counted)).unwrap();
    assert_eq!((Rc::strong_count(&counted), Rc::strong_count(&one)), (4, 4));
    cache.free(pinned(), two);
    drop(one);
    drop(boxed.into_inner());
    assert_eq!(Rc::strong_count(&counted), 1);
    be_cpu(9);
    let refused = cache.alloc(pinned(), Rc::clone(&counted)).unwrap_err();
    be_cpu(0);
    assert!(Rc::ptr_eq(&refused.value, &counted));
    cache.destroy(pinned()).unwrap();
}

#[test]
fn constructors_run_once_in_the_life_of_a_slab() {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    static MADE: AtomicUsize = AtomicUsize::new(0);
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Buffer(Vec<u8>);
    impl Drop for Buffer {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Relaxed);
        }
    }
    let world = World::small();
    let make = || {
        MADE.fetch_add(1, Relaxed);
        Buffer(Vec::with_capacity(100))
    };
    let cache = Constructed::new(world.slabs, pinned(), CacheSpec::of::<Buffer>("buffer"), make).unwrap();
    let mut first = cache.take(pinned()).unwrap();
    let made = MADE.load(Relaxed);
    first.0.push(7);
    drop(first);
    for _ in 0..1000 {
        assert!(cache.take(pinned()).unwrap().0.capacity() >= 100);
    }
    assert_eq!((MADE.load(Relaxed), DROPPED.load(Relaxed)), (made, 0));
    assert_eq!(cache.take(pinned()).unwrap().0, [7], "as its last user left it");
    cache.destroy(pinned()).unwrap();
    assert_eq!(DROPPED.load(Relaxed), made);
}
