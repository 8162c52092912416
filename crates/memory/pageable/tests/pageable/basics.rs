//! One area, step by step.

use std::sync::atomic::Ordering::Relaxed;

use rhumb_frames::{Owner, Zone};
use rhumb_kernelmap::AreaError;
use rhumb_machine::VirtAddr;
use rhumb_pageable::{AreaPages, MakeError, PageError};

use crate::world::{MIB, Which, in_world};

const PAGE: u64 = 4096;

#[test]
fn a_page_is_zero_at_first_and_has_a_frame_when_it_is_touched() {
    in_world((1, 8 * MIB), Which::Compressed, |world, pinned| {
        let before = world.frames_in_use();
        let area = world.area(1000);
        let tables = world.ground.tables_out.load(Relaxed);
        assert!(world.frames_in_use() <= before + tables + 2);
        let untouched = AreaPages { untouched: 1000, ..AreaPages::default() };
        assert_eq!(world.all.pages_of(area.range()), untouched);
        assert_eq!(world.read(&area, 3 * PAGE - 5, 10), [0; 10]);
        let two = AreaPages { resident: 2, untouched: 998, ..AreaPages::default() };
        assert_eq!(world.all.pages_of(area.range()), two);
        assert_eq!(world.all.report().pgfault, 2);
        world.free(area);
        world.assert_empty(pinned);
    });
}

#[test]
fn contents_go_out_and_come_in() {
    for which in [Which::Compressed, Which::Plain] {
        in_world((1, 8 * MIB), which, |world, pinned| {
            let mut area = world.area(20);
            for page in 0..10u64 {
                world.write(&mut area, page * PAGE + 100, &page.to_le_bytes());
            }
            assert!(world.all.evict(pinned, 100, Zone::High) >= 9);
            let report = world.all.report();
            assert_eq!((report.resident, report.out, report.pswpout), (0, 10, 10));
            assert_eq!(world.all.pages_of(area.range()).out, 10);
            for page in 0..10u64 {
                assert_eq!(world.read(&area, page * PAGE + 100, 8), page.to_le_bytes());
            }
            let report = world.all.report();
            assert_eq!((report.resident, report.out), (10, 0));
            assert_eq!((report.pgfault, report.pgmajfault, report.pswpin), (20, 10, 10));
            world.all.evict(pinned, 5, Zone::High);
            world.free(area);
            world.assert_empty(pinned);
        });
    }
}

#[test]
fn a_touch_through_the_tables_faults_and_goes_on() {
    in_world((2, 8 * MIB), Which::Compressed, |world, pinned| {
        let mut area = world.area(4);
        assert_eq!(world.touch(1, area.start()), 0);
        world.write(&mut area, 0, &[77]);
        assert_eq!(world.touch(0, area.start()), 77);
        assert_eq!(world.all.evict(pinned, 100, Zone::High), 0, "the page's frame keeps it");
        assert_eq!(world.all.report().out, 1);
        assert_eq!(world.touch(1, area.start()), 77);
        // The guards are no pages.
        for beside in [VirtAddr::new(area.start().get() - 1), area.range().end()] {
            assert!(!world.all.contains(beside));
            let refused = world.all.resolve(world.all.may_fault().unwrap(), beside);
            assert_eq!(refused, Err(PageError::NotPageable(beside)));
        }
        let (start, may_fault) = (area.start(), world.all.may_fault().unwrap());
        world.free(area);
        assert_eq!(world.all.resolve(may_fault, start), Err(PageError::NotPageable(start)));
        world.assert_empty(pinned);
    });
}

#[test]
fn a_page_that_is_used_has_a_second_chance() {
    in_world((1, 8 * MIB), Which::Plain, |world, pinned| {
        let area = world.area(8);
        world.read(&area, 0, 8 * PAGE as usize);
        // All bits are cleared, then the first page goes.
        assert_eq!(world.all.evict(pinned, 1, Zone::High), 1);
        world.read(&area, PAGE, 1);
        world.read(&area, 3 * PAGE, 1);
        // The second and the fourth were used since.
        assert_eq!(world.all.evict(pinned, 2, Zone::High), 2);
        let out = |page: u64| {
            let range = rhumb_machine::VirtRange::of_length(area.start().plus(page * PAGE), PAGE).unwrap();
            world.all.pages_of(range).out == 1
        };
        assert_eq!((0..8).filter(|&page| out(page)).collect::<Vec<_>>(), [0, 2, 4]);
        world.free(area);
        world.assert_empty(pinned);
    });
}

#[test]
fn one_flush_serves_a_batch() {
    in_world((2, 8 * MIB), Which::Plain, |world, pinned| {
        let area = world.area(64);
        world.read(&area, 0, 64 * PAGE as usize);
        let before = world.ground.flushes.load(Relaxed);
        assert_eq!(world.all.evict(pinned, 64, Zone::High), 64);
        // One for the bits, and two for 32 pages each.
        assert!(world.ground.flushes.load(Relaxed) - before <= 4);
        world.free(area);
        world.assert_empty(pinned);
    });
}

#[test]
fn pinned_pages_stay() {
    in_world((1, 8 * MIB), Which::Compressed, |world, pinned| {
        let mut area = world.area(8);
        world.write(&mut area, 0, &[1; 8 * 4096]);
        let may_fault = world.all.may_fault().unwrap();
        let pin = area.pin(may_fault, 2..4).unwrap();
        let again = area.pin(may_fault, 3..5).unwrap();
        world.all.evict(pinned, 100, Zone::High);
        world.all.evict(pinned, 100, Zone::High);
        let pages = world.all.pages_of(area.range());
        assert_eq!((pages.resident, pages.pinned, pages.out), (3, 3, 5));
        assert_eq!(pin.page(2).unwrap(), &[1; 4096]);
        assert_eq!(pin.page(4), None);
        drop(pin);
        world.all.evict(pinned, 100, Zone::High);
        assert_eq!(world.all.pages_of(area.range()).resident, 2);
        drop(again);
        let mut written = area.pin_mut(may_fault, 0..2).unwrap();
        written.page_mut(1).unwrap()[7] = 9;
        assert_eq!(written.page(1).unwrap()[6..9], [1, 9, 1]);
        drop(written);
        assert_eq!(world.read(&area, PAGE + 6, 3), [1, 9, 1]);
        world.free(area);
        world.assert_empty(pinned);
    });
}

#[test]
fn a_page_has_so_many_pins_at_most() {
    in_world((1, 8 * MIB), Which::Compressed, |world, pinned| {
        let area = world.area(2);
        let may_fault = world.all.may_fault().unwrap();
        let pins: Vec<_> = (0..127).map(|_| area.pin(may_fault, 1..2).unwrap()).collect();
        let refused = area.pin(may_fault, 0..2).err();
        assert_eq!(refused, Some(PageError::TooManyPins(area.start().plus(PAGE))));
        assert_eq!(world.all.pages_of(area.range()).pinned, 1, "the first page is loose again");
        drop(pins);
        assert_eq!(world.all.pages_of(area.range()).pinned, 0);
        world.free(area);
        world.assert_empty(pinned);
    });
}

#[test]
fn a_pin_that_is_forgotten_goes_with_the_area() {
    in_world((1, 8 * MIB), Which::Compressed, |world, pinned| {
        let area = world.area(2);
        std::mem::forget(area.pin(world.all.may_fault().unwrap(), 0..2).unwrap());
        world.free(area);
        world.assert_empty(pinned);
    });
}

#[test]
fn wrong_requests_are_refused() {
    in_world((1, 8 * MIB), Which::Compressed, |world, pinned| {
        let may_fault = world.all.may_fault().unwrap();
        let refused = |pages| world.all.alloc(may_fault, pages, Owner::NONE).err();
        assert_eq!(refused(0), Some(MakeError::Area(AreaError::Empty)));
        assert!(matches!(refused(1 << 40), Some(MakeError::Area(AreaError::TooLarge(_)))));
        assert!(matches!(refused(1 << 30), Some(MakeError::Area(AreaError::NoAddresses(_)))));
        let mut area = world.area(2);
        assert_eq!(area.read(may_fault, 2 * PAGE - 1, &mut [0; 2]), Err(PageError::OutOfArea));
        assert_eq!(area.write(may_fault, u64::MAX, &[0; 2]), Err(PageError::OutOfArea));
        assert_eq!(area.pin(may_fault, 1..3).err(), Some(PageError::OutOfArea));
        #[expect(clippy::reversed_empty_ranges, reason = "a wrong request")]
        let reversed = area.pin(may_fault, 1..0).err();
        assert_eq!(reversed, Some(PageError::OutOfArea));
        assert_eq!(area.read(may_fault, 2 * PAGE, &mut []), Ok(()));
        assert_eq!(world.all.report().pgfault, 0);
        world.free(area);
        world.assert_empty(pinned);
    });
}

#[test]
fn nothing_waits_where_faults_are_not_allowed() {
    in_world((1, 8 * MIB), Which::Compressed, |world, pinned| {
        let mut area = world.area(2);
        world.write(&mut area, 0, &[5]);
        let may_fault = world.all.may_fault().unwrap();
        world.ground.plant.is_forbidden.store(true, Relaxed);
        assert_eq!(world.all.may_fault().err(), Some(PageError::MayNotFault));
        assert_eq!(area.read(may_fault, 0, &mut [0]), Err(PageError::MayNotFault));
        assert_eq!(area.write(may_fault, 0, &[0]), Err(PageError::MayNotFault));
        assert_eq!(area.pin(may_fault, 0..1).err(), Some(PageError::MayNotFault));
        assert_eq!(world.all.resolve(may_fault, area.start()), Err(PageError::MayNotFault));
        assert_eq!(world.all.alloc(may_fault, 1, Owner::NONE).err(), Some(MakeError::MayNotFault));
        assert_eq!(world.all.evict(pinned, 10, Zone::High), 0);
        let Err((error, area)) = area.free(may_fault) else { panic!("the area was freed") };
        assert_eq!(error, PageError::MayNotFault);
        world.ground.plant.is_forbidden.store(false, Relaxed);
        assert_eq!(world.read(&area, 0, 1), [5]);
        world.free(area);
        world.assert_empty(pinned);
    });
}
