//! Areas that were mapped before the map: taken over as the tables have them, or not at all.

use rhumb_frames::{Owner, Request};
use rhumb_hosted::mmu::Use;
use rhumb_kernelmap::{Area, AreaError, AreaKind, AreaRequest, Home};
use rhumb_machine::{PageSize, Pfn, PhysAddr, Pinned, VirtAddr, VirtRange};
use rhumb_pagetable::{Access, Attributes, CacheMode, Entry, Privilege, TableMemory, descend};

use crate::world::{GIB, Here, MIB, World, gib, in_world};

const OWNER: Owner = Owner(7);

/// Sets the entry of a page of `size`, as boot does: with the tables above it, where they are missing.
fn set(world: &World, pinned: Pinned<'_>, at: VirtAddr, size: PageSize, entry: Entry) {
    let home = Here(world.ground);
    loop {
        let mut tables = home.tables();
        let step = descend(&tables, home.root(), at, size.level()).unwrap();
        if step.level == size.level() {
            return tables.write(step.table, step.index, entry);
        }
        let table = home.take_table(pinned).unwrap();
        tables.write(step.table, step.index, Entry::table(table, Privilege::Supervisor));
    }
}

fn range(at: VirtAddr, pages: u64) -> VirtRange {
    VirtRange::of_length(at, pages * 4096).unwrap()
}

/// Maps so many frames of the allocator.
fn map_memory(world: &World, pinned: Pinned<'_>, at: VirtAddr, pages: u64) -> VirtRange {
    for page in 0..pages {
        let frame = world.ground.frames.alloc(pinned, Request::FRAME).unwrap().into_pfn();
        let entry = Entry::leaf(frame.addr(), PageSize::Size4K, Attributes::kernel(Access::ReadWrite));
        set(world, pinned, at.plus(page * 4096), PageSize::Size4K, entry);
    }
    range(at, pages)
}

fn adopt(world: &World, pinned: Pinned<'_>, range: VirtRange, kind: AreaKind) -> Result<Area, AreaError> {
    // SAFETY: the tests map what they adopt, for nothing else; frames and tables are the home's.
    unsafe { world.map.adopt(pinned, range, kind, OWNER) }
}

fn refused(world: &World, pinned: Pinned<'_>, range: VirtRange, kind: AreaKind) {
    match adopt(world, pinned, range, kind) {
        Err(AreaError::NotAdoptable(named)) => assert_eq!(named, range),
        other => panic!("{range} as {kind}: {other:?}"),
    }
}

fn frame_at(world: &World, at: VirtAddr) -> Pfn {
    world.walked(at).unwrap().pfn()
}

#[test]
fn an_area_is_taken_over_in_place_and_comes_back() {
    in_world(2, 64 * MIB, |world, pinned| {
        let first = gib(0, 1).start();
        // Side by side at the very beginning, and one further on.
        let places = [(first.plus(4096), 32), (first.plus(34 * 4096), 4), (first.plus(600 * 4096), 16)];
        let mapped = places.map(|(at, pages)| map_memory(world, pinned, at, pages));
        let frames = mapped.map(|range| frame_at(world, range.start()));
        let adopted = mapped.map(|range| adopt(world, pinned, range, AreaKind::Memory).unwrap());
        world.map.validate(pinned).unwrap();
        for ((area, range), frame) in adopted.iter().zip(mapped).zip(frames) {
            assert_eq!((area.range(), area.owner(), area.kind()), (range, OWNER, AreaKind::Memory));
            assert_eq!(frame_at(world, area.start()), frame);
            world.check_area(1, area);
        }
        // Whatever comes now has other addresses.
        let others: Vec<_> = (0..64)
            .map(|nth| world.map.alloc(pinned, AreaRequest::new(nth % 37 + 1)).unwrap())
            .inspect(|area| assert!(mapped.iter().all(|range| !range.overlaps(area.range()))))
            .collect();
        world.map.validate(pinned).unwrap();
        for area in others.into_iter().chain(adopted) {
            world.map.free(pinned, area).unwrap();
        }
        world.assert_empty(pinned);
    });
}

#[test]
fn a_device_in_a_large_unit_keeps_its_offset() {
    in_world(1, 64 * MIB, |world, pinned| {
        // 3 MiB from 1 MiB behind a large page's beginning: a half of one, then a whole one.
        let (phys, at) = (PhysAddr::new(2 * GIB + MIB), gib(8, 1).start().plus(3 * MIB));
        let attributes = Attributes::kernel(Access::ReadWrite).with_cache(CacheMode::WriteCombining);
        for page in 0..256 {
            let entry = Entry::leaf(phys.plus(page * 4096), PageSize::Size4K, attributes);
            set(world, pinned, at.plus(page * 4096), PageSize::Size4K, entry);
        }
        let entry = Entry::leaf(phys.plus(MIB), PageSize::Size2M, attributes);
        set(world, pinned, at.plus(MIB), PageSize::Size2M, entry);

        let area = adopt(world, pinned, range(at, 768), AreaKind::Device).unwrap();
        world.map.validate(pinned).unwrap();
        assert_eq!((area.start(), area.pages()), (at, 768));
        assert_eq!(world.walked(at.plus(2 * MIB)), Some(phys.plus(2 * MIB)));
        world.map.free(pinned, area).unwrap();
        world.assert_empty(pinned);
    });
}

#[test]
fn what_the_map_could_not_have_made_is_refused_and_left() {
    in_world(1, 64 * MIB, |world, pinned| {
        let first = gib(0, 1).start();
        let good = map_memory(world, pinned, first.plus(8 * 4096), 8);
        let at = good.start();
        let refused = |range, kind| refused(world, pinned, range, kind);
        refused(range(at, 0), AreaKind::Memory);
        refused(good, AreaKind::Waiting);
        refused(good, AreaKind::Pageable);
        refused(range(at, 9), AreaKind::Memory);
        refused(range(VirtAddr::new(at.get() - 4096), 9), AreaKind::Memory);
        refused(VirtRange::of_length(at.plus(8), 4096).unwrap(), AreaKind::Memory);
        refused(VirtRange::of_length(at, 4096 + 8).unwrap(), AreaKind::Memory);
        // The page below is mapped.
        refused(range(at.plus(4096), 7), AreaKind::Memory);
        // No guard is left below the first address, and the addresses for large areas are others.
        refused(range(first, 1), AreaKind::Memory);
        refused(range(at, 512), AreaKind::Memory);
        refused(range(gib(1, 1).start(), 4), AreaKind::Memory);

        let area = adopt(world, pinned, good, AreaKind::Memory).unwrap();
        refused(good, AreaKind::Memory);
        world.touch(0, at, Use::Read);
        world.map.free(pinned, area).unwrap();
        // Its addresses wait for a flush.
        refused(good, AreaKind::Memory);
        world.assert_empty(pinned);
    });
}

#[test]
fn a_limit_counts_what_is_taken_over() {
    in_world(1, 64 * MIB, |world, pinned| {
        let at = gib(0, 1).start().plus(4096);
        let mapped = map_memory(world, pinned, at, 8);
        world.map.set_limit(OWNER, Some(7)).unwrap();
        let over = adopt(world, pinned, mapped, AreaKind::Memory).unwrap_err();
        assert_eq!(over, AreaError::OverLimit(OWNER, 8, 7));
        world.map.set_limit(OWNER, Some(9)).unwrap();
        refused(world, pinned, range(at, 9), AreaKind::Memory);
        assert_eq!(world.map.limit(OWNER), Some((0, 9)));
        let area = adopt(world, pinned, mapped, AreaKind::Memory).unwrap();
        assert_eq!(world.map.limit(OWNER), Some((8, 9)));
        world.map.free(pinned, area).unwrap();
        world.assert_empty(pinned);
    });
}
