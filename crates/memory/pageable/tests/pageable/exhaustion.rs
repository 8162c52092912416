//! Running out of memory is an error, and nothing has changed then (I12).

use std::sync::atomic::Ordering::Relaxed;

use rhumb_frames::{Owner, Zone};
use rhumb_pageable::PageError;

use crate::world::{MIB, Which, in_world};

const PAGE: u64 = 4096;

/// Each allocation of a history fails in turn, once, and so that it fails permanently.
#[test]
fn i12_each_allocation_fails_in_turn() {
    for more in [0, 1000] {
        for nth in 1.. {
            let failed = in_world((1, 8 * MIB), Which::Compressed, move |world, pinned| {
                let plant = &world.ground.plant;
                let may_fault = world.all.may_fault().unwrap();
                plant.fails_more.store(more, Relaxed);
                plant.fails_after.store(nth, Relaxed);
                let mut failures = 0;
                let area = world.all.alloc(may_fault, 600, Owner(3));
                let mut area = match area {
                    Ok(area) => area,
                    Err(_) => {
                        failures += 1;
                        plant.fails_after.store(0, Relaxed);
                        world.area(600)
                    }
                };
                for page in 0..4u64 {
                    while area.write(may_fault, page * 150 * PAGE, &[page as u8 + 1; 100]).is_err() {
                        failures += 1;
                        plant.fails_after.store(0, Relaxed);
                    }
                }
                world.all.evict(pinned, 100, Zone::High);
                for page in 0..4u64 {
                    let mut bytes = [0; 100];
                    while area.read(may_fault, page * 150 * PAGE, &mut bytes).is_err() {
                        failures += 1;
                        plant.fails_after.store(0, Relaxed);
                    }
                    assert_eq!(bytes, [page as u8 + 1; 100], "allocation {nth} failed");
                }
                plant.fails_after.store(0, Relaxed);
                world.free(area);
                world.assert_empty(pinned);
                failures
            });
            if failed == 0 && nth > 12 {
                break;
            }
        }
    }
}

#[test]
fn a_full_store_leaves_pages_where_they_are() {
    in_world((1, 8 * MIB), Which::Plain, |world, pinned| {
        let mut area = world.area(4000);
        world.ground.plant.is_full.store(true, Relaxed);
        let may_fault = world.all.may_fault().unwrap();
        let mut written = 0;
        let error = loop {
            match area.write(may_fault, written * PAGE, &written.to_le_bytes()) {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, PageError::NoFrame(_)), "{error}");
        assert!(written > 1000);
        assert_eq!((world.all.report().out, world.all.report().resident), (0, written));
        // There is room again, and the page that had none is zero.
        world.ground.plant.is_full.store(false, Relaxed);
        assert_eq!(world.read(&area, written * PAGE, 8), [0; 8]);
        for page in 0..written {
            assert_eq!(world.read(&area, page * PAGE, 8), page.to_le_bytes());
        }
        world.free(area);
        world.assert_empty(pinned);
    });
}

#[test]
fn a_page_that_is_lost_is_an_error_and_stays_out() {
    in_world((1, 8 * MIB), Which::Compressed, |world, pinned| {
        let mut area = world.area(2);
        world.write(&mut area, 0, &[9; 3]);
        world.all.evict(pinned, 10, Zone::High);
        let (before, start) = (world.frames_in_use(), area.start());
        world.ground.plant.is_lost.store(true, Relaxed);
        let may_fault = world.all.may_fault().unwrap();
        assert_eq!(area.read(may_fault, 0, &mut [0]), Err(PageError::Lost(start)));
        assert_eq!(world.all.resolve(may_fault, start), Err(PageError::Lost(start)));
        assert_eq!(world.frames_in_use(), before);
        world.ground.plant.is_lost.store(false, Relaxed);
        assert_eq!(world.read(&area, 0, 4), [9, 9, 9, 0]);
        world.free(area);
        world.assert_empty(pinned);
    });
}
