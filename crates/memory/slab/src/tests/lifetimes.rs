//! Caches that come and go while others do, and while all are walked.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::vec::Vec;

use super::world::*;
use crate::{Cache, CacheSpec, CheckList, Config, DestroyError, RawCache, Slabs};

/// Gives a cache up that has no object out; a walker on another CPU may come first.
fn end(mut cache: RawCache<TestMachine>) {
    loop {
        match cache.destroy(pinned()) {
            Ok(()) => return,
            Err((back, DestroyError::Busy)) => cache = back,
            Err((_, error)) => panic!("{error}"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn cpus_make_and_give_up_their_own_caches() {
    const CPUS: usize = 3;
    let checks = CheckList::parse("U,users").unwrap();
    let report = |report: &crate::Report| panic!("{report}");
    let world = World::new(8192, 1, Config { report, checks, ..Config::new(CPUS + 1) });
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let makers: Vec<_> = (0..CPUS)
            .map(|cpu| {
                let slabs = world.slabs;
                scope.spawn(move || {
                    be_cpu(cpu);
                    for round in 0..3_000 {
                        let size = 64 << ((round + cpu) % 6);
                        let name = if round % 3 == 0 { "users" } else { "own" };
                        let cache = RawCache::new(slabs, pinned(), &CacheSpec::new(name, size)).unwrap();
                        let objects: Vec<_> = (0..12).map(|_| cache.alloc(pinned()).unwrap()).collect();
                        for object in &objects {
                            // SAFETY: the object is ours and has this size.
                            unsafe { object.write_bytes(cpu as u8, size) };
                        }
                        for object in objects {
                            // SAFETY: the object is ours, has this size, and is of this cache.
                            unsafe {
                                let bytes = core::slice::from_raw_parts(object.as_ptr(), size);
                                assert!(bytes.iter().all(|&byte| byte == cpu as u8), "two owners");
                                cache.free(pinned(), object);
                            }
                        }
                        end(cache);
                    }
                })
            })
            .collect();
        let (slabs, done) = (world.slabs, &done);
        scope.spawn(move || {
            be_cpu(CPUS);
            while !done.load(Relaxed) {
                slabs.for_each_report(|report| assert!(report.active_objects <= 8192 * 64, "{report:?}"));
                slabs.trim(pinned());
                slabs.leaks(|name, in_use| assert!(name.as_str() == "users" && in_use.objects <= 12));
                slabs.validate(pinned()).unwrap();
            }
        });
        let ended: Vec<_> = makers.into_iter().map(|maker| maker.join()).collect();
        done.store(true, Relaxed);
        ended.into_iter().for_each(|ended| ended.unwrap());
    });
    world.slabs.drain(pinned());
    world.slabs.reclaim(pinned());
    world.slabs.validate(pinned()).unwrap();
    assert_eq!(world.slabs.totals().live_bytes, 0);
}

std::thread_local! {
    /// The allocator with which the hook is to make caches, and the caches that it made.
    static SLABS: Cell<Option<&'static Slabs<TestMachine>>> = const { Cell::new(None) };
    static MADE: RefCell<Vec<RawCache<TestMachine>>> = const { RefCell::new(Vec::new()) };
}

/// The hook for faults runs while a cache is being given up, and makes another one: the two share nothing.
#[test]
fn a_cache_that_is_made_while_another_is_given_up_has_its_own_lines() {
    let report = |_: &crate::Report| {
        let Some(slabs) = SLABS.get() else { return };
        let made = RawCache::new(slabs, pinned(), &CacheSpec::new("made", 2048)).unwrap();
        MADE.with_borrow_mut(|all| all.push(made));
    };
    let checks = CheckList::parse("QP,given-up").unwrap();
    let world = World::new(4096, 1, Config { report, checks, ..Config::new(1) });
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("given-up", 64)).unwrap();
    let object = cache.alloc(pinned()).unwrap();
    // SAFETY: an object of this cache; the cache is checked, and the write after the free stays within the object.
    unsafe {
        cache.free(pinned(), object);
        object.write(1);
    }
    SLABS.set(Some(world.slabs));
    let number = cache.record.setup.id;
    cache.destroy(pinned()).unwrap();
    SLABS.set(None);
    let made = MADE.take().pop().unwrap();
    assert_ne!(made.record.setup.id, number, "the number was not free yet");
    let next = RawCache::new(world.slabs, pinned(), &CacheSpec::new("next", 64)).unwrap();
    assert_eq!(next.record.setup.id, number, "now it is");
    let large = made.alloc(pinned()).unwrap();
    // SAFETY: an object of `made`.
    unsafe { made.free(pinned(), large) };
    assert_ne!(next.alloc(pinned()).unwrap(), large, "each cache has lines of its own");
    world.slabs.validate(pinned()).unwrap();
}

/// A report's user gives up the cache that it is told of: it is not walked any more.
#[test]
fn a_report_may_give_up_the_cache_that_it_names() {
    let checks = CheckList::parse("U,t").unwrap();
    let world = World::new(4096, 1, Config { checks, ..Config::new(1) });
    let mut cache = Some(RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 64)).unwrap());
    world.slabs.for_each_report(|report| {
        if report.name.as_str() == "t" {
            cache.take().unwrap().destroy(pinned()).unwrap();
        }
    });
    assert!(cache.is_none());
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 64)).unwrap();
    let object = cache.alloc(pinned()).unwrap();
    let mut cache = Some(cache);
    world.slabs.leaks(|_, in_use| {
        assert_eq!(in_use.objects, 1);
        let cache = cache.take().unwrap();
        // SAFETY: an object of this cache.
        unsafe { cache.free(pinned(), object) };
        cache.destroy(pinned()).unwrap();
    });
    assert!(cache.is_none());
}

#[test]
fn a_cache_that_is_walked_is_not_given_up() {
    let world = World::small();
    let mut cache = Some(RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 64)).unwrap());
    let record = cache.as_ref().unwrap().record;
    let refused = world.slabs.caches(|walked| {
        let cache = core::ptr::eq(walked, record).then(|| cache.take()).flatten()?;
        Some(cache.destroy(pinned()).unwrap_err())
    });
    let (cache, error) = refused.flatten().next().unwrap();
    assert_eq!(error, DestroyError::Busy);
    let object = cache.alloc(pinned()).unwrap();
    // SAFETY: an object of this cache.
    unsafe { cache.free(pinned(), object) };
    cache.destroy(pinned()).unwrap();
}

/// An object knows its cache: which cache's `free` is called makes no difference.
#[test]
fn an_object_goes_back_to_its_own_cache() {
    let (world, other) = (World::small(), World::small());
    let cache = Cache::<u64, _>::new(world.slabs, pinned(), CacheSpec::of::<u64>("t")).unwrap();
    let foreign = Cache::<u64, _>::new(other.slabs, pinned(), CacheSpec::of::<u64>("t")).unwrap();
    foreign.free(pinned(), cache.alloc(pinned(), 1).unwrap());
    assert_eq!(world.slabs.totals().faults + other.slabs.totals().faults, 0);
    foreign.destroy(pinned()).unwrap();
    core::mem::forget(cache.alloc(pinned(), 2).unwrap());
    let (_cache, error) = cache.destroy(pinned()).unwrap_err();
    assert!(matches!(error, DestroyError::InUse(_)), "a forgotten handle leaves its object out");
}
