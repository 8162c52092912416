//! The compressed store: sizes, words, frames that it takes and gives back.

use rhumb_frames::{Request, Zone};
use rhumb_machine::{NodeId, Order, PhysAddr, Pinned};
use rhumb_pageable::{Store, StoreReport};

use crate::world::{Kind, MIB, OF_FRAMES, RAM_AT, Random, TestArea, Which, World, in_high_world, in_world};

const PAGE: u64 = 4096;

fn report(world: &World) -> StoreReport {
    let Kind::Compressed(store) = &world.all.store().kind else { panic!("another store") };
    store.report()
}

/// Writes a page whose first bytes are random.
fn write_random(world: &World, area: &mut TestArea, page: u64, bytes: usize, random: &mut Random) -> Vec<u8> {
    let mut contents = vec![0u8; PAGE as usize];
    contents.iter_mut().take(bytes).for_each(|byte| *byte = random.next() as u8);
    world.write(area, page * PAGE, &contents);
    contents
}

fn all_out(world: &World, pinned: Pinned<'_>) {
    world.all.evict(pinned, 10_000, Zone::High);
}

#[test]
fn pages_of_one_word_take_no_memory() {
    in_world((1, 8 * MIB), Which::Compressed, |world, pinned| {
        let mut area = world.area(64);
        for page in 0..64u32 {
            let word = (page * 0x0101_0107).to_le_bytes();
            world.write(&mut area, u64::from(page) * PAGE, &word.repeat(1024));
        }
        assert_eq!(world.all.evict(pinned, 64, Zone::High), 64);
        assert_eq!(report(world), StoreReport { pages: 64, same_pages: 64, ..StoreReport::default() });
        for page in 0..64u32 {
            let word = (page * 0x0101_0107).to_le_bytes();
            assert_eq!(world.read(&area, u64::from(page) * PAGE, 4096), word.repeat(1024));
        }
        world.free(area);
        world.assert_empty(pinned);
    });
}

#[test]
fn contents_of_all_sizes_come_back() {
    in_world((1, 16 * MIB), Which::Compressed, |world, pinned| {
        let mut random = Random(1);
        let mut area = world.area(160);
        let contents: Vec<_> = (0..160u64)
            .map(|page| write_random(world, &mut area, page, page as usize * 14 + 1, &mut random))
            .collect();
        all_out(world, pinned);
        let seen = report(world);
        assert!(seen.pages > 120 && seen.frames < 70 && seen.refused > 0, "{seen}");
        assert_eq!(world.all.report().resident + seen.pages, 160);
        // Those that come in leave room, and their frames.
        for page in (0..160).step_by(2).chain((1..160).step_by(2)) {
            assert_eq!(world.read(&area, page as u64 * PAGE, 4096), contents[page]);
        }
        assert_eq!(report(world).frames, 0);
        world.free(area);
        world.assert_empty(pinned);
    });
}

#[test]
fn contents_that_cannot_be_compressed_stay() {
    in_world((1, 8 * MIB), Which::Compressed, |world, pinned| {
        let (mut random, mut area) = (Random(2), world.area(16));
        let contents: Vec<_> =
            (0..16).map(|page| write_random(world, &mut area, page, 4096, &mut random)).collect();
        let before = world.frames_in_use();
        assert_eq!(world.all.evict(pinned, 16, Zone::High), 0);
        assert_eq!((world.all.report().resident, report(world).pages), (16, 0));
        assert_eq!(world.frames_in_use(), before);
        for (page, contents) in (0..).zip(&contents) {
            assert_eq!(&world.read(&area, page * PAGE, 4096), contents);
        }
        world.free(area);
        world.assert_empty(pinned);
    });
}

/// More than there is memory, so that each page goes out and in many times. Paging out asks for no frame: the first
/// page that goes out makes its own frame one of slots.
#[test]
fn more_than_memory_fits() {
    in_world((1, 4 * MIB), Which::Compressed, |world, pinned| {
        let (mut random, mut area) = (Random(3), world.area(3000));
        let contents: Vec<_> =
            (0..3000).map(|page| write_random(world, &mut area, page, 600, &mut random)).collect();
        let seen = world.all.report();
        assert!(seen.out > 1500 && seen.pswpout > 1500, "{seen:?}");
        for _ in 0..3 {
            for _ in 0..2000 {
                let page = random.below(3000);
                assert_eq!(world.read(&area, page * PAGE, 4096), contents[page as usize]);
            }
        }
        assert!(world.all.report().pswpin > 1500);
        world.free(area);
        world.assert_empty(pinned);
    });
}

#[test]
fn pages_past_the_direct_map_go_out_and_in() {
    in_high_world((1, 8 * MIB, 4 * MIB), Which::Compressed, |world, pinned| {
        let (mut random, mut area) = (Random(4), world.area(3000));
        let contents: Vec<_> =
            (0..3000).map(|page| write_random(world, &mut area, page, 500, &mut random)).collect();
        for _ in 0..6000 {
            let page = random.below(3000);
            assert_eq!(world.read(&area, page * PAGE, 4096), contents[page as usize]);
        }
        let seen = world.all.report();
        assert!(seen.pswpin > 500, "{seen:?}");
        world.free(area);
        world.assert_empty(pinned);
    });
}

/// A request for memory of the direct map is not served by a page past it.
#[test]
fn a_request_for_low_memory_pages_out_low_memory() {
    in_high_world((1, 8 * MIB, 4 * MIB), Which::Compressed, |world, pinned| {
        let (mut random, mut area) = (Random(5), world.area(1800));
        let contents: Vec<_> =
            (0..1800).map(|page| write_random(world, &mut area, page, 100, &mut random)).collect();
        let zones: Vec<_> = (0..1800)
            .map(|page| {
                let pfn = world.map.pfn_at(area.start().plus(page * PAGE)).unwrap();
                world.ground.frames.zone_of(pfn).unwrap()
            })
            .collect();
        let is_low = |zone: &&Zone| **zone == Zone::Normal;
        let low = zones.iter().filter(is_low).count();
        assert!((600..1200).contains(&low), "{low} pages are low");
        // All of them, and no other.
        world.all.evict(pinned, u64::MAX, Zone::Normal);
        assert_eq!(world.all.report().out, low as u64);
        for ((page, contents), zone) in (0..).zip(&contents).zip(&zones) {
            let is_present = world.map.pfn_at(area.start().plus(page * PAGE)).is_some();
            assert_eq!(is_present, *zone == Zone::High, "page {page} in {zone}");
            assert_eq!(&world.read(&area, page * PAGE, 4096), contents);
        }
        world.free(area);
        world.assert_empty(pinned);
    });
}

/// Compressed contents stay long: the reserve is left to requests that must not fail.
#[test]
fn pages_past_the_direct_map_leave_the_reserve() {
    const RESERVE: u64 = 256;
    in_high_world((1, 8 * MIB, 2 * MIB), Which::Compressed, |world, pinned| {
        let frames = &world.ground.frames;
        frames.set_reserve(NodeId::FIRST, Zone::Normal, RESERVE);
        // All pages are past the direct map, so that none becomes a frame of slots.
        frames.set_high_guard(NodeId::FIRST, Zone::Normal, 512);
        let (mut random, mut area) = (Random(6), world.area(2200));
        let may_fault = world.all.may_fault().unwrap();
        let contents: Vec<_> = (0..2200)
            .map_while(|page| {
                let contents: Vec<_> = (0..1500).map(|_| random.next() as u8).collect();
                area.write(may_fault, page * PAGE, &contents).ok().map(|()| contents)
            })
            .collect();
        assert!(report(world).pages > 50, "{}", report(world));
        frames.drain(pinned);
        let free = frames.levels(NodeId::FIRST, Zone::Normal).free;
        assert!(free >= RESERVE, "{free} frames are left");
        let low = PhysAddr::new(RAM_AT).pfn();
        let owner = |pfn| frames.descriptor(pfn).map(|descriptor| descriptor.owner());
        let owned = (0..2 * MIB / PAGE).filter(|&frame| owner(low.plus(frame)) == Some(OF_FRAMES)).count();
        assert_eq!(owned as u64, report(world).frames, "frames of slots are their owner's");
        frames.set_high_guard(NodeId::FIRST, Zone::Normal, 0);
        frames.set_reserve(NodeId::FIRST, Zone::Normal, 0);
        for (page, contents) in (0..).zip(&contents) {
            assert_eq!(&world.read(&area, page * PAGE, 1500), contents);
        }
        world.free(area);
        world.assert_empty(pinned);
    });
}

/// A frame of another allocator has the number of one that is in use here; a larger one would be freed in part.
#[test]
fn frames_that_are_no_page_of_this_allocator_are_refused() {
    let others = in_world((1, 4 * MIB), Which::Compressed, |other, pinned| {
        let take = || other.ground.frames.alloc_anywhere(pinned, Request::FRAME).ok();
        std::iter::from_fn(take).collect::<Vec<_>>()
    });
    in_world((1, 4 * MIB), Which::Compressed, |world, pinned| {
        let (mut random, mut area) = (Random(7), world.area(1));
        let contents = write_random(world, &mut area, 0, 600, &mut random);
        let Kind::Compressed(store) = &world.all.store().kind else { panic!("another store") };
        let (mut scratch, pfn) = (store.scratch(), world.map.pfn_at(area.start()));
        let same = others.into_iter().find(|frame| Some(frame.pfn()) == pfn).unwrap();
        assert!(store.put(pinned, &mut scratch, same).is_err());
        assert_eq!(world.read(&area, 0, 4096), contents);
        let frames = &world.ground.frames;
        let large = frames.alloc_anywhere(pinned, Request::new(Order::new(1).unwrap()).zeroed()).unwrap();
        let back = store.put(pinned, &mut scratch, large).unwrap_err();
        frames.free(pinned, back);
        assert_eq!(report(world), StoreReport::default());
        world.free(area);
        world.assert_empty(pinned);
    });
}
