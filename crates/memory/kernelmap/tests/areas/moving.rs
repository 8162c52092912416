//! Moving areas to another node, in turn with accesses.

use core::ops::ControlFlow;
use std::sync::atomic::Ordering::Relaxed;

use rhumb_frames::Owner;
use rhumb_hosted::mmu::MmuConfig;
use rhumb_kernelmap::{Area, AreaError, AreaRequest, FlushPolicy, Moved};
use rhumb_machine::{NodeId, PageSize, Pinned, VirtAddr};
use rhumb_pagetable::{Access, CacheMode};

use crate::world::{GIB, MIB, Threads, World, as_cpu_0, phys};

pub(crate) const OWNER: Owner = Owner(7);

pub(crate) fn node(number: usize) -> NodeId {
    NodeId::new(number).unwrap()
}

pub(crate) fn request(pages: u64) -> AreaRequest {
    AreaRequest::new(pages).near(rhumb_frames::Preference::Prefer(NodeId::FIRST)).owner(OWNER).movable()
}

pub(crate) fn at(area: &Area, page: u64) -> VirtAddr {
    area.start().plus(page * 4096 + page % 512 * 8)
}

pub(crate) fn fill(world: &World, pinned: Pinned<'_>, area: &Area) {
    for page in 0..area.pages() {
        let before = world.load(0, at(area, page)).unwrap();
        world.add_whatever(pinned, 1, at(area, page), (page * 3 + 1).wrapping_sub(before));
    }
}

#[track_caller]
pub(crate) fn check(world: &World, area: &Area) {
    for cpu in [0, 1] {
        for page in 0..area.pages() {
            assert_eq!(world.load(cpu, at(area, page)), Ok(page * 3 + 1), "CPU {cpu}, page {page}");
        }
    }
}

pub(crate) fn in_world<A: Send>(ram: u64, body: impl FnOnce(&'static World, Pinned<'_>) -> A + Send) -> A {
    let world = World::two_nodes(2, ram, MmuConfig::new(5), Threads::One);
    as_cpu_0(world, |pinned| body(world, pinned))
}

#[test]
fn areas_of_each_size_keep_their_data_rights_and_owner() {
    in_world(96 * MIB, |world, pinned| {
        for policy in FlushPolicy::ALL {
            world.map.set_policy(pinned, policy);
            for pages in [1, 3, 40, 511, 512, 700, 1500] {
                for largest in [PageSize::Size4K, PageSize::Size1G] {
                    let mut area = world.map.alloc(pinned, request(pages).largest(largest)).unwrap();
                    fill(world, pinned, &area);
                    assert_eq!(world.on_nodes(&area), [pages, 0]);
                    let sizes = [0, pages - 1].map(|page| world.size_at(at(&area, page)));
                    for (to, there) in [(1, 0), (1, pages), (0, 0)] {
                        let moved = world.map.move_to(pinned, &mut area, node(to)).unwrap();
                        assert_eq!(moved, Moved { moved: pages - there, there, left: 0 }, "{pages} pages");
                        assert_eq!(world.on_nodes(&area)[to], pages);
                        check(world, &area);
                        world.map.validate(pinned).unwrap();
                        assert_eq!(world.mmu().take_reports(), []);
                    }
                    assert_eq!(sizes, [0, pages - 1].map(|page| world.size_at(at(&area, page))));
                    let frame = world.walked(area.start()).unwrap().pfn();
                    assert_eq!(world.ground.frames.descriptor(frame).unwrap().owner(), OWNER);
                    fill(world, pinned, &area);
                    world.map.free(pinned, area).unwrap();
                }
            }
        }
        world.assert_empty(pinned);
        assert_eq!(world.ground.frames.refused_frees(), 0);
    });
}

/// Two flushes for each table of small pages, or each large page; one where no page is writable.
#[test]
fn as_few_flushes_as_it_says() {
    in_world(96 * MIB, |world, pinned| {
        for (pages, largest, batches) in [
            (1, PageSize::Size4K, 1),
            (511, PageSize::Size4K, 2),
            (1536, PageSize::Size4K, 3),
            (1536, PageSize::Size1G, 3),
        ] {
            for access in [Access::ReadWrite, Access::ReadOnly] {
                let asked = request(pages).largest(largest).access(access);
                let mut area = world.map.alloc(pinned, asked).unwrap();
                let before = world.ground.flushes.load(Relaxed);
                world.map.move_to(pinned, &mut area, node(1)).unwrap();
                let flushes = world.ground.flushes.load(Relaxed) - before;
                let each = if access == Access::ReadWrite { 2 } else { 1 };
                assert!(flushes <= batches * each, "{flushes} flushes for {pages} pages");
                world.map.free(pinned, area).unwrap();
            }
        }
        world.assert_empty(pinned);
    });
}

#[test]
fn pages_with_rights_of_their_own_keep_them() {
    in_world(96 * MIB, |world, pinned| {
        for largest in [PageSize::Size4K, PageSize::Size1G] {
            let mut area = world.map.alloc(pinned, request(1030).largest(largest)).unwrap();
            fill(world, pinned, &area);
            let is_writable = |page: u64| !(100..700).contains(&page);
            world.map.protect(pinned, &mut area, 100..700, Access::ReadOnly).unwrap();
            for to in [1, 0, 1] {
                let moved = world.map.move_to(pinned, &mut area, node(to)).unwrap();
                assert_eq!(moved, Moved { moved: 1030, there: 0, left: 0 });
                check(world, &area);
                for page in [0, 99, 100, 511, 512, 699, 700, 1029] {
                    let written = world.add(1, at(&area, page), 0);
                    assert_eq!(written.is_ok(), is_writable(page), "page {page}");
                    assert_eq!(world.map.resolve_write(pinned, at(&area, page)), is_writable(page));
                }
                world.map.validate(pinned).unwrap();
            }
            world.map.protect(pinned, &mut area, 0..1030, Access::ReadWrite).unwrap();
            assert_eq!(world.size_at(area.start()), Some(largest.min(PageSize::Size2M)));
            check(world, &area);
            world.map.free(pinned, area).unwrap();
        }
        world.assert_empty(pinned);
        assert_eq!(world.ground.frames.refused_frees(), 0);
    });
}

/// A page of 1 GiB, and one that a change of rights has split twice.
#[test]
fn a_gib_moves_whole() {
    in_world(3 * GIB, |world, pinned| {
        let mut area = world.map.alloc(pinned, request(1 << 18)).unwrap();
        assert_eq!(world.size_at(area.start()), Some(PageSize::Size1G));
        let pages = [0, 511, 512, 100_000, (1 << 18) - 1];
        let check = |area: &Area| {
            pages.iter().for_each(|&page| assert_eq!(world.load(1, at(area, page)), Ok(page)));
        };
        for page in pages {
            let before = world.load(0, at(&area, page)).unwrap();
            world.add_whatever(pinned, 1, at(&area, page), page.wrapping_sub(before));
        }
        let tables = world.ground.tables_out.load(Relaxed);
        for to in [1, 0] {
            let moved = world.map.move_to(pinned, &mut area, node(to)).unwrap();
            assert_eq!(moved, Moved { moved: 1 << 18, there: 0, left: 0 });
            assert_eq!(world.size_at(area.start()), Some(PageSize::Size1G));
            assert_eq!(world.ground.tables_out.load(Relaxed), tables);
            check(&area);
            world.map.validate(pinned).unwrap();
            if to == 1 {
                world.map.protect(pinned, &mut area, 1000..1001, Access::ReadOnly).unwrap();
                let moved = world.map.move_to(pinned, &mut area, node(0)).unwrap();
                assert_eq!(moved.moved, 1 << 18);
                check(&area);
                assert!(
                    world.add(1, at(&area, 1000), 0).is_err() && world.add(1, at(&area, 1001), 0).is_ok()
                );
                world.map.protect(pinned, &mut area, 1000..1001, Access::ReadWrite).unwrap();
                assert_eq!(world.map.move_to(pinned, &mut area, node(1)).unwrap().moved, 1 << 18);
            }
        }
        world.map.free(pinned, area).unwrap();
        world.assert_empty(pinned);
        assert_eq!(world.ground.frames.refused_frees(), 0);
    });
}

#[test]
fn what_has_no_room_stays() {
    in_world(32 * MIB, |world, pinned| {
        let mut area = world.map.alloc(pinned, request(1024)).unwrap();
        let mut small = world.map.alloc(pinned, request(50)).unwrap();
        fill(world, pinned, &area);
        fill(world, pinned, &small);
        // One frame of each block of the second node is taken, and all but 20 of one.
        let frames = &world.ground.frames;
        let one = || {
            let request = rhumb_frames::Request::FRAME.near(rhumb_frames::Preference::Bind(node(1)));
            frames.alloc(pinned, request).ok()
        };
        let mut taken: Vec<_> = std::iter::from_fn(one).collect();
        taken.sort_by_key(|frame| frame.pfn());
        let mut free = 20;
        taken.retain(|_| {
            free -= 1;
            free < 0
        });
        assert_eq!(world.map.move_to(pinned, &mut area, node(1)).unwrap().left, 1024);
        let moved = world.map.move_to(pinned, &mut small, node(1)).unwrap();
        assert!(moved.moved <= 20 && moved.left == 50 - moved.moved && moved.there == 0, "{moved:?}");
        assert_eq!(world.on_nodes(&small), [moved.left, moved.moved]);
        check(world, &area);
        check(world, &small);
        world.map.validate(pinned).unwrap();
        taken.into_iter().for_each(|frame| frames.free(pinned, frame));
        let again = world.map.move_to(pinned, &mut small, node(1)).unwrap();
        assert_eq!(again, Moved { moved: moved.left, there: moved.moved, left: 0 });
        world.map.free(pinned, area).unwrap();
        world.map.free(pinned, small).unwrap();
        world.assert_empty(pinned);
    });
}

/// Each allocation of a frame or a table fails in turn: what has moved has moved, and nothing is lost.
#[test]
fn the_nth_allocation_fails() {
    in_world(48 * MIB, |world, pinned| {
        for (pages, largest) in [(5, PageSize::Size4K), (700, PageSize::Size4K), (1500, PageSize::Size1G)] {
            for nth in (1..12).chain([400, 600]) {
                let mut area = world.map.alloc(pinned, request(pages).largest(largest)).unwrap();
                fill(world, pinned, &area);
                world.map.reclaim(pinned);
                let before = world.frames_in_use();
                world.ground.plant.fails_after.store(nth, Relaxed);
                world.ground.plant.fails_more.store(1, Relaxed);
                let moved = world.map.move_to(pinned, &mut area, node(1));
                world.ground.plant.fails_after.store(0, Relaxed);
                world.ground.plant.fails_more.store(0, Relaxed);
                match moved {
                    Ok(Moved { moved, there: 0, left }) => {
                        assert_eq!(moved + left, pages);
                        assert_eq!(world.on_nodes(&area), [left, moved]);
                    }
                    Err(AreaError::NoTable) => assert_eq!((nth, world.on_nodes(&area)), (1, [pages, 0])),
                    other => panic!("{other:?}"),
                }
                assert_eq!(world.frames_in_use(), before);
                check(world, &area);
                world.map.validate(pinned).unwrap();
                world.map.free(pinned, area).unwrap();
            }
        }
        world.assert_empty(pinned);
        assert_eq!(world.ground.frames.refused_frees(), 0);
    });
}

#[test]
fn what_cannot_move_is_refused() {
    in_world(32 * MIB, |world, pinned| {
        let mut fixed = world.map.alloc(pinned, AreaRequest::new(3)).unwrap();
        // SAFETY: there is no such device, and nothing but the test's unit walks the tables.
        let device = unsafe {
            world
                .map
                .map_device(pinned, phys(0x100_0000_0000, 4096), CacheMode::Uncached, Owner::NONE)
                .unwrap()
        };
        let area = world.map.alloc(pinned, request(3)).unwrap();
        assert_eq!(world.map.move_to(pinned, &mut fixed, node(1)), Err(AreaError::NotMovable));
        for (address, error) in [
            (fixed.start(), AreaError::NotMovable),
            (device.start(), AreaError::NotMovable),
            (VirtAddr::new(area.start().get() - 1), AreaError::NoArea(VirtAddr::new(area.start().get() - 1))),
            (VirtAddr::new(0x1000), AreaError::NoArea(VirtAddr::new(0x1000))),
        ] {
            assert_eq!(world.map.move_at(pinned, address, node(1)), Err(error));
        }
        let moved = world.map.move_at(pinned, at(&area, 2), node(1)).unwrap();
        assert_eq!((moved.moved, world.on_nodes(&area)), (3, [0, 3]));
        // A node that there is not.
        assert_eq!(world.map.move_at(pinned, at(&area, 0), node(9)).unwrap().left, 3);
        let start = area.start();
        for area in [fixed, device, area] {
            world.map.free(pinned, area).unwrap();
        }
        assert_eq!(world.map.move_at(pinned, start, node(0)), Err(AreaError::NoArea(start)));
        world.map.reclaim(pinned);
        assert_eq!(world.map.move_at(pinned, start, node(0)), Err(AreaError::NoArea(start)));
        world.assert_empty(pinned);
    });
}

/// A search that finds no record for its walk does not say that another CPU changes the area.
#[test]
fn lists_under_way_are_no_change_of_an_area() {
    fn listed(world: &World, pinned: Pinned<'_>, lists: usize, area: &Area) -> Result<Moved, AreaError> {
        if lists == 0 {
            return world.map.move_at(pinned, area.start(), node(1));
        }
        let mut moved = Err(AreaError::Empty);
        let walked = world.map.for_each_area(|_| {
            moved = listed(world, pinned, lists - 1, area);
            ControlFlow::Break(())
        });
        assert_eq!(walked, Ok(()));
        moved
    }
    in_world(32 * MIB, |world, pinned| {
        let area = world.map.alloc(pinned, request(3)).unwrap();
        assert_eq!(listed(world, pinned, 4, &area), Err(AreaError::TooManyWalks));
        assert_eq!(world.on_nodes(&area), [3, 0]);
        assert_eq!(listed(world, pinned, 3, &area), Ok(Moved { moved: 3, there: 0, left: 0 }));
        world.map.free(pinned, area).unwrap();
        world.assert_empty(pinned);
    });
}

#[test]
fn an_area_that_is_known_by_its_address_moves() {
    in_world(32 * MIB, |world, pinned| {
        for pages in [4, 600] {
            let area = world.map.alloc(pinned, request(pages)).unwrap();
            fill(world, pinned, &area);
            let start = world.map.forget(area).unwrap();
            for to in [1, 0, 1] {
                assert_eq!(world.map.move_at(pinned, start.plus(4095), node(to)).unwrap().moved, pages);
                world.map.validate(pinned).unwrap();
            }
            // SAFETY: the area was given up at this address just now.
            let area = unsafe { world.map.recover(start) }.unwrap();
            check(world, &area);
            assert_eq!(world.on_nodes(&area), [0, pages]);
            world.map.free(pinned, area).unwrap();
        }
        world.assert_empty(pinned);
    });
}
