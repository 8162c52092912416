//! Areas of each size, and of devices.

use rhumb_frames::Owner;
use rhumb_hosted::mmu::Use;
use rhumb_kernelmap::{AreaKind, AreaRequest};
use rhumb_machine::{PageSize, Pfn, Pinned, VirtAddr};
use rhumb_pagetable::{Access, CacheMode};

use crate::world::{GIB, MIB, in_world, phys};

#[test]
fn areas_of_each_size_are_mapped_between_absent_pages() {
    in_world(2, 64 * MIB, |world, pinned| {
        for pages in [1, 2, 4, 15, 16, 17, 200, 511, 512, 513, 1024, 3000] {
            let area = world.map.alloc(pinned, AreaRequest::new(pages)).unwrap();
            assert_eq!(area.pages(), pages);
            world.check_area(0, &area);
            world.check_area(1, &area);
            world.map.validate(pinned).unwrap();
            world.map.free(pinned, area).unwrap();
            world.map.validate(pinned).unwrap();
        }
        world.assert_empty(pinned);
    });
}

#[test]
fn areas_that_live_together_share_no_frame() {
    in_world(1, 64 * MIB, |world, pinned| {
        let areas: Vec<_> = (0..200)
            .map(|index| world.map.alloc(pinned, AreaRequest::new(1 + index % 20)).unwrap())
            .collect();
        let mut frames: Vec<_> = areas
            .iter()
            .flat_map(|area| (0..area.pages()).map(|page| area.start().plus(page * 4096)))
            .map(|address| world.walked(address).unwrap())
            .collect();
        let all = frames.len();
        frames.sort();
        frames.dedup();
        assert_eq!(frames.len(), all);
        for area in areas {
            world.map.free(pinned, area).unwrap();
        }
        world.assert_empty(pinned);
    });
}

#[test]
fn large_pages_serve_large_areas() {
    in_world(1, 64 * MIB, |world, pinned| {
        let area = world.map.alloc(pinned, AreaRequest::new(2 * 512 + 3)).unwrap();
        let sizes = [0, 512, 1024].map(|page| world.size_at(area.start().plus(page * 4096)));
        assert_eq!(sizes, [PageSize::Size2M, PageSize::Size2M, PageSize::Size4K].map(Some));
        world.map.free(pinned, area).unwrap();
        let small = AreaRequest::new(512).largest(PageSize::Size4K);
        let area = world.map.alloc(pinned, small).unwrap();
        assert_eq!(world.size_at(area.start()), Some(PageSize::Size4K));
        world.map.free(pinned, area).unwrap();
        world.assert_empty(pinned);
    });
}

#[test]
fn a_whole_gib_is_one_page() {
    in_world(1, 3 * GIB, |world, pinned| {
        let area = world.map.alloc(pinned, AreaRequest::bytes(GIB + 5 * MIB)).unwrap();
        let sizes = [0, GIB, GIB + 4 * MIB].map(|at| world.size_at(area.start().plus(at)));
        assert_eq!(sizes, [PageSize::Size1G, PageSize::Size2M, PageSize::Size4K].map(Some));
        world.map.free(pinned, area).unwrap();
        world.assert_empty(pinned);
    });
}

/// 64 MiB where no two free frames are neighbours.
#[test]
fn scattered_frames_are_enough() {
    in_world(1, 192 * MIB, |world, pinned| {
        let frames = &world.ground.frames;
        let mut all = Vec::new();
        while let Ok(frame) = frames.alloc(pinned, rhumb_frames::Request::FRAME) {
            all.push(frame);
        }
        all.sort_by_key(|frame| frame.pfn());
        let mut kept = Vec::new();
        for (index, frame) in all.into_iter().enumerate() {
            if index % 2 == 0 { kept.push(frame) } else { frames.free(pinned, frame) }
        }
        let area = world.map.alloc(pinned, AreaRequest::bytes(64 * MIB)).unwrap();
        world.check_area(0, &area);
        world.map.free(pinned, area).unwrap();
        for frame in kept {
            frames.free(pinned, frame);
        }
        world.assert_empty(pinned);
    });
}

#[test]
fn zeroes_are_zeroes_and_read_only_memory_is_not_written() {
    in_world(1, 64 * MIB, |world, pinned| {
        let request = AreaRequest::new(600).zeroed().access(Access::ReadOnly);
        let area = world.map.alloc(pinned, request).unwrap();
        for page in 0..600 {
            let address = area.start().plus(page * 4096);
            let phys = world.walked(address).unwrap();
            let bytes: *const [u8; 4096] =
                rhumb_machine::Machine::direct(&world.ground.machine, phys).as_ptr();
            // SAFETY: RAM of the machine, which nothing writes meanwhile.
            assert!(unsafe { *bytes } == [0; 4096], "page {page}");
            assert!(world.mmu().access(rhumb_machine::CpuId::BOOT, address, Use::Write).is_err());
        }
        world.map.free(pinned, area).unwrap();
        world.assert_empty(pinned);
    });
}

#[test]
fn a_device_is_mapped_in_its_mode_by_large_pages() {
    in_world(1, 64 * MIB, |world, pinned| {
        // 5 MiB, 1 MiB behind a border of 2 MiB: a screen.
        let screen = phys(0x8010_0000, 5 * MIB);
        // SAFETY: there is no such device, and nothing but the test's unit walks the tables.
        let map = |range, cache| unsafe { world.map.map_device(pinned, range, cache, Owner(9)) };
        let area = map(screen, CacheMode::WriteCombining).unwrap();
        assert_eq!((area.kind(), area.owner()), (AreaKind::Device, Owner(9)));
        for page in 0..area.pages() {
            let expected = screen.start().plus(page * 4096);
            assert_eq!(world.walked(area.start().plus(page * 4096)), Some(expected));
        }
        assert_eq!(world.size_at(area.start().plus(3 * MIB)), Some(PageSize::Size2M));
        let registers = map(phys(0xfee0_0000, 4096), CacheMode::UncachedStrong).unwrap();
        world.check_area(0, &registers);
        world.map.validate(pinned).unwrap();
        let mut listed = Vec::new();
        world
            .map
            .for_each_area(|report| {
                listed.push(report.range);
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(listed, [registers.range(), area.range()]);
        world.map.free(pinned, area).unwrap();
        world.map.free(pinned, registers).unwrap();
        world.assert_empty(pinned);
    });
}

#[test]
fn an_area_is_known_by_its_address() {
    in_world(2, 64 * MIB, |world, pinned| {
        let mut starts = Vec::new();
        for turn in 0..300 {
            let pages = if turn % 40 == 0 { 600 } else { 1 + turn % 17 };
            let area = world.map.alloc(pinned, AreaRequest::new(pages).owner(Owner(4))).unwrap();
            let first = world.walked(area.start());
            let start = world.map.forget(area).unwrap();
            assert_eq!(world.map.pfn_at(start).map(|pfn| pfn.addr()), first);
            starts.push((start, pages));
        }
        world.map.validate(pinned).unwrap();
        for (start, pages) in starts {
            // SAFETY: each area was given up above, and is recovered once.
            let area = unsafe { world.map.recover(start) }.unwrap();
            assert_eq!((area.start(), area.pages(), area.owner()), (start, pages, Owner(4)));
            // SAFETY: nothing is found, so nothing is made.
            assert!(unsafe { world.map.recover(start) }.is_none(), "recovered twice");
            world.check_area(1, &area);
            world.map.free(pinned, area).unwrap();
        }
        assert_eq!(world.map.pfn_at(crate::world::BASE), None);
        world.assert_empty(pinned);
    });
}

/// Objects at addresses of the map: its records are those of another allocator.
#[test]
fn objects_at_addresses_of_the_map() {
    in_world(2, 64 * MIB, |world, pinned| {
        let space: &'static InMap = Box::leak(Box::new(InMap(world)));
        let config = rhumb_slab::Config::new(2);
        let slabs = rhumb_slab::Slabs::new_in(&world.ground.frames, pinned, config, space).unwrap();
        let slabs: &'static _ = Box::leak(Box::new(slabs));
        let mut objects = Vec::new();
        for turn in 0..2000usize {
            let size = [24, 64, 500, 2048, 5000, 20_000, 70_000][turn % 7];
            let layout = std::alloc::Layout::from_size_align(size, 8).unwrap();
            let object = slabs.alloc(pinned, layout).unwrap();
            let address = VirtAddr::from(object.as_ptr().cast_const());
            assert!(world.map.contains(address));
            world.touch(turn % 2, address.plus(size as u64 - 1), Use::Write);
            objects.push((object, layout));
        }
        let mut addresses: Vec<_> = objects.iter().map(|(object, _)| object.addr().get()).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), objects.len());
        slabs.validate(pinned).unwrap();
        for (object, layout) in objects {
            // SAFETY: allocated above with this layout.
            unsafe { slabs.free(pinned, object, layout) };
        }
        slabs.reclaim(pinned);
        slabs.validate(pinned).unwrap();
        world.map.reclaim(pinned);
        world.map.validate(pinned).unwrap();
        assert_eq!(world.mmu().take_reports(), [], "stale translations");
    });
}

struct InMap(&'static crate::world::World);

// SAFETY: areas are mapped for their holder alone until they are recovered; their frames have descriptors.
unsafe impl rhumb_slab::Space for InMap {
    fn map(&self, pinned: Pinned<'_>, pages: u64, class: rhumb_frames::AllocClass) -> Option<VirtAddr> {
        let area = self.0.map.alloc(pinned, AreaRequest::new(pages).class(class)).ok()?;
        self.0.map.forget(area).ok()
    }
    unsafe fn unmap(&self, pinned: Pinned<'_>, start: VirtAddr) {
        // SAFETY: `map` gave the area up at this address.
        let area = unsafe { self.0.map.recover(start) }.unwrap();
        self.0.map.free(pinned, area).unwrap();
    }
    fn pfn(&self, address: VirtAddr) -> Option<Pfn> {
        self.0.map.pfn_at(address)
    }
    fn contains(&self, address: VirtAddr) -> bool {
        self.0.map.contains(address)
    }
}

/// The addresses of the map are aligned to pages, and a block is not aligned to its size there.
#[test]
fn objects_have_their_alignment_at_addresses_of_the_map() {
    in_world(1, 64 * MIB, |world, pinned| {
        let space: &'static InMap = Box::leak(Box::new(InMap(world)));
        let config = rhumb_slab::Config::new(1);
        let slabs = rhumb_slab::Slabs::new_in(&world.ground.frames, pinned, config, space).unwrap();
        let slabs: &'static _ = Box::leak(Box::new(slabs));
        let mut objects = Vec::new();
        for align in [8, 64, 4096, 8192, 16_384, 65_536] {
            for size in [16, 100, 4096, 8192, 12_288, 65_536] {
                for _ in 0..10 {
                    let layout = std::alloc::Layout::from_size_align(size, align).unwrap();
                    let object = slabs.alloc(pinned, layout).unwrap();
                    assert!(object.addr().get().is_multiple_of(align), "{object:?} for {layout:?}");
                    objects.push((object, layout));
                }
            }
        }
        slabs.validate(pinned).unwrap();
        for (object, layout) in objects {
            // SAFETY: allocated above with this layout.
            unsafe { slabs.free(pinned, object, layout) };
        }
        slabs.reclaim(pinned);
        slabs.validate(pinned).unwrap();
        world.map.reclaim(pinned);
        world.map.validate(pinned).unwrap();
        assert_eq!(world.ground.frames.refused_frees(), 0);
    });
}
