//! Running out of addresses, frames, tables and records: an error each, and all as before.

use rhumb_hosted::mmu::MmuConfig;
use rhumb_kernelmap::{AreaError, AreaRequest, FlushPolicy};
use rhumb_machine::PageSize;
use rhumb_pagetable::{Access, CacheMode};

use crate::world::{GIB, MIB, World, as_cpu_0, in_world, phys};
use std::sync::atomic::Ordering::Relaxed;

/// Each allocation of a frame or a table fails in turn.
#[test]
fn the_nth_allocation_fails() {
    for policy in FlushPolicy::ALL {
        in_world(2, 64 * MIB, move |world, pinned| {
            world.map.set_policy(pinned, policy);
            // Its pages are counted, and `validate` compares.
            let owner = rhumb_frames::Owner(7);
            world.map.set_limit(owner, Some(1 << 20)).unwrap();
            for pages in [1, 5, 17, 600, 1500] {
                for largest in [PageSize::Size4K, PageSize::Size1G] {
                    let mut nth = 1;
                    loop {
                        let before = (world.frames_in_use(), world.ground.tables_out.load(Relaxed));
                        world.ground.plant.fails_after.store(nth, Relaxed);
                        // A request asks twice.
                        world.ground.plant.fails_more.store(1, Relaxed);
                        let request = AreaRequest::new(pages).largest(largest).owner(owner);
                        let made = world.map.alloc(pinned, request);
                        let is_over = world.ground.plant.fails_after.swap(0, Relaxed) > 0;
                        world.map.validate(pinned).unwrap();
                        match made {
                            Ok(area) => world.map.free(pinned, area).unwrap(),
                            Err(AreaError::NoFrame(_) | AreaError::NoTable) => {
                                world.map.reclaim(pinned);
                                let tables = world.ground.tables_out.load(Relaxed);
                                // Tables above the area may have been made, and stay.
                                assert!(tables - before.1 <= 3, "{} tables more", tables - before.1);
                                let records = 2;
                                assert!(world.frames_in_use() <= before.0 + tables - before.1 + records);
                            }
                            Err(error) => panic!("{error}"),
                        }
                        if is_over {
                            break;
                        }
                        nth += if nth < 40 { 1 } else { 97 };
                    }
                }
            }
            world.assert_empty(pinned);
        });
    }
}

#[test]
fn a_split_without_tables_changes_nothing() {
    in_world(1, 64 * MIB, |world, pinned| {
        let mut area = world.map.alloc(pinned, AreaRequest::new(1024)).unwrap();
        for nth in 1..=2 {
            world.ground.plant.fails_after.store(nth, Relaxed);
            // A request asks twice.
            world.ground.plant.fails_more.store(1, Relaxed);
            let refused = world.map.protect(pinned, &mut area, 100..700, Access::ReadOnly);
            world.ground.plant.fails_after.store(0, Relaxed);
            assert_eq!(refused, Err(AreaError::NoTable));
            for page in [0, 100, 600, 1023] {
                world.touch(0, area.start().plus(page * 4096), rhumb_hosted::mmu::Use::Write);
            }
            world.map.validate(pinned).unwrap();
        }
        world.map.free(pinned, area).unwrap();
        world.assert_empty(pinned);
    });
}

#[test]
fn frames_run_out() {
    in_world(2, 24 * MIB, |world, pinned| {
        let mut areas = Vec::new();
        let error = loop {
            match world.map.alloc(pinned, AreaRequest::new(1 + areas.len() as u64 % 40)) {
                Ok(area) => areas.push(area),
                Err(error) => break error,
            }
        };
        assert!(
            matches!(error, AreaError::NoFrame(_) | AreaError::NoTable | AreaError::NoRecord(_)),
            "{error}"
        );
        world.map.validate(pinned).unwrap();
        areas.iter().step_by(7).for_each(|area| world.check_area(1, area));
        areas.into_iter().for_each(|area| world.map.free(pinned, area).unwrap());
        world.assert_empty(pinned);
    });
}

/// Large addresses run out, those that wait serve a request, and all come back.
#[test]
fn addresses_run_out() {
    in_world(1, 64 * MIB, |world, pinned| {
        let device = phys(0x100_0000_0000, GIB - 2 * MIB);
        // SAFETY: there is no such device, and nothing but the test's unit walks the tables.
        let map = || unsafe {
            world.map.map_device(pinned, device, CacheMode::Uncached, rhumb_frames::Owner::NONE)
        };
        let mut areas: Vec<_> = (0..8).map(|_| map().unwrap()).collect();
        assert_eq!(map().unwrap_err(), AreaError::NoAddresses((GIB - 2 * MIB) / 4096));
        world.map.validate(pinned).unwrap();
        for _ in 0..20 {
            world.map.free(pinned, areas.pop().unwrap()).unwrap();
            areas.push(map().unwrap());
        }
        areas.into_iter().for_each(|area| world.map.free(pinned, area).unwrap());
        world.assert_empty(pinned);
    });
}

/// Small addresses: 2^18 units, each area with its guard.
#[test]
fn small_addresses_run_out() {
    let world = World::new(1, 64 * MIB, MmuConfig::plain(1));
    as_cpu_0(world, |pinned| {
        let device = phys(0x100_0000_0000, 511 * 4096);
        // SAFETY: there is no such device, and nothing but the test's unit walks the tables.
        let map = || unsafe {
            world.map.map_device(pinned, device, CacheMode::Uncached, rhumb_frames::Owner::NONE)
        };
        let areas: Vec<_> = std::iter::from_fn(|| map().ok()).collect();
        assert_eq!(areas.len(), 512);
        assert_eq!(map().unwrap_err(), AreaError::NoAddresses(511));
        areas.into_iter().for_each(|area| world.map.free(pinned, area).unwrap());
        let area = world.map.alloc(pinned, AreaRequest::new(300)).unwrap();
        world.map.free(pinned, area).unwrap();
        world.assert_empty(pinned);
    });
}

/// The record of a range finds memory in what waits for a flush, as frames and addresses do.
#[test]
fn memory_that_waits_serves_a_record() {
    in_world(1, 16 * MIB, |world, pinned| {
        world.map.set_most_waiting(1 << 20);
        // The tables above are there, so that none of them is what finds the memory that waits.
        let all = [(); 6].map(|()| world.map.alloc(pinned, AreaRequest::new(500)).unwrap());
        all.into_iter().for_each(|area| world.map.free(pinned, area).unwrap());
        world.map.reclaim(pinned);
        let waiting = world.map.alloc(pinned, AreaRequest::new(400)).unwrap();
        // No frame is left for records but those that wait.
        let frames = &world.ground.frames;
        let frame = || frames.alloc(pinned, rhumb_frames::Request::FRAME);
        let kept: Vec<_> = std::iter::from_fn(|| frame().ok()).collect();
        world.map.free(pinned, waiting).unwrap();
        let mut areas = Vec::new();
        while world.map.waiting() != (0, 0) {
            // SAFETY: there is no such device, and nothing but the test's unit walks the tables.
            areas.push(unsafe {
                let device = phys(0x100_0000_0000, 4096);
                world.map.map_device(pinned, device, CacheMode::Uncached, rhumb_frames::Owner::NONE).unwrap()
            });
        }
        areas.into_iter().for_each(|area| world.map.free(pinned, area).unwrap());
        kept.into_iter().for_each(|frame| frames.free(pinned, frame));
        world.assert_empty(pinned);
    });
}

/// Another CPU gives back what waited just before this one looks for it: a request asks once more.
#[test]
fn memory_that_came_back_meanwhile_serves_a_request() {
    in_world(1, 64 * MIB, |world, pinned| {
        for pages in [3, 600] {
            for nth in 1..=3 {
                world.ground.plant.fails_after.store(nth, Relaxed);
                let request = AreaRequest::new(pages).largest(PageSize::Size4K);
                let area = world.map.alloc(pinned, request).unwrap();
                assert_eq!(world.ground.plant.fails_after.load(Relaxed), 0);
                world.check_area(0, &area);
                world.map.free(pinned, area).unwrap();
                world.map.reclaim(pinned);
            }
        }
        world.assert_empty(pinned);
    });
}
