//! Faults that are planted into the crate are found.

use std::sync::atomic::Ordering::Relaxed;

use rhumb_frames::Zone;
use rhumb_pageable::planted::{self, Fault};

use crate::histories;
use crate::world::{MIB, Which, in_world};

/// CPU 1 has the page's translation: without the flush it writes into a page whose contents are kept already, and into
/// a frame that is free.
#[test]
fn a_missing_flush_is_found() {
    for fault in [None, Some(Fault::NoFlush)] {
        let found = in_world((2, 8 * MIB), Which::Plain, move |world, pinned| {
            let area = world.area(1);
            world.touch(1, area.start());
            let evict = || world.all.evict(pinned, 1, Zone::High);
            let freed = match fault {
                Some(fault) => planted::with(fault, evict),
                None => evict(),
            };
            assert_eq!(freed, 1);
            let stale = world.ground.stale_puts.load(Relaxed);
            (stale, world.mmu().take_reports().is_empty())
        });
        assert_eq!(found, if fault.is_some() { (1, false) } else { (0, true) });
    }
}

#[test]
fn histories_find_each_fault() {
    for fault in [Fault::NoFlush, Fault::SlotKept] {
        assert!(histories::finds(fault), "{fault:?}");
    }
}

#[test]
fn a_page_that_goes_out_in_spite_of_its_pin_is_found() {
    in_world((1, 8 * MIB), Which::Plain, |world, pinned| {
        let area = world.area(1);
        let pin = area.pin(world.all.may_fault().unwrap(), 0..1).unwrap();
        world.all.evict(pinned, 1, Zone::High);
        assert_eq!(world.all.pages_of(area.range()).pinned, 1);
        planted::with(Fault::PinsIgnored, || world.all.evict(pinned, 1, Zone::High));
        assert_eq!(world.all.pages_of(area.range()).pinned, 0);
        // Its end would be told of what cannot be.
        std::mem::forget(pin);
    });
}
