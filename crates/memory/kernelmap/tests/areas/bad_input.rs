//! Requests that are refused, each with its reason, and nothing changed.

use rhumb_frames::Owner;
use rhumb_hosted::mmu::MmuConfig;
use rhumb_kernelmap::map::MapLayoutError;
use rhumb_kernelmap::{AreaError, AreaRequest, MapAddresses, MapLayout};
use rhumb_machine::VirtRange;
use rhumb_pagetable::{Access, CacheMode};

use crate::world::{BASE, GIB, MIB, RAM_AT, World, addresses, as_cpu_0, gib, in_world, phys};

#[test]
fn sizes_that_cannot_be() {
    in_world(1, 32 * MIB, |world, pinned| {
        let refusal = |pages| world.map.alloc(pinned, AreaRequest::new(pages)).unwrap_err();
        assert_eq!(refusal(0), AreaError::Empty);
        assert_eq!(refusal(u64::MAX), AreaError::TooLarge(u64::MAX));
        assert_eq!(refusal(1 << 40), AreaError::TooLarge(1 << 40));
        let pages = 17 << 18;
        assert_eq!(
            refusal(pages),
            AreaError::NoAddresses(pages),
            "16 GiB are one GiB too few with the guard"
        );
        assert_eq!(
            world.map.alloc(pinned, AreaRequest::bytes(u64::MAX)).unwrap_err(),
            AreaError::TooLarge(1 << 52)
        );
        world.assert_empty(pinned);
    });
}

#[test]
fn code_has_another_place() {
    in_world(1, 32 * MIB, |world, pinned| {
        let request = AreaRequest::new(1).access(Access::ReadExecute);
        assert_eq!(world.map.alloc(pinned, request).unwrap_err(), AreaError::Executable);
        let mut area = world.map.alloc(pinned, AreaRequest::new(2)).unwrap();
        let mut change = |pages, access| world.map.protect(pinned, &mut area, pages, access).unwrap_err();
        assert_eq!(change(0..2, Access::ReadExecute), AreaError::Executable);
        assert_eq!(change(0..3, Access::ReadOnly), AreaError::OutOfArea);
        assert_eq!(change(1..1, Access::ReadOnly), AreaError::OutOfArea);
        #[expect(clippy::reversed_empty_ranges, reason = "a caller's mistake")]
        let reversed = 2..1;
        assert_eq!(change(reversed, Access::ReadOnly), AreaError::OutOfArea);
        world.map.free(pinned, area).unwrap();
        world.assert_empty(pinned);
    });
}

#[test]
fn devices_are_no_memory() {
    in_world(1, 32 * MIB, |world, pinned| {
        // SAFETY: there is no such device, and nothing but the test's unit walks the tables.
        let refusal =
            |range, cache| unsafe { world.map.map_device(pinned, range, cache, Owner::NONE) }.unwrap_err();
        let at_end = phys(RAM_AT - 4096, 8192);
        assert_eq!(refusal(at_end, CacheMode::Uncached), AreaError::DeviceInRam(at_end));
        let bytes = phys(0x8000_0000, 12);
        assert_eq!(refusal(bytes, CacheMode::Uncached), AreaError::UnalignedDevice(bytes));
        let page = phys(0x8000_0000, 4096);
        for cached in [CacheMode::WriteBack, CacheMode::WriteThrough, CacheMode::WriteProtected] {
            assert_eq!(refusal(page, cached), AreaError::CachedDevice);
        }
        assert_eq!(refusal(phys(0x8000_0000, 0), CacheMode::Uncached), AreaError::Empty);
        world.assert_empty(pinned);
    });
}

#[test]
fn an_area_of_another_map_is_refused() {
    let (one, other) =
        (World::new(1, 32 * MIB, MmuConfig::plain(1)), World::new(1, 32 * MIB, MmuConfig::plain(2)));
    let mut area = as_cpu_0(one, |pinned| one.map.alloc(pinned, AreaRequest::new(3)).unwrap());
    let area = as_cpu_0(other, move |pinned| {
        let refused = other.map.protect(pinned, &mut area, 0..1, Access::ReadOnly);
        assert_eq!(refused, Err(AreaError::Foreign));
        other.map.free(pinned, area).unwrap_err().0
    });
    as_cpu_0(one, move |pinned| {
        one.map.free(pinned, area).unwrap();
        one.assert_empty(pinned);
    });
}

#[test]
fn limits_of_owners() {
    in_world(1, 32 * MIB, |world, pinned| {
        let owner = Owner(3);
        let of_owner = |pages| world.map.alloc(pinned, AreaRequest::new(pages).owner(owner));
        let before = of_owner(10).unwrap();
        world.map.set_limit(owner, Some(100)).unwrap();
        assert_eq!(world.map.limit(owner), Some((0, 100)));
        let first = of_owner(60).unwrap();
        assert_eq!(of_owner(41).unwrap_err(), AreaError::OverLimit(owner, 101, 100));
        let second = of_owner(40).unwrap();
        assert_eq!(world.map.limit(owner), Some((100, 100)));
        world.map.free(pinned, first).unwrap();
        world.map.free(pinned, before).unwrap();
        assert_eq!(world.map.limit(owner), Some((40, 100)));
        world.map.set_limit(owner, None).unwrap();
        world.map.free(pinned, second).unwrap();
        world.map.set_limit(owner, Some(0)).unwrap();
        assert_eq!(world.map.limit(owner), Some((0, 0)));
        assert_eq!(of_owner(1).unwrap_err(), AreaError::OverLimit(owner, 1, 0));
        assert_eq!(world.map.set_limit(Owner(256), Some(1)), Err(AreaError::NoLimitFor(Owner(256))));
        world.assert_empty(pinned);
    });
}

#[test]
#[should_panic(expected = "BadAddresses")]
fn addresses_that_are_not_whole_gib() {
    let small = VirtRange::of_length(BASE.plus(4096), GIB).unwrap();
    World::with_addresses(1, 32 * MIB, MmuConfig::plain(1), MapAddresses { small, ..addresses() });
}

#[test]
#[should_panic(expected = "NoTable")]
fn addresses_without_tables() {
    let huge = gib(511, 2);
    World::with_addresses(1, 32 * MIB, MmuConfig::plain(1), MapAddresses { huge, ..addresses() });
}

#[test]
#[should_panic(expected = "BadAddresses")]
fn addresses_of_two_regions_that_overlap() {
    let large = gib(0, 8);
    World::with_addresses(1, 32 * MIB, MmuConfig::plain(1), MapAddresses { large, ..addresses() });
}

/// The planned memory is enough wherever it begins, and a word less than the tables take is refused.
#[test]
fn a_map_fits_into_its_memory_for_any_number_of_cpus() {
    in_world(1, 64 * MIB, |world, pinned| {
        for cpus in [1, 2, 3, 63, 64, 65, 255, 256, 1023, 1024] {
            let layout = MapLayout::new(cpus).unwrap();
            let words = layout.storage_bytes() / 8;
            assert!(layout.storage_bytes() <= (45 << 10) + cpus * (10 << 10) + (cpus * 512), "{cpus} CPUs");
            for skipped in 0..8 {
                let memory = &mut vec![!0u64; words + skipped].leak()[skipped..];
                let map = world.another(layout, pinned, memory).unwrap();
                assert_eq!(map.waiting(), (0, 0));
                map.validate(pinned).unwrap();
            }
            let refused = world.another(layout, pinned, vec![0; words - 1].leak()).err();
            let (given, needed) = (layout.storage_bytes() - 8, layout.storage_bytes());
            assert_eq!(refused, Some(MapLayoutError::StorageTooSmall(given, needed)));
        }
        assert_eq!(MapLayout::new(0), Err(MapLayoutError::BadMachine));
        assert_eq!(MapLayout::new(1025).is_err(), rhumb_machine::MAX_CPUS < 1025);
    });
}
