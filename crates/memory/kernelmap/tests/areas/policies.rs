//! The three policies: how often CPUs flush, and what waits.

use rhumb_hosted::mmu::Use;
use rhumb_kernelmap::{AreaRequest, FlushPolicy};
use rhumb_machine::PageSize;

use crate::world::{MIB, in_world};
use std::sync::atomic::Ordering::Relaxed;

/// Returns how many flushes `times` areas of `pages` pages take.
fn flushes(policy: FlushPolicy, pages: u64, times: u64) -> u64 {
    in_world(2, 128 * MIB, |world, pinned| {
        world.map.set_policy(pinned, policy);
        let before = world.ground.flushes.load(Relaxed);
        for _ in 0..times {
            let area = world.map.alloc(pinned, AreaRequest::new(pages)).unwrap();
            for cpu in [0, 1] {
                world.touch(cpu, area.start(), Use::Write);
            }
            world.map.free(pinned, area).unwrap();
        }
        let flushes = world.ground.flushes.load(Relaxed) - before;
        world.assert_empty(pinned);
        flushes
    })
}

#[test]
fn eager_flushes_each_time() {
    assert_eq!(flushes(FlushPolicy::Eager, 1, 100), 100);
    assert_eq!(flushes(FlushPolicy::Eager, 512, 10), 10);
}

#[test]
fn batched_flushes_for_16_areas_or_32_pages() {
    assert_eq!(flushes(FlushPolicy::Batched, 1, 160), 10);
    assert_eq!(flushes(FlushPolicy::Batched, 8, 160), 40);
}

#[test]
fn lazy_flushes_for_128_areas() {
    let (areas, flushed) = (1280, flushes(FlushPolicy::Lazy, 1, 1280));
    assert!(flushed <= areas / 64 && flushed >= areas / 130, "{flushed} flushes");
}

#[test]
fn pages_that_wait_are_bounded() {
    in_world(2, 256 * MIB, |world, pinned| {
        let most = world.map.set_most_waiting(100);
        assert_eq!(most, 512, "a 64th of 65,536 pages, for two CPUs");
        for _ in 0..500 {
            let area = world.map.alloc(pinned, AreaRequest::new(30)).unwrap();
            world.map.free(pinned, area).unwrap();
            let (_, pages) = world.map.waiting();
            assert!(pages <= 100, "{pages} pages wait");
        }
        let area = world.map.alloc(pinned, AreaRequest::new(3000)).unwrap();
        world.map.free(pinned, area).unwrap();
        assert_eq!(world.map.waiting(), (0, 0), "more than may wait at all");
        world.assert_empty(pinned);
    });
}

#[test]
fn memory_that_waits_serves_a_request() {
    in_world(1, 32 * MIB, |world, pinned| {
        world.map.set_most_waiting(1 << 20);
        let request = AreaRequest::new(400);
        let mut areas = Vec::new();
        let error = loop {
            match world.map.alloc(pinned, request) {
                Ok(area) => areas.push(area),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, rhumb_kernelmap::AreaError::NoFrame(_)), "{error}");
        let all = areas.len();
        assert!(all >= 15, "{all} areas");
        for _ in 0..5 {
            for area in areas.drain(..) {
                world.map.free(pinned, area).unwrap();
            }
            areas.extend((0..all).map(|_| world.map.alloc(pinned, request).unwrap()));
        }
        for area in areas {
            world.map.free(pinned, area).unwrap();
        }
        world.assert_empty(pinned);
    });
}

/// The tables of a large area of small pages go back, and its addresses serve large pages afterwards.
#[test]
fn tables_of_large_areas_come_back() {
    for policy in FlushPolicy::ALL {
        in_world(2, 64 * MIB, move |world, pinned| {
            world.map.set_policy(pinned, policy);
            let tables_out = |world: &crate::world::World| world.ground.tables_out.load(Relaxed);
            // The tables above stay.
            let area = world.map.alloc(pinned, AreaRequest::new(1024)).unwrap();
            world.map.free(pinned, area).unwrap();
            world.map.reclaim(pinned);
            let before = tables_out(world);
            let small = AreaRequest::new(1024).largest(PageSize::Size4K);
            let area = world.map.alloc(pinned, small).unwrap();
            world.check_area(1, &area);
            assert_eq!(tables_out(world), before + 2);
            world.map.free(pinned, area).unwrap();
            world.map.reclaim(pinned);
            assert_eq!(tables_out(world), before);
            let area = world.map.alloc(pinned, AreaRequest::new(1024)).unwrap();
            world.check_area(1, &area);
            world.map.free(pinned, area).unwrap();
            world.assert_empty(pinned);
        });
    }
}

/// A CPU that idles is left alone, and finds nothing stale when it wakes.
#[test]
fn lazy_cpus_catch_up() {
    in_world(2, 64 * MIB, |world, pinned| {
        let idle = rhumb_machine::CpuId::new(1).unwrap();
        for round in 0..300 {
            let area = world.map.alloc(pinned, AreaRequest::new(1 + round % 7)).unwrap();
            world.touch(0, area.start(), Use::Write);
            if round % 50 < 40 {
                world.touch(1, area.start(), Use::Write);
            } else {
                world.mmu().enter_lazy(idle);
            }
            world.map.free(pinned, area).unwrap();
            if round % 50 == 49 {
                world.mmu().leave_lazy(idle);
            }
        }
        world.mmu().leave_lazy(idle);
        world.assert_empty(pinned);
    });
}
