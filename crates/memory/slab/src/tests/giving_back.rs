//! Memory comes back: after a peak, on demand, under pressure; and small objects hold back no large page.

use core::alloc::Layout;
use std::vec::Vec;

use rhumb_frames::{AllocClass, Request};
use rhumb_machine::Machine;

use super::world::*;
use crate::magazine::Stack;
use crate::{Cache, CacheSpec, Config, RawCache};

#[test]
fn after_a_peak_nearly_all_returns_without_being_asked() {
    let world = World::new(16384, 1, Config::new(1));
    let layout = Layout::from_size_align(256, 8).unwrap();
    world.open_lines();
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
    world.slabs.validate(pinned()).unwrap();
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
    world.slabs.validate(pinned()).unwrap();
}

/// A depot's working set is that of the time between two trims: magazines that came in that time are no part of it yet.
#[test]
fn depots_keep_what_came_since_the_last_trim() {
    let world = World::small();
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 64)).unwrap();
    let in_depot = || {
        let guard = world.slabs.machine().irq_off();
        cache.record.depot_of(0, cpu(0)).lock(guard.irq_off()).full.count
    };
    let all: Vec<_> = (0..2000).map(|_| cache.alloc(pinned()).unwrap()).collect();
    world.slabs.trim(pinned());
    // SAFETY: objects of this cache.
    all.into_iter().for_each(|object| unsafe { cache.free(pinned(), object) });
    let came = in_depot();
    assert!(came > 0);
    world.slabs.trim(pinned());
    assert_eq!(in_depot(), came, "no trim has found them unneeded before");
    world.slabs.trim(pinned());
    assert_eq!(in_depot(), 0);
    world.slabs.validate(pinned()).unwrap();
}

/// Takes so many objects, and gives them back.
fn turn_over(cache: &RawCache<TestMachine>, objects: usize) {
    let all: Vec<_> = (0..objects).map(|_| cache.alloc(pinned()).unwrap()).collect();
    // SAFETY: objects of this cache.
    all.into_iter().for_each(|object| unsafe { cache.free(pinned(), object) });
}

#[test]
fn magazines_grow_with_use_and_shrink_without() {
    const SMALLEST: u32 = 6;
    const LARGEST: u32 = 254;
    let world = World::new(4096, 1, Config::new(2));
    let slabs = world.slabs;
    let cache = RawCache::new(slabs, pinned(), &CacheSpec::new("t", 64)).unwrap();
    let report = || slabs.report_of(cache.record);
    (0..10_000).for_each(|_| turn_over(&cache, 1));
    assert_eq!(report().magazine_rounds, SMALLEST, "what stays in the magazine is not a visit");
    assert!(report().in_magazines <= u64::from(SMALLEST), "{} are kept", report().in_magazines);
    be_cpu(1);
    turn_over(&cache, 10_000);
    assert_eq!(report().magazine_rounds, LARGEST);
    slabs.validate(pinned()).unwrap();
    for _ in 0..20 {
        turn_over(&cache, 3_000);
        slabs.trim(pinned());
        assert_eq!(report().magazine_rounds, LARGEST, "it is used between any two trims");
    }
    be_cpu(0);
    let busy = report().in_magazines;
    assert!(busy > u64::from(LARGEST), "{busy}");
    for _ in 0..6 {
        slabs.trim(pinned());
        slabs.validate(pinned()).unwrap();
    }
    assert_eq!(report().magazine_rounds, SMALLEST);
    be_cpu(1);
    slabs.tick(pinned());
    assert_eq!(report().in_magazines, 0, "all was asked for, and nothing has come since");
    turn_over(&cache, 10_000);
    assert_eq!(report().magazine_rounds, LARGEST);
    slabs.reclaim(pinned());
    assert_eq!(report().magazine_rounds, SMALLEST, "memory is short");
    cache.destroy(pinned()).unwrap();
}

/// A CPU that has no magazine loaded, but has one beside that place, is asked for that one.
#[test]
fn a_cpu_without_a_loaded_magazine_is_asked_for_the_others() {
    let world = World::new(4096, 1, Config::new(2));
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 1000)).unwrap();
    turn_over(&cache, 100);
    let line = world.slabs.own_line(cache.record, pinned()).unwrap();
    let mut loaded = Stack::default();
    loaded.push(line.unload().unwrap());
    world.slabs.deposit(cache.record, pinned(), loaded);
    assert!(!line.is_loaded() && line.full.count() > 0);
    be_cpu(1);
    world.slabs.reclaim(pinned());
    be_cpu(0);
    world.slabs.tick(pinned());
    assert!(!line.has_magazines() && world.slabs.report_of(cache.record).in_magazines == 0);
    world.slabs.validate(pinned()).unwrap();
}

#[test]
fn caches_that_are_hardly_used_keep_little() {
    const CPUS: usize = 8;
    let world = World::new(8192, 1, Config::new(CPUS));
    let before = world.slabs.totals();
    for cpu in 0..CPUS {
        be_cpu(cpu);
        for class in 0..crate::class::CLASSES {
            let layout = Layout::from_size_align(crate::class::bytes(class), 8).unwrap();
            let object = world.slabs.alloc(pinned(), layout).unwrap();
            // SAFETY: it came with this layout.
            unsafe { world.slabs.free(pinned(), object, layout) };
        }
    }
    let (mut objects, mut bytes) = (0, 0);
    world.slabs.for_each_report(|cache| {
        objects += cache.in_magazines;
        bytes += cache.in_magazines * u64::from(cache.slot_bytes);
    });
    let own = world.slabs.totals().own_bytes - before.own_bytes;
    std::println!("{objects} objects of {bytes} bytes in magazines of {own} bytes");
    assert!(objects <= (3 * CPUS * crate::class::CLASSES) as u64, "{objects} objects are kept");
    be_cpu(0);
}

#[test]
fn magazines_of_another_size_are_replaced_or_used_as_they_are() {
    let world = World::small();
    world.open_lines();
    let before = world.used_frames();
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 64)).unwrap();
    turn_over(&cache, 10_000);
    // All sizes down and up again, with magazines of each in the depot and in the line.
    for objects in [2_000, 20, 2_000, 300, 20, 5_000] {
        for _ in 0..3 {
            turn_over(&cache, objects);
            world.slabs.validate(pinned()).unwrap();
        }
        world.slabs.trim(pinned());
        world.slabs.validate(pinned()).unwrap();
    }
    // No memory for a new magazine: the old ones do.
    let held: Vec<_> = (0..2_000).map(|_| cache.alloc(pinned()).unwrap()).collect();
    world.slabs.reclaim(pinned());
    let mut frames = Vec::new();
    while let Ok(frame) = world.frames.alloc(pinned(), Request::FRAME.class(AllocClass::Atomic)) {
        frames.push(frame);
    }
    // Every other one, so that no slab goes back to the frames.
    // SAFETY: objects of this cache.
    held.iter().step_by(2).for_each(|&object| unsafe { cache.free(pinned(), object) });
    (0..50).for_each(|_| turn_over(&cache, 500));
    world.slabs.validate(pinned()).unwrap();
    // SAFETY: the others.
    held.iter().skip(1).step_by(2).for_each(|&object| unsafe { cache.free(pinned(), object) });
    frames.into_iter().for_each(|frame| world.frames.free(pinned(), frame));
    cache.destroy(pinned()).unwrap();
    world.slabs.reclaim(pinned());
    assert_eq!(world.used_frames(), before, "no magazine is lost");
    assert_eq!(world.frames.refused_frees(), 0);
}

#[test]
fn a_depot_has_objects_of_its_own_node_only() {
    const COUNT: usize = 4_000;
    let world = World::new(4096, 2, Config::new(2));
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 64)).unwrap();
    let slabs_now = || world.slabs.report_of(cache.record).slabs;
    let on_cpu = |cpu: usize| {
        be_cpu(cpu);
        (0..COUNT).map(|_| cache.alloc(pinned()).unwrap()).collect::<Vec<_>>()
    };
    let (of_first, of_second) = (on_cpu(0), on_cpu(1));
    let slabs = slabs_now();
    // Three of four that the second CPU frees are of its own node.
    for (index, pair) in of_first.iter().zip(&of_second).enumerate() {
        // SAFETY: objects of this cache, each freed once.
        unsafe {
            cache.free(pinned(), *pair.1);
            if index % 3 == 1 {
                cache.free(pinned(), *pair.0);
            }
        }
        if index % 100 == 0 {
            world.slabs.validate(pinned()).unwrap();
        }
    }
    let in_depot = |node: usize| {
        let guard = world.slabs.machine().irq_off();
        cache.record.depot_of(node, cpu(node)).lock(guard.irq_off()).full.objects
    };
    assert!(in_depot(1) > 0, "what is the node's own stays in its depot");
    assert_eq!(in_depot(0), 0);
    // The first node's objects are there: its CPU needs no new slab for them.
    world.slabs.drain(pinned());
    world.slabs.validate(pinned()).unwrap();
    be_cpu(0);
    let again: Vec<_> = (0..COUNT / 3).map(|_| cache.alloc(pinned()).unwrap()).collect();
    assert!(slabs_now() <= slabs, "{} slabs, {slabs} before", slabs_now());
    let rest = of_first.iter().enumerate().filter(|(index, _)| index % 3 != 1).map(|(_, object)| *object);
    // SAFETY: objects of this cache, each freed once.
    rest.chain(again).for_each(|object| unsafe { cache.free(pinned(), object) });
    cache.destroy(pinned()).unwrap();
    world.slabs.validate(pinned()).unwrap();
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
    world.slabs.validate(pinned()).unwrap();
}

#[test]
fn only_other_cpus_that_hold_something_are_asked_for_it() {
    const CPUS: usize = 5;
    let world = World::new(4096, 1, Config::new(CPUS));
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 64)).unwrap();
    for cpu in [0, 1, 3] {
        be_cpu(cpu);
        turn_over(&cache, 1);
    }
    be_cpu(0);
    let asked = || {
        let is_asked = |cpu: &usize| world.slabs.asked[*cpu].load(core::sync::atomic::Ordering::Relaxed);
        (0..CPUS).filter(is_asked).collect::<Vec<_>>()
    };
    assert_eq!(asked(), []);
    world.slabs.reclaim(pinned());
    assert_eq!(asked(), [1, 3], "neither itself nor CPUs without magazines");
    let wanted: Vec<_> = world.slabs.lines_of(cache.record).map(|line| line.gate.is_wanted()).collect();
    assert_eq!(wanted, [false, true, true], "CPUs 0, 1 and 3 have lines");
    // Neither are those that were asked already asked again, nor are those that come to hold something left out.
    world.slabs.lines_of(cache.record).for_each(|line| line.gate.answer());
    be_cpu(4);
    turn_over(&cache, 1);
    world.slabs.validate(pinned()).unwrap();
    be_cpu(0);
    world.slabs.reclaim(pinned());
    let wanted: Vec<_> = world.slabs.lines_of(cache.record).map(|line| line.gate.is_wanted()).collect();
    assert_eq!(wanted, [false, false, false, true]);
    assert_eq!(asked(), [1, 3, 4]);
    be_cpu(4);
    world.slabs.tick(pinned());
    assert!(!cache.record.keepers.contains(rhumb_machine::testing::this_cpu()));
    world.slabs.validate(pinned()).unwrap();
    world.slabs.lines_of(cache.record).for_each(|line| line.gate.ask());
    be_cpu(3);
    world.slabs.tick(pinned());
    assert_eq!(asked(), [1]);
    be_cpu(0);
    cache.destroy(pinned()).unwrap();
}

/// A tick in the middle of an operation leaves that line alone, and the next tick drains it.
#[test]
fn a_request_outlives_a_tick_that_could_not_answer_it() {
    let world = World::new(4096, 1, Config::new(2));
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 64)).unwrap();
    let kept = || world.slabs.report_of(cache.record).in_magazines;
    for of_all in [false, true] {
        be_cpu(1);
        turn_over(&cache, 1);
        be_cpu(0);
        world.slabs.reclaim(pinned());
        assert!(kept() > 0);
        be_cpu(1);
        let line = world.slabs.own_line(cache.record, pinned()).unwrap();
        line.gate.alone(|| if of_all { world.slabs.drain(pinned()) } else { world.slabs.tick(pinned()) });
        assert!(kept() > 0, "the line was busy");
        world.slabs.tick(pinned());
        assert_eq!(kept(), 0);
    }
    be_cpu(0);
    cache.destroy(pinned()).unwrap();
}

/// All frames that are held are accounted for: slabs, large objects, cells, and blocks that are larger than a cell.
#[test]
fn what_is_held_is_told() {
    for nodes in [1, 2] {
        let world = World::new(4096, nodes, Config::new(64));
        let held = || {
            world.frames.drain(pinned());
            (world.slabs.totals().held_bytes, world.used_frames() << 12)
        };
        let (told, used) = held();
        assert_eq!(told, used);
        for cpu in [0, 1, 63] {
            be_cpu(cpu);
            let before = world.slabs.totals().own_bytes;
            let object = world.slabs.alloc(pinned(), Layout::new::<u64>()).unwrap();
            // SAFETY: it came with this layout.
            unsafe { world.slabs.free(pinned(), object, Layout::new::<u64>()) };
            let grown = world.slabs.totals().own_bytes - before;
            assert!(grown >= 16 << 10, "the CPU's lines are among it: {grown}");
        }
        be_cpu(0);
        let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 64)).unwrap();
        let objects: Vec<_> = (0..1000).map(|_| cache.alloc(pinned()).unwrap()).collect();
        let layout = Layout::from_size_align(300_000, 8).unwrap();
        let large = world.slabs.alloc(pinned(), layout).unwrap();
        let (told, used) = held();
        assert_eq!(told, used);
        // SAFETY: objects of this cache; what came with this layout.
        unsafe {
            objects.into_iter().for_each(|object| cache.free(pinned(), object));
            world.slabs.free(pinned(), large, layout);
        }
        cache.destroy(pinned()).unwrap();
        let (told, used) = held();
        assert_eq!(told, used);
    }
}

#[test]
fn frames_get_memory_from_here_when_they_run_short() {
    let world = World::new(2048, 1, Config::new(1));
    world.slabs.register().unwrap();
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
    world.slabs.validate(pinned()).unwrap();
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
    world.slabs.validate(pinned()).unwrap();
}

#[test]
fn values_are_dropped_once_and_come_back_on_failure() {
    use std::rc::Rc;
    let world = World::small();
    let counted = Rc::new(());
    let cache = Cache::<Rc<()>, _>::new(world.slabs, pinned(), CacheSpec::of::<Rc<()>>("rc")).unwrap();
    let one = cache.alloc(pinned(), Rc::clone(&counted)).unwrap();
    let two = cache.alloc(pinned(), Rc::clone(&counted)).unwrap();
    assert_eq!((Rc::strong_count(&counted), Rc::strong_count(&one)), (3, 3));
    cache.free(pinned(), two);
    drop(one);
    assert_eq!(Rc::strong_count(&counted), 1);
    be_cpu(9);
    let refused = cache.alloc(pinned(), Rc::clone(&counted)).unwrap_err();
    be_cpu(0);
    assert!(Rc::ptr_eq(&refused.value, &counted));
    cache.destroy(pinned()).unwrap();
}
