//! Each check sees the bug that it is for.

use core::ptr::NonNull;
use std::cell::RefCell;
use std::vec::Vec;

use super::world::*;
use crate::{
    CacheSpec, CallSite, CheckList, CheckListError, Checks, Config, DestroyError, Fault, InUse, RawCache,
    Report,
};

std::thread_local! {
    static REPORTS: RefCell<Vec<Report>> = const { RefCell::new(Vec::new()) };
    static SITE: core::cell::Cell<usize> = const { core::cell::Cell::new(0) };
}

fn take_reports() -> Vec<Report> {
    REPORTS.with(RefCell::take)
}

/// Returns the reports, by kind.
fn faults() -> Vec<Fault> {
    take_reports().into_iter().map(|report| report.fault).collect()
}

fn checked(list: &str) -> World {
    World::new(
        2048,
        1,
        Config {
            checks: CheckList::parse(list).unwrap(),
            report: |report| REPORTS.with(|reports| reports.borrow_mut().push(*report)),
            call_site: || {
                let mut site = CallSite::UNKNOWN;
                site.0[0] = SITE.get();
                site
            },
            ..Config::new(2)
        },
    )
}

type TestCache = RawCache<TestMachine>;

fn cache(world: &World, name: &str, size: usize) -> TestCache {
    RawCache::new(world.slabs, pinned(), &CacheSpec::new(name, size)).unwrap()
}

fn alloc(cache: &TestCache) -> NonNull<u8> {
    cache.alloc(pinned()).unwrap()
}

/// Frees, also what must not be freed.
fn free(cache: &TestCache, object: NonNull<u8>) {
    // SAFETY: the tests' caches are checked and refuse a wrong object, or the object is right.
    unsafe { cache.free(pinned(), object) };
}

/// Writes a byte at a distance from the object.
fn poke(object: NonNull<u8>, at: isize) {
    // SAFETY: near an object of a checked cache: within its slot.
    unsafe { object.offset(at).write(0x5a) };
}

#[test]
fn nothing_is_reported_of_right_use() {
    for list in ["FZPU", "F", "Z", "P", "U", "Q", "FZPUQ", ""] {
        let world = checked(list);
        for (size, align) in [(1, 8), (8, 8), (100, 8), (64, 64), (5000, 4096)] {
            let spec = CacheSpec::new("t", size).align(align);
            let cache = RawCache::new(world.slabs, pinned(), &spec).unwrap();
            for round in 0..3 {
                let objects: Vec<_> = (0..150).map(|_| alloc(&cache)).collect();
                for object in &objects {
                    assert!(object.addr().get().is_multiple_of(align));
                    // SAFETY: the object is ours.
                    unsafe { object.write_bytes(round, size) };
                }
                objects.into_iter().for_each(|object| free(&cache, object));
                world.slabs.validate(pinned()).unwrap();
            }
            assert_eq!(world.slabs.report_of(cache.record).active_objects, 0);
            cache.destroy(pinned()).unwrap();
        }
        assert_eq!(take_reports(), [], "{list}");
        assert_eq!(world.slabs.totals().faults, 0);
    }
}

#[test]
fn an_overrun_is_seen_at_the_free() {
    let world = checked("Z");
    let cache = cache(&world, "t", 100);
    for at in [100, 101, 115, -1, -16] {
        let object = alloc(&cache);
        poke(object, at);
        free(&cache, object);
        assert_eq!(faults(), [Fault::RedZone(at as i32)]);
        let again = alloc(&cache);
        free(&cache, again);
        assert_eq!(faults(), [], "the zones were mended");
    }
}

#[test]
fn a_write_after_the_free_is_seen_at_the_next_allocation() {
    let world = checked("P");
    let cache = cache(&world, "t", 100);
    for at in [0, 50, 99] {
        let object = alloc(&cache);
        free(&cache, object);
        poke(object, at);
        assert_eq!(alloc(&cache), object);
        assert_eq!(faults(), [Fault::WrittenFree(at as i32)]);
        free(&cache, object);
    }
}

#[test]
fn a_double_free_is_seen_at_once() {
    for list in ["F", "Q", "FZPU"] {
        let world = checked(list);
        let cache = cache(&world, "t", 100);
        let (object, other) = (alloc(&cache), alloc(&cache));
        free(&cache, object);
        free(&cache, object);
        assert_eq!(faults(), [Fault::DoubleFree], "{list}");
        free(&cache, other);
        assert_eq!(faults(), []);
        world.slabs.validate(pinned()).unwrap();
    }
}

#[test]
fn a_foreign_free_is_seen_and_named() {
    let world = checked("F");
    let (cache, other) = (cache(&world, "t", 100), cache(&world, "other", 100));
    let object = alloc(&other);
    free(&cache, object);
    let report = take_reports().pop().unwrap();
    assert!(matches!(report.fault, Fault::WrongCache(name) if name.as_str() == "other"), "{report}");
    assert_eq!(report.cache.as_str(), "t");
    // SAFETY: within the object.
    free(&other, unsafe { object.add(8) });
    assert_eq!(faults(), [Fault::NoObject]);
    let mut local = 0u64;
    free(&cache, NonNull::from(&mut local).cast());
    assert_eq!(faults(), [Fault::Foreign]);
    free(&other, object);
    assert_eq!(faults(), []);
}

#[test]
fn the_last_users_are_named() {
    let world = checked("U");
    let cache = cache(&world, "t", 100);
    SITE.set(0x1111);
    let object = alloc(&cache);
    SITE.set(0x2222);
    be_cpu(1);
    free(&cache, object);
    free(&cache, object);
    be_cpu(0);
    let report = take_reports().pop().unwrap();
    let (allocated, freed) = (report.allocated.unwrap(), report.freed.unwrap());
    assert_eq!((allocated.site.0[0], allocated.cpu.index()), (0x1111, 0));
    assert_eq!((freed.site.0[0], freed.cpu.index(), freed.at_ns), (0x2222, 1, 7_000));
    assert_eq!(
        std::format!("{report}")
            .split_once("object at")
            .unwrap()
            .1
            .split_once(' ')
            .unwrap()
            .1
            .split_once(' ')
            .unwrap()
            .1,
        "is free already; allocated by CPU 0 at 7 us, from 0x1111; freed by CPU 1 at 7 us, from 0x2222"
    );
}

#[test]
fn leaks_are_listed_by_call_site() {
    let world = checked("U,t");
    let cache = cache(&world, "t", 100);
    let objects: Vec<_> = (0..9)
        .map(|index| {
            SITE.set(if index < 6 { 0xaaaa } else { 0xbbbb });
            alloc(&cache)
        })
        .collect();
    let mut seen = Vec::new();
    world.slabs.leaks(|name, in_use| seen.push((name, in_use.clone())));
    let (name, in_use) = seen.pop().unwrap();
    let owners: Vec<_> = in_use.owners.iter().map(|owner| (owner.site.0[0], owner.objects)).collect();
    assert_eq!((name.as_str(), in_use.objects, owners), ("t", 9, std::vec![(0xaaaa, 6), (0xbbbb, 3)]));
    let (cache, error) = cache.destroy(pinned()).unwrap_err();
    assert!(matches!(error, DestroyError::InUse(InUse { objects: 9, .. })), "{error}");
    objects.into_iter().for_each(|object| free(&cache, object));
    cache.destroy(pinned()).unwrap();
}

#[test]
fn quarantine_delays_reuse_and_sees_writes() {
    let world = checked("QP,t");
    let cache = cache(&world, "t", 100);
    let object = alloc(&cache);
    free(&cache, object);
    let next: Vec<_> = (0..100).map(|_| alloc(&cache)).collect();
    assert!(!next.contains(&object), "it is not used again at once");
    poke(object, 5);
    next.into_iter().for_each(|object| free(&cache, object));
    assert_eq!(faults(), []);
    let more: Vec<_> = (0..60).map(|_| alloc(&cache)).collect();
    more.into_iter().for_each(|object| free(&cache, object));
    assert_eq!(faults(), [Fault::WrittenFree(5)], "seen when it leaves");
    world.slabs.validate(pinned()).unwrap();
    cache.destroy(pinned()).unwrap();
}

#[test]
fn a_cache_that_is_not_named_is_not_checked() {
    let world = checked("FZ,t*,other;P,third");
    assert_eq!(cache(&world, "tail", 64).record.setup.checks, Checks::RED_ZONES);
    assert_eq!(cache(&world, "other", 64).record.setup.checks, Checks::RED_ZONES);
    assert_eq!(cache(&world, "third", 64).record.setup.checks, Checks::POISON);
    let plain = cache(&world, "plain", 64);
    assert!(plain.record.setup.checks.is_off() && plain.record.shape.slot_bytes == 64);
    assert_eq!(CheckList::parse("FX").unwrap_err(), CheckListError::NoSuchLetter(b'X'));
    assert_eq!(CheckList::parse(&"F".repeat(500)).unwrap_err(), CheckListError::TooLong(500));
    assert_eq!(CheckList::parse("-,a;").unwrap().of("a"), Checks::USUAL);
    assert_eq!(CheckList::parse(";-,a").unwrap().of("a"), Checks::OFF);
    assert!(CheckList::NONE.of("a").is_off());
    let list = CheckList::parse("FZ,t*,other;P;-,third").unwrap();
    assert_eq!(list.names().collect::<Vec<_>>(), ["t*", "other", "third"]);
    assert!(
        CheckList::fits("t*", "tail")
            && !CheckList::fits("t", "tail")
            && CheckList::NONE.names().count() == 0
    );
}

#[test]
fn an_unchecked_cache_refuses_a_double_free_when_it_comes_to_the_slab() {
    let world = World::new(
        2048,
        1,
        Config {
            report: |report| REPORTS.with(|reports| reports.borrow_mut().push(*report)),
            ..Config::new(1)
        },
    );
    let (cache, other) = (cache(&world, "t", 100), cache(&world, "other", 300));
    let (object, foreign, kept) = (alloc(&cache), alloc(&other), alloc(&cache));
    free(&cache, object);
    free(&cache, object);
    free(&cache, foreign);
    world.slabs.drain(pinned());
    let seen = faults();
    assert_eq!(seen.iter().filter(|fault| **fault == Fault::DoubleFree).count(), 1);
    assert_eq!(seen.iter().filter(|fault| matches!(fault, Fault::WrongCache(_))).count(), 1);
    free(&cache, kept);
    free(&other, foreign);
    world.slabs.validate(pinned()).unwrap();
    cache.destroy(pinned()).unwrap();
    other.destroy(pinned()).unwrap();
}
