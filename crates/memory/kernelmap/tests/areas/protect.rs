//! Changes of rights: of small and large pages, in part and in whole.

use rhumb_hosted::mmu::{MmuConfig, Use};
use rhumb_kernelmap::{Area, AreaRequest, FlushPolicy};
use rhumb_machine::{CpuId, PageSize};
use rhumb_pagetable::Access;

use crate::world::{GIB, MIB, World, as_cpu_0, in_world};
use std::sync::atomic::Ordering::Relaxed;

fn may_write(world: &World, cpu: usize, area: &Area, page: u64) -> bool {
    let address = area.start().plus(page * 4096);
    let cpu = CpuId::new(cpu).unwrap();
    assert_eq!(world.mmu().access(cpu, address, Use::Read).ok(), world.walked(address));
    world.mmu().access(cpu, address, Use::Write).is_ok()
}

#[test]
fn rights_change_page_by_page_on_all_cpus() {
    in_world(2, 64 * MIB, |world, pinned| {
        let mut area = world.map.alloc(pinned, AreaRequest::new(10)).unwrap();
        let mut writable = [true; 10];
        for (pages, access) in [
            (2..5, Access::ReadOnly),
            (0..10, Access::ReadOnly),
            (9..10, Access::ReadWrite),
            (0..1, Access::ReadWrite),
            (0..10, Access::ReadWrite),
        ] {
            for cpu in [0, 1] {
                (0..10)
                    .for_each(|page| assert_eq!(may_write(world, cpu, &area, page), writable[page as usize]));
            }
            world.map.protect(pinned, &mut area, pages.clone(), access).unwrap();
            pages.for_each(|page| writable[page as usize] = access == Access::ReadWrite);
            for cpu in [0, 1] {
                (0..10)
                    .for_each(|page| assert_eq!(may_write(world, cpu, &area, page), writable[page as usize]));
            }
            world.map.validate(pinned).unwrap();
        }
        world.map.free(pinned, area).unwrap();
        world.assert_empty(pinned);
    });
}

#[test]
fn a_large_page_is_split_and_merged_again() {
    in_world(2, 64 * MIB, |world, pinned| {
        let mut area = world.map.alloc(pinned, AreaRequest::new(1024)).unwrap();
        let tables = world.ground.tables_out.load(Relaxed);
        world.map.protect(pinned, &mut area, 100..700, Access::ReadOnly).unwrap();
        for cpu in [0, 1] {
            for page in [0, 99, 100, 511, 512, 699, 700, 1023] {
                assert_eq!(may_write(world, cpu, &area, page), !(100..700).contains(&page), "page {page}");
            }
        }
        assert_eq!(world.ground.tables_out.load(Relaxed), tables + 2);
        assert_eq!(world.size_at(area.start()), Some(PageSize::Size4K));
        world.map.validate(pinned).unwrap();
        world.map.protect(pinned, &mut area, 0..1024, Access::ReadWrite).unwrap();
        assert_eq!(world.ground.tables_out.load(Relaxed), tables);
        assert_eq!(world.size_at(area.start()), Some(PageSize::Size2M));
        world.check_area(1, &area);
        // Given back while it is split.
        world.map.protect(pinned, &mut area, 7..8, Access::ReadOnly).unwrap();
        world.map.free(pinned, area).unwrap();
        world.assert_empty(pinned);
        assert_eq!(world.ground.frames.refused_frees(), 0);
    });
}

#[test]
fn a_gib_is_split_twice() {
    in_world(1, 3 * GIB, |world, pinned| {
        let mut area = world.map.alloc(pinned, AreaRequest::bytes(GIB)).unwrap();
        let tables = world.ground.tables_out.load(Relaxed);
        world.map.protect(pinned, &mut area, 1000..1001, Access::ReadOnly).unwrap();
        assert_eq!(world.ground.tables_out.load(Relaxed), tables + 2);
        let sizes = [0, 2 * MIB, 6 * MIB].map(|at| world.size_at(area.start().plus(at)));
        assert_eq!(sizes, [PageSize::Size2M, PageSize::Size4K, PageSize::Size2M].map(Some));
        assert!(!may_write(world, 0, &area, 1000) && may_write(world, 0, &area, 1001));
        world.map.validate(pinned).unwrap();
        world.map.protect(pinned, &mut area, 1000..1001, Access::ReadWrite).unwrap();
        assert_eq!(world.size_at(area.start()), Some(PageSize::Size1G));
        assert_eq!(world.ground.tables_out.load(Relaxed), tables);
        world.map.protect(pinned, &mut area, 5..(1 << 18), Access::ReadOnly).unwrap();
        world.map.free(pinned, area).unwrap();
        world.assert_empty(pinned);
        assert_eq!(world.ground.frames.refused_frees(), 0);
    });
}

/// Small translations of pages beside those that changed are gone before the large page is: one `invlpg` at a large page
/// would drop one of them alone.
#[test]
fn a_page_that_was_merged_leaves_no_small_translations() {
    for policy in FlushPolicy::ALL {
        let world = World::new(2, 64 * MIB, MmuConfig::plain(1));
        as_cpu_0(world, |pinned| {
            world.map.set_policy(pinned, policy);
            let mut area = world.map.alloc(pinned, AreaRequest::new(512)).unwrap();
            world.map.protect(pinned, &mut area, 100..101, Access::ReadOnly).unwrap();
            for page in 0..512 {
                may_write(world, 1, &area, page);
            }
            world.map.protect(pinned, &mut area, 100..101, Access::ReadWrite).unwrap();
            assert_eq!(world.size_at(area.start()), Some(PageSize::Size2M));
            world.map.protect(pinned, &mut area, 0..512, Access::ReadOnly).unwrap();
            for page in 0..512 {
                assert!(!may_write(world, 1, &area, page), "{policy}: page {page} is read-only");
            }
            world.map.free(pinned, area).unwrap();
            world.assert_empty(pinned);
        });
    }
}

/// The same where nothing changes between the merge and the free.
#[test]
fn a_page_that_was_merged_is_given_back() {
    for policy in FlushPolicy::ALL {
        let world = World::new(2, 64 * MIB, MmuConfig::plain(1));
        as_cpu_0(world, |pinned| {
            world.map.set_policy(pinned, policy);
            let mut area = world.map.alloc(pinned, AreaRequest::new(512)).unwrap();
            world.map.protect(pinned, &mut area, 100..101, Access::ReadOnly).unwrap();
            for page in 0..512 {
                may_write(world, 1, &area, page);
            }
            world.map.protect(pinned, &mut area, 100..101, Access::ReadWrite).unwrap();
            world.map.free(pinned, area).unwrap();
            world.assert_empty(pinned);
        });
    }
}
