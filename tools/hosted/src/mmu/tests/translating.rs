//! The answers that a CPU gets for an address: translations, faults, and all that its TLB keeps.

use super::*;

#[test]
fn translates_and_faults_as_a_cpu() {
    in_world(1, PLAIN, |mut world| {
        world.map(0, FRAMES_AT, LARGE, PageSize::Size2M, Access::ReadWrite);
        world.map(LARGE, FRAMES_AT + LARGE, PAGE, PageSize::Size4K, Access::ReadExecute);
        assert_eq!(world.access(0, 0x12_3456, Use::Write), Ok(FRAMES_AT + 0x12_3456));
        assert_eq!(world.access(0, LARGE + 5, Use::Execute), Ok(FRAMES_AT + LARGE + 5));
        assert_eq!(world.access(0, 1, Use::Execute), Err(Fault::Protection));
        assert_eq!(world.access(0, LARGE, Use::Write), Err(Fault::Protection));
        assert_eq!(world.access(0, LARGE + PAGE, Use::Read), Err(Fault::NotPresent));
        assert_eq!(
            world.mmu.access(CpuId::BOOT, VirtAddr::new(1 << 60), Use::Read),
            Err(Fault::NotCanonical)
        );
        world.set_leaf(LARGE, |entry| Entry::from_bits(entry.bits() | 1 << 51));
        assert_eq!(world.access(0, LARGE, Use::Read).map(|_| ()), Ok(()), "52 bits are not reserved");
    });
}

#[test]
fn a_stale_translation_counts_until_it_is_flushed() {
    in_world(2, PLAIN, |mut world| {
        world.map(0, FRAMES_AT, LARGE, PageSize::Size4K, Access::ReadWrite);
        assert!(world.access(1, 0, Use::Write).is_ok());
        world.set_leaf(0, read_only);
        // The window between change and flush: the old one is used, and that is right.
        assert!(world.access(1, 0, Use::Write).is_ok());
        assert_eq!(world.mmu.take_reports(), []);
        let _ticket = world.flush(pages(0, PAGE, PageSize::Size4K), &CpuMask::first(2));
        world.mmu.promised(range(0, PAGE), &CpuMask::first(2)).unwrap();
        assert_eq!(world.access(1, 0, Use::Write), Err(Fault::Protection));
        // A widened right is found by the fault: the second time it works.
        assert!(world.access(1, 0, Use::Read).is_ok());
        world.set_leaf(0, |entry| Entry::from_bits(entry.bits() | rhumb_pagetable::bits::WRITE));
        assert_eq!(world.access(1, 0, Use::Write), Err(Fault::Protection));
        assert!(world.access(1, 0, Use::Write).is_ok());
    });
}

#[test]
fn one_invlpg_drops_all_fragments_of_a_large_page_and_all_table_entries() {
    let config = MmuConfig { fragments: 1024, ..PLAIN };
    in_world(1, config, |mut world| {
        world.map(0, FRAMES_AT, LARGE, PageSize::Size2M, Access::ReadWrite);
        world.map(LARGE, FRAMES_AT + LARGE, LARGE, PageSize::Size4K, Access::ReadWrite);
        for page in 0..10 {
            world.access(0, page * PAGE, Use::Read).unwrap();
            world.access(0, LARGE + page * PAGE, Use::Read).unwrap();
        }
        assert_eq!(world.mmu.cached(CpuId::BOOT), Some((20, 3)));
        let _ticket = world.flush(pages(7 * PAGE, 1, PageSize::Size2M), &CpuMask::first(1));
        assert_eq!(world.mmu.cached(CpuId::BOOT), Some((10, 0)));
        let _ticket = world.flush(pages(LARGE, 1, PageSize::Size2M), &CpuMask::first(1));
        assert_eq!(world.mmu.cached(CpuId::BOOT), Some((9, 0)), "small pages go one by one");
        let pin = world.machine.pin();
        world.machine.flush_local(pin.pinned(), FlushScope::NonGlobal);
        assert_eq!(world.mmu.cached(CpuId::BOOT), Some((9, 0)), "global ones stay");
        world.machine.flush_local(pin.pinned(), FlushScope::All);
        assert_eq!(world.mmu.cached(CpuId::BOOT), Some((0, 0)));
    });
}

#[test]
fn speculation_caches_what_nobody_asked_for_and_repeats_by_seed() {
    let cached = |seed| {
        in_world(1, MmuConfig::new(seed), |mut world| {
            world.map(0, FRAMES_AT, 4 * LARGE, PageSize::Size4K, Access::ReadWrite);
            (0..50).for_each(|_| assert!(world.access(0, LARGE, Use::Read).is_ok()));
            world.mmu.cached(CpuId::BOOT).unwrap()
        })
    };
    assert!(cached(7).0 > 5, "{:?}", cached(7));
    assert_eq!(cached(7), cached(7));
    assert!((0..9).any(|seed| cached(seed) != cached(7)));
}

#[test]
fn a_split_that_changes_nothing_is_no_contradiction() {
    in_world(1, PLAIN, |mut world| {
        world.map(0, FRAMES_AT, LARGE, PageSize::Size2M, Access::ReadWrite);
        world.access(0, 0, Use::Read).unwrap();
        let table = world.source.take_zeroed_table().unwrap();
        let leaf =
            Entry::leaf(PhysAddr::new(FRAMES_AT), PageSize::Size4K, Attributes::kernel(Access::ReadWrite));
        world.tables.write_run(table, 0, leaf, PAGE, 512);
        world.set_leaf(0, |_| Entry::table(table, rhumb_pagetable::Privilege::Supervisor));
        world.mmu.promised(range(0, LARGE), &CpuMask::first(1)).unwrap();
        // One page differs: the large translation contradicts it there, and only there.
        world.set_leaf(5 * PAGE, read_only);
        world.mmu.promised(range(0, 5 * PAGE), &CpuMask::first(1)).unwrap();
        let stale = world.mmu.promised(range(0, LARGE), &CpuMask::first(1)).unwrap_err();
        assert_eq!((stale.cpu, stale.found), (CpuId::BOOT, FoundAt::Promise));
        assert!(stale.to_string().contains("2M translation of 0xffff800000000000"), "{stale}");
        world.mmu.assert_no_stale(frames(FRAMES_AT, PAGE));
        assert!(world.mmu.reused(frames(FRAMES_AT + 5 * PAGE, PAGE)).is_err());
    });
}

#[test]
fn a_second_unit_is_refused() {
    in_world(1, PLAIN, |world| {
        // SAFETY: the tree is the world's own.
        let second = unsafe { world.machine.attach_mmu(world.mmu.root(), PLAIN) };
        assert_eq!(second.err(), Some(crate::MmuAttached));
    });
}

/// A table outside RAM reads as empty: a walk that goes astray ends.
#[test]
fn a_walk_that_goes_astray_ends() {
    in_world(1, PLAIN, |mut world| {
        world.map(0, FRAMES_AT, PAGE, PageSize::Size4K, Access::ReadOnly);
        let walk = rhumb_pagetable::walk(&world.tables, world.mmu.root(), virt(0));
        let step = walk.steps()[2];
        world.tables.write(
            step.table,
            step.index,
            Entry::table(Pfn::new(1 << 30), rhumb_pagetable::Privilege::Supervisor),
        );
        assert_eq!(world.access(0, 0, Use::Read), Err(Fault::NotPresent));
    });
}

#[test]
fn the_last_addresses_are_looked_at_without_overflow() {
    in_world(1, PLAIN, |mut world| {
        let top = VirtAddr::new(LARGE.wrapping_neg());
        let mapping = Mapping {
            virt: top,
            phys: PhysRange::of_length(PhysAddr::new(FRAMES_AT), LARGE - PAGE).unwrap(),
            attributes: Attributes::kernel(Access::ReadWrite),
            largest: PageSize::Size4K,
        };
        Mapper::new(world.mmu.root(), &mut world.tables).map(&mapping, &mut world.source).unwrap();
        let last = top.plus(LARGE - 2 * PAGE);
        assert!(world.mmu.access(CpuId::BOOT, last, Use::Read).is_ok());
        assert_eq!(world.mmu.reused(frames(60 << 20, 4 << 20)), Ok(()));
        let walk = rhumb_pagetable::walk(&world.tables, world.mmu.root(), last);
        let step = *walk.steps().last().unwrap();
        world.tables.write(step.table, step.index, Entry::EMPTY);
        assert!(world.mmu.reused(frames(FRAMES_AT, LARGE)).is_err());
    });
}
