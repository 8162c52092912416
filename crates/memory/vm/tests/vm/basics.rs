//! One thing at a time: what each call does, what it costs, and which requests it refuses.

use std::sync::{Arc, Mutex};

use rhumb_hosted::mmu;
use rhumb_machine::{CpuId, Pfn, PfnRange, VirtAddr, VirtRange};
use rhumb_pagetable::{CacheMode, walk};
use rhumb_vm::{
    Allocation, Device, FaultError, Inherit, Limits, Map, Protection, RegionKind, Resolved, Use, VmError,
};

use crate::world::{GIB, KINDS, Kind, MIB, PAGE, TIB, TestSpace, on_ground, range};

#[test]
fn a_page_is_zero_at_its_first_use_and_keeps_what_is_written() {
    for kind in KINDS {
        on_ground(|ground| {
            let map = ground.map(kind);
            let space = map.space().clone();
            let area = map.allocate(&Allocation::pages(3)).unwrap();
            assert_eq!(map.usage().resident_pages, 0, "no page has a frame before it is used");
            assert_eq!(space.0.read(&map, 1, area.start()), Ok(0));
            space.0.write(&map, 0, area.start().plus(PAGE), 77).unwrap();
            assert_eq!(space.0.read(&map, 3, area.start().plus(PAGE)), Ok(77));
            assert_eq!(map.usage().resident_pages, 2);
            assert_eq!(map.fault(area.start(), Use::Write), Ok(Resolved::Already));
            assert_eq!(map.unmap(area), Ok(3));
            assert_eq!(map.fault(area.start(), Use::Read), Err(FaultError::NotAllocated(area.start())));
            space.0.assert_no_stale();
        });
    }
}

/// While CPUs still have the old translation of a page, no CPU gets one with the right that excludes the old one.
#[test]
fn i4_a_page_is_executed_after_all_cpus_have_dropped_its_writing() {
    let rights = [Protection::ReadWrite, Protection::ReadExecute];
    for is_reversed in [false, true] {
        on_ground(|ground| {
            // The CPUs of the software MMU run as the kernel, which executes no page of a task.
            let kind = Kind::Kernel;
            let [before, after] = if is_reversed { [rights[1], rights[0]] } else { rights };
            let map = ground.map(kind);
            let area = map.allocate(&Allocation::pages(3)).unwrap();
            let at = area.start().plus(PAGE);
            map.space().0.write(&map, 1, at, 1).unwrap();
            map.protect(area, before).unwrap();
            let access = move |space: &TestSpace, cpu, access| {
                space.0.tlb.mmu().access(CpuId::new(cpu).unwrap(), at, access).is_ok()
            };
            let [old, new] = match is_reversed {
                false => [mmu::Use::Write, mmu::Use::Execute],
                true => [mmu::Use::Execute, mmu::Use::Write],
            };
            assert!(access(map.space(), 1, old), "CPU 1 has the translation");
            let seen = Arc::new(Mutex::new(None));
            let (space, place) = (map.space().clone(), Arc::clone(&seen));
            *ground.at_flush.lock().unwrap() = Some(Box::new(move || {
                *place.lock().unwrap() = Some((access(&space, 1, old), access(&space, 2, new)));
            }));
            map.protect(area, after).unwrap();
            assert_eq!(*seen.lock().unwrap(), Some((true, false)), "before the first flush");
            assert_eq!(
                (access(map.space(), 1, old), access(map.space(), 2, new)),
                (false, true),
                "{kind:?} {before:?}"
            );
            map.space().0.assert_no_stale();
        });
    }
}

/// Stale contents of a frame never reach another page.
#[test]
fn frames_that_were_used_are_zero_again() {
    on_ground(|ground| {
        let map = ground.map(Kind::Task);
        let space = map.space().clone();
        for round in 1..4 {
            let area = map.allocate(&Allocation::pages(1200)).unwrap();
            for page in 0..1200 {
                let at = area.start().plus(page * PAGE);
                assert_eq!(space.0.read(&map, 0, at), Ok(0), "round {round}");
                space.0.write(&map, 0, at, round).unwrap();
            }
            map.unmap(area).unwrap();
        }
    });
}

/// Memory of a terabyte takes a word for each gigabyte, and nothing below.
#[test]
fn large_allocations_take_few_tables() {
    for kind in KINDS {
        on_ground(|ground| {
            let map = ground.map(kind);
            let before = ground.in_use();
            let area = range(kind.range().start(), 400 * GIB / PAGE);
            assert_eq!(map.allocate(&Allocation::pages(400 * GIB / PAGE).at(area.start())), Ok(area));
            assert!(ground.in_use() - before <= 1, "{} tables", ground.in_use() - before);
            // A use divides one gigabyte, and one 2 MiB of it.
            let at = area.start().plus(7 * GIB + 5 * PAGE);
            map.space().0.write(&map, 0, at, 1).unwrap();
            assert!(ground.in_use() - before <= 4);
            let middle =
                VirtRange::new(area.start().plus(GIB / 2), area.start().plus(9 * GIB + PAGE)).unwrap();
            map.protect(middle, Protection::Read).unwrap();
            let mut regions = Vec::new();
            map.for_each_region(|region| regions.push((region.range, region.protection)));
            let expected = [
                (VirtRange::new(area.start(), middle.start()).unwrap(), Protection::ReadWrite),
                (middle, Protection::Read),
                (VirtRange::new(middle.end(), area.end()).unwrap(), Protection::ReadWrite),
            ];
            assert_eq!(regions, expected);
            assert_eq!(map.unmap(map.range()), Ok(400 * GIB / PAGE));
            assert_eq!(map.region(VirtAddr::ZERO), None);
        });
    }
}

#[test]
fn addresses_are_chosen_apart_and_used_again() {
    for kind in KINDS {
        on_ground(|ground| {
            let map = ground.map(kind);
            let guard = map.space().0.kind == Kind::Kernel;
            let one = map.allocate(&Allocation::pages(5)).unwrap();
            let two = map.allocate(&Allocation::pages(3)).unwrap();
            let between = two.start().since(one.end());
            assert_eq!(between, if guard { PAGE } else { 0 });
            map.unmap(one).unwrap();
            assert_eq!(map.allocate(&Allocation::pages(5)).unwrap(), one, "the lowest room is used first");
            let large = map.allocate(&Allocation::pages(700).aligned(512)).unwrap();
            assert_eq!(large.start().get() % (2 * MIB), 0);
            let three = map.allocate(&Allocation::pages(1)).unwrap();
            assert!(!three.overlaps(one) && !three.overlaps(two) && !three.overlaps(large));
        });
    }
}

/// The last page of a map can be allocated, and an allocation larger than a lane is found.
#[test]
fn the_ends_of_the_map_are_used() {
    on_ground(|ground| {
        let map = ground.map(Kind::Task);
        let last = VirtAddr::new(map.range().end().get() - PAGE);
        map.allocate(&Allocation::pages(1).at(last)).unwrap();
        map.space().0.write(&map, 0, last, 5).unwrap();
        let huge = map.allocate(&Allocation::pages(20 * TIB / PAGE)).unwrap();
        assert_eq!(huge.bytes(), 20 * TIB);
        assert_eq!(
            map.allocate(&Allocation::pages(120 * TIB / PAGE)),
            Err(VmError::NoRoom(120 * TIB / PAGE))
        );
        assert_eq!(map.unmap(huge), Ok(20 * TIB / PAGE));
        assert_eq!(map.usage().address_pages, 1);
    });
}

/// The kernel's own map of a CPU does what the map says, also for code.
#[test]
fn entries_say_what_was_asked_for() {
    for kind in KINDS {
        on_ground(|ground| {
            let map = ground.map(kind);
            let tree = &map.space().0;
            for protection in [Protection::Read, Protection::ReadWrite, Protection::ReadExecute] {
                let area = map.allocate(&Allocation::pages(1).protection(protection)).unwrap();
                tree.read(&map, 0, area.start()).unwrap();
                let leaf = walk(&tree.tables(), tree.root(), area.start()).leaf().unwrap();
                assert_eq!(leaf.permissions.user, kind == Kind::Task);
                assert_eq!(leaf.permissions.writable, protection == Protection::ReadWrite);
                assert_eq!(leaf.permissions.executable, protection == Protection::ReadExecute);
            }
        });
    }
}

/// A change of rights flushes where a right is lost, and nowhere else; nor does memory that was never used.
#[test]
fn flushes_are_made_where_rights_are_lost() {
    on_ground(|ground| {
        use std::sync::atomic::Ordering::Relaxed;
        let map = ground.map(Kind::Task);
        let area = map.allocate(&Allocation::pages(300)).unwrap();
        let flushes = || ground.flushes.load(Relaxed);
        map.protect(area, Protection::Read).unwrap();
        map.protect(area, Protection::ReadWrite).unwrap();
        map.unmap(area).unwrap();
        assert_eq!(flushes(), 0);
        let area = map.allocate(&Allocation::pages(300)).unwrap();
        for page in 0..300 {
            map.space().0.write(&map, 2, area.start().plus(page * PAGE), page).unwrap();
        }
        assert_eq!(flushes(), 0);
        map.protect(area, Protection::Read).unwrap();
        assert_eq!(flushes(), 1);
        assert!(map.space().0.write(&map, 2, area.start(), 9).is_err());
        map.protect(area, Protection::ReadWrite).unwrap();
        assert_eq!(flushes(), 1);
        map.protect(area, Protection::Nothing).unwrap();
        assert_eq!(flushes(), 2);
        assert!(map.space().0.read(&map, 2, area.start()).is_err());
        map.protect(area, Protection::Read).unwrap();
        assert_eq!(map.space().0.read(&map, 2, area.start().plus(PAGE)), Ok(1), "contents stay");
        map.space().0.assert_no_stale();
    });
}

#[test]
fn bad_requests_are_refused_and_change_nothing() {
    for kind in KINDS {
        on_ground(|ground| {
            let map = ground.map(kind);
            let start = map.range().start();
            let area = map.allocate(&Allocation::pages(4).at(start.plus(GIB))).unwrap();
            let used = ground.in_use();
            let unaligned = VirtRange::of_length(start.plus(1), PAGE).unwrap();
            let empty = VirtRange::of_length(start, 0).unwrap();
            let below = VirtRange::new(VirtAddr::new(start.get() - PAGE), start.plus(PAGE)).unwrap();
            for bad in [unaligned, empty] {
                assert_eq!(map.unmap(bad), Err(VmError::BadRange(bad)));
                assert_eq!(map.protect(bad, Protection::Read), Err(VmError::BadRange(bad)));
            }
            assert_eq!(map.unmap(below), Err(VmError::Outside(below)));
            assert_eq!(map.inherit(below, Inherit::Copy), Err(VmError::Outside(below)));
            assert_eq!(map.allocate(&Allocation::pages(0)), Err(VmError::NoRoom(0)));
            assert_eq!(map.allocate(&Allocation::pages(u64::MAX)), Err(VmError::NoRoom(u64::MAX)));
            assert_eq!(map.allocate(&Allocation::pages(1).aligned(3)), Err(VmError::BadAlignment(3)));
            assert_eq!(
                map.allocate(&Allocation::pages(1).aligned(1 << 60)),
                Err(VmError::BadAlignment(1 << 60))
            );
            assert_eq!(
                map.allocate(&Allocation::pages(9).at(VirtAddr::new(area.start().get() - 6 * PAGE))),
                Err(VmError::Occupied(area.start()))
            );
            let hole = range(area.start(), 5);
            assert_eq!(map.protect(hole, Protection::Read), Err(VmError::NotAllocated(area.end())));
            assert!(map.fault(VirtAddr::ZERO, Use::Read).is_err());
            assert_eq!(ground.in_use(), used);
            assert_eq!(map.region(VirtAddr::ZERO).unwrap().protection, Protection::ReadWrite);
        });
    }
}

/// A kernel's part must have the level-3 tables already, because each task's root has copies of the entries above.
#[test]
fn a_part_of_the_kernels_half_needs_its_upper_tables() {
    on_ground(|ground| {
        use rhumb_pagetable::{Entry, TableMemory};
        let space = ground.space(Kind::Kernel);
        let mut tables = space.0.tables();
        let root = space.0.root().table;
        let entry = tables.read(root, 385);
        tables.write(root, 385, Entry::EMPTY);
        assert!(matches!(Map::new(space.clone(), Limits::default()), Err(VmError::BadRange(_))));
        tables.write(root, 385, entry);
        assert!(Map::new(space, Limits::default()).is_ok());
    });
}

/// Memory that a parent and its child share for writing, and a memory object that is put into maps of both kinds.
#[test]
fn shared_pages_are_one_page() {
    for kind in KINDS {
        on_ground(|ground| {
            let map = ground.map(kind);
            let area = map.allocate(&Allocation::pages(600)).unwrap();
            let (first, last) = (area.start(), area.start().plus(599 * PAGE));
            map.space().0.write(&map, 0, first, 1).unwrap();
            map.inherit(area, Inherit::Share).unwrap();
            let child = map.fork(ground.space(kind), Limits::default()).unwrap();
            assert_eq!(child.space().0.read(&child, 1, first), Ok(1));
            child.space().0.write(&child, 1, last, 2).unwrap();
            assert_eq!(map.space().0.read(&map, 2, last), Ok(2), "the first use may be the child's");
            map.space().0.write(&map, 0, last, 3).unwrap();
            assert_eq!(child.space().0.read(&child, 1, last), Ok(3));
            assert_eq!(map.region(first).unwrap().kind, RegionKind::Object);

            let object = map.share(range(last, 1)).unwrap();
            drop(map);
            let there = ground.map(Kind::Kernel);
            let again = object.duplicate().unwrap();
            let page = there.put(&Allocation::pages(0), object).unwrap();
            let other = there.put(&Allocation::pages(0).protection(Protection::Read), again).unwrap();
            there.space().0.write(&there, 3, page.start(), 4).unwrap();
            assert_eq!(there.space().0.read(&there, 0, other.start()), Ok(4), "two addresses of one page");
            assert_eq!(child.space().0.read(&child, 0, last), Ok(4));
            drop(child);
            assert_eq!(there.space().0.read(&there, 0, page.start()), Ok(4), "the last name keeps the page");
        });
    }
}

/// A copy of pages that others write is a snapshot of its own.
#[test]
fn copies_of_shared_pages_are_private() {
    on_ground(|ground| {
        let map = ground.map(Kind::Task);
        let area = map.allocate(&Allocation::pages(3)).unwrap();
        map.space().0.write(&map, 0, area.start(), 1).unwrap();
        let _kept = map.share(area).unwrap();
        let copy = map.copy(area).unwrap();
        let child = map.fork(ground.space(Kind::Task), Limits::default()).unwrap();
        let there = map.put(&Allocation::pages(0), copy).unwrap();
        map.space().0.write(&map, 0, area.start(), 2).unwrap();
        map.space().0.write(&map, 0, area.start().plus(PAGE), 2).unwrap();
        for (map, at) in [(&map, there.start()), (&child, area.start())] {
            assert_eq!(map.space().0.read(map, 1, at), Ok(1));
            assert_eq!(map.space().0.read(map, 1, at.plus(PAGE)), Ok(0));
            assert_eq!(map.region(at).unwrap().kind, RegionKind::Private);
        }
        let copy = map.copy(there).unwrap();
        assert_eq!(copy.duplicate().unwrap_err(), VmError::NotShared);
    });
}

/// Pages that are shared from their allocation on; a copy that is private cannot be put as shared.
#[test]
fn pages_are_allocated_for_sharing() {
    for kind in KINDS {
        on_ground(|ground| {
            let map = ground.map(kind);
            let area = map.allocate(&Allocation::pages(3).inherit(Inherit::Share)).unwrap();
            map.space().0.write(&map, 0, area.start(), 1).unwrap();
            let child = map.fork(ground.space(kind), Limits::default()).unwrap();
            map.space().0.write(&map, 0, area.start(), 2).unwrap();
            child.space().0.write(&child, 1, area.start().plus(PAGE), 3).unwrap();
            assert_eq!(child.space().0.read(&child, 1, area.start()), Ok(2));
            assert_eq!(map.space().0.read(&map, 0, area.start().plus(PAGE)), Ok(3));

            let request = Allocation::pages(0).inherit(Inherit::Share);
            let refused = child.put(&request, child.copy(area).unwrap()).unwrap_err();
            assert_eq!((refused.error, refused.copy.pages()), (VmError::NotShared, 3));
            let there = child.put(&request, child.share(area).unwrap()).unwrap();
            assert_eq!(child.region(there.start()).unwrap().inherit, Inherit::Share);

            for nth in 1.. {
                let in_use = ground.in_use();
                ground.fail_after(nth, true);
                let result = map.allocate(&Allocation::pages(600).inherit(Inherit::Share));
                if !ground.end_failure() {
                    assert!(result.is_ok() && nth > 2);
                    break;
                }
                assert!(matches!(result, Err(VmError::NoFrame(_))), "{nth}: {result:?}");
                assert_eq!(map.usage().address_pages, 3);
                // A table at level 1 may stay, empty.
                assert!(ground.in_use() <= in_use + 2);
            }
        });
    }
}

/// A wired page keeps its frame through a fork and a copy, and no write to it faults.
#[test]
fn wired_pages_keep_their_frames() {
    for kind in KINDS {
        on_ground(|ground| {
            let map = ground.map(kind);
            let tree = &map.space().0;
            let area = map.allocate(&Allocation::pages(4)).unwrap();
            tree.write(&map, 0, area.start(), 1).unwrap();
            let _older = map.copy(area).unwrap();
            map.wire(area).unwrap();
            let frame = tree.touch(&map, 0, area.start(), Use::Read);
            let child = map.fork(ground.space(kind), Limits::default()).unwrap();
            let copy = map.copy(area).unwrap();
            for page in 0..4 {
                assert_eq!(map.fault(area.start().plus(page * PAGE), Use::Write), Ok(Resolved::Already));
            }
            tree.write(&map, 0, area.start(), 2).unwrap();
            assert_eq!(tree.touch(&map, 0, area.start(), Use::Read), frame);
            assert_eq!(child.space().0.read(&child, 0, area.start()), Ok(1));
            assert_eq!((child.usage().wired_pages, map.usage().wired_pages), (0, 4));
            let there = child.put(&Allocation::pages(0), copy).unwrap();
            assert_eq!(child.space().0.read(&child, 0, there.start()), Ok(1));
        });
    }
}

/// Contents that are given up read as zeroes, and their frames are free after the flush.
#[test]
fn purged_pages_are_fresh_again() {
    for kind in KINDS {
        on_ground(|ground| {
            let map = ground.map(kind);
            let area = map.allocate(&Allocation::pages(600)).unwrap();
            map.populate(area).unwrap();
            assert_eq!(map.usage().resident_pages, 600);
            let tree = &map.space().0;
            (0..600).for_each(|page| tree.write(&map, 1, area.start().plus(page * PAGE), page + 1).unwrap());
            map.purge(range(area.start().plus(PAGE), 598)).unwrap();
            assert_eq!(map.usage().resident_pages, 2);
            for page in 0..600 {
                let kept = if page == 0 || page == 599 { page + 1 } else { 0 };
                assert_eq!(tree.read(&map, 1, area.start().plus(page * PAGE)), Ok(kept));
            }
            tree.assert_no_stale();
        });
    }
}

/// A device is mapped as it is cached, is in a fork, too, and is neither copied, shared, purged nor freed.
#[test]
fn devices_are_mapped_and_never_copied() {
    for kind in KINDS {
        on_ground(|ground| {
            let map = ground.map(kind);
            let tree = &map.space().0;
            let frames = PfnRange::of_length(Pfn::new(0x1_0000), 600).unwrap();
            // SAFETY: the machine has no RAM there, and no CPU of the test uses it.
            let device = |cache| unsafe { Device::new(frames, cache) };
            assert!(device(CacheMode::WriteBack).is_none() && device(CacheMode::WriteProtected).is_none());
            let modes = [
                CacheMode::Uncached,
                CacheMode::UncachedStrong,
                CacheMode::WriteCombining,
                CacheMode::WriteThrough,
            ];
            for cache in modes {
                let area = map.map_device(&Allocation::pages(0), &device(cache).unwrap()).unwrap();
                assert_eq!(area.bytes(), 600 * PAGE);
                let at = area.start().plus(599 * PAGE);
                let leaf = |tree: &crate::world::Tree| walk(&tree.tables(), tree.root(), at).leaf().unwrap();
                assert_eq!((leaf(tree).cache, leaf(tree).phys), (cache, Pfn::new(0x1_0000 + 599).addr()));
                map.protect(area, Protection::Nothing).unwrap();
                assert!(map.fault(at, Use::Read).is_err());
                map.protect(area, Protection::Read).unwrap();
                assert_eq!((leaf(tree).cache, leaf(tree).permissions.writable), (cache, false));
                assert_eq!(map.fault(at, Use::Read), Ok(Resolved::Already));
                assert_eq!(
                    (map.usage().resident_pages, map.region(at).unwrap().kind),
                    (0, RegionKind::Device)
                );
                map.wire(area).unwrap();
                let child = map.fork(ground.space(kind), Limits::default()).unwrap();
                assert_eq!((leaf(&child.space().0).cache, child.usage().resident_pages), (cache, 0));
                map.unwire(area).unwrap();
                map.purge(area).unwrap();
                assert_eq!(leaf(tree).phys, Pfn::new(0x1_0000 + 599).addr());
                let refused = VmError::Device(area.start());
                assert_eq!(map.copy(area).unwrap_err(), refused);
                assert_eq!(map.take(area).unwrap_err(), refused);
                assert_eq!(map.share(area).unwrap_err(), refused);
                assert_eq!(map.inherit(area, Inherit::Share), Err(refused));
                assert_eq!(map.unmap(area), Ok(600));
                assert_eq!(map.usage().address_pages, 0);
            }
            tree.assert_no_stale();
        });
    }
}
