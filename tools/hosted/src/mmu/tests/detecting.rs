//! The detector: keys, memory types, tables and frames that are reused too early, lazy CPUs.

use super::*;

#[test]
fn a_protection_key_counts_in_uses_and_its_change_needs_a_flush() {
    in_world(1, PLAIN, |mut world| {
        let key = Key::new(3).unwrap();
        world.map(0, FRAMES_AT, PAGE, PageSize::Size4K, Access::ReadWrite);
        world.set_leaf(0, |leaf| leaf.with_key(key));
        for (rights, read, write) in [
            (Rights::ReadWrite, true, true),
            (Rights::ReadOnly, true, false),
            (Rights::Nothing, false, false),
            (Rights::ReadWrite, true, true),
        ] {
            world.mmu.set_keys(CpuId::BOOT, key.with_rights(0, rights));
            let met = |access| match world.access(0, 0, access) {
                Ok(_) => true,
                Err(fault) => {
                    assert_eq!(fault, Fault::ProtectionKey);
                    false
                }
            };
            assert_eq!((met(Use::Read), met(Use::Write)), (read, write), "{rights:?}");
        }
        world.set_leaf(0, |leaf| leaf.with_key(Key::new(4).unwrap()));
        let stale = world.mmu.promised(range(0, PAGE), &CpuMask::first(1)).unwrap_err();
        assert_eq!(stale.what.entry().key(), Some(key), "the old key is cached, and nothing was flushed");
    });
}

/// A table that goes back while a CPU has it cached, and what happens to that CPU in between.
fn table_given_back_after(config: MmuConfig, between: impl FnOnce(&mut World<'_>) + Send) -> Vec<StaleUse> {
    in_world(2, config, |mut world| {
        world.map(0, FRAMES_AT, PAGE, PageSize::Size4K, Access::ReadWrite);
        // Keeps the tables of level 2 and 3 in use, so that one table goes.
        world.map(LARGE, FRAMES_AT + LARGE, PAGE, PageSize::Size4K, Access::ReadWrite);
        world.access(1, 0, Use::Read).unwrap();
        let unmapped = world.unmap(0, PAGE);
        between(&mut world);
        // SAFETY: it is not so: this is the fault that is planted.
        unsafe { unmapped.tables.never_walked().release(&mut world.tables, &mut world.source) };
        world.mmu.take_reports()
    })
}

#[test]
fn no_fault_and_no_invlpg_elsewhere_hides_a_table_that_was_freed_too_early() {
    let is_table = |stale: &StaleUse| matches!(stale.what, What::Table { level: 2, .. });
    let fault = |world: &mut World<'_>| {
        assert_eq!(world.access(1, 8 << 30, Use::Read), Err(Fault::NotPresent));
    };
    assert!(table_given_back_after(PLAIN, fault).iter().any(is_table));
    let invlpg = |world: &mut World<'_>| {
        let _ticket = world.flush(pages(8 << 30, PAGE, PageSize::Size4K), &CpuMask::first(2));
    };
    let of_address = MmuConfig { invlpg: TableEntries::OfAddress, ..PLAIN };
    assert!(table_given_back_after(of_address, invlpg).iter().any(is_table));
    assert!(!table_given_back_after(PLAIN, invlpg).iter().any(is_table), "it drops all table entries");
    let its_own = |world: &mut World<'_>| {
        let _ticket = world.flush(pages(0, PAGE, PageSize::Size4K), &CpuMask::first(2));
    };
    assert!(!table_given_back_after(of_address, its_own).iter().any(is_table));
}

#[test]
fn a_table_that_was_merged_is_stale_when_it_says_something_else_or_is_reused() {
    in_world(2, PLAIN, |mut world| {
        world.map(0, FRAMES_AT, LARGE, PageSize::Size4K, Access::ReadWrite);
        world.access(1, 0, Use::Read).unwrap();
        let (mmu, all) = (world.mmu, CpuMask::first(2));
        let root = mmu.root();
        let step = rhumb_pagetable::entry_at(&world.tables, root, virt(0), 2).unwrap();
        let table = step.entry.child(2).unwrap();
        let whole = |access| {
            Entry::leaf(
                PhysAddr::new(FRAMES_AT),
                PageSize::Size2M,
                rhumb_pagetable::Attributes::kernel(access),
            )
        };
        world.tables.write(step.table, step.index, whole(Access::ReadWrite));
        assert_eq!(mmu.promised(range(0, LARGE), &all), Ok(()), "it leads to the same translations");
        let is_table = |stale: StaleUse| matches!(stale.what, What::Table { level: 2, .. });
        let reused = mmu.reused(PfnRange::of_length(table, 1).unwrap()).unwrap_err();
        assert!(is_table(reused) && reused.cpu == cpu(1));
        // One page of it is not what the large page says.
        let page = world.tables.read(table, 511);
        world.tables.write(table, 511, Entry::EMPTY);
        assert!(mmu.promised(range(LARGE - PAGE, PAGE), &all).is_err_and(is_table));
        assert_eq!(mmu.promised(range(0, LARGE - PAGE), &all), Ok(()));
        world.tables.write(table, 511, page);
        // The large page changes: the table says what it said before.
        world.tables.write(step.table, step.index, whole(Access::ReadOnly));
        assert!(mmu.promised(range(LARGE - PAGE, PAGE), &all).is_err_and(is_table));
        // A CPU that idles may walk it until it is reused, if the flush was left to that CPU.
        mmu.enter_lazy(cpu(1));
        assert!(mmu.promised(range(LARGE - PAGE, PAGE), &all).is_err_and(is_table));
        assert_eq!(mmu.leave_to_lazy(&mut all.to_mask()), 1);
        assert_eq!(mmu.promised(range(LARGE - PAGE, PAGE), &all), Ok(()));
        assert!(mmu.reused(PfnRange::of_length(table, 1).unwrap()).is_err_and(is_table));
        mmu.leave_lazy(cpu(1));
        let _ = mmu.take_reports();
    });
}

/// A CPU that walks from an entry which should be gone caches what should be gone, too.
#[test]
fn a_translation_that_is_found_by_a_stale_table_entry_is_stale() {
    in_world(2, PLAIN, |mut world| {
        world.map(0, FRAMES_AT, LARGE, PageSize::Size4K, Access::ReadWrite);
        world.access(1, 0, Use::Read).unwrap();
        let (mmu, all) = (world.mmu, CpuMask::first(2));
        let step = rhumb_pagetable::entry_at(&world.tables, mmu.root(), virt(0), 2).unwrap();
        world.tables.write(step.table, step.index, Entry::EMPTY);
        assert!(mmu.promised(range(0, LARGE), &all).is_err());
        let reported = || {
            let _ = mmu.take_reports();
            let _ = mmu.access(cpu(1), virt(3 * PAGE), Use::Read);
            mmu.take_reports()
        };
        let is_table = |stale: &StaleUse| matches!(stale.what, What::Table { level: 2, .. });
        assert!(reported().iter().any(is_table), "the walk begins at the stale entry");
        assert!(reported().iter().any(|stale| !is_table(stale)), "its result is cached");
        // The tables say the same again: what was promised gone was no fresh walk's.
        world.tables.write(step.table, step.index, step.entry);
        assert!(reported().iter().any(|stale| !is_table(stale)));
    });
}

/// A CPU is spared because it drops everything as it wakes, not because it sleeps.
#[test]
fn a_lazy_cpu_that_was_left_no_mark_is_accused() {
    for is_marked in [false, true] {
        in_world(2, PLAIN, |mut world| {
            world.map(0, FRAMES_AT, PAGE, PageSize::Size4K, Access::ReadWrite);
            world.access(1, 0, Use::Read).unwrap();
            let (mmu, all) = (world.mmu, CpuMask::first(2));
            mmu.enter_lazy(cpu(1));
            world.set_leaf(0, read_only);
            if is_marked {
                assert_eq!(mmu.leave_to_lazy(&mut all.to_mask()), 1);
            }
            assert_eq!(mmu.promised(range(0, PAGE), &all).is_ok(), is_marked);
            assert_eq!(mmu.reused(frames(FRAMES_AT, PAGE)).is_ok(), is_marked);
        });
    }
}

#[test]
fn one_frame_has_one_memory_type() {
    in_world(2, PLAIN, |mut world| {
        world.map(0, FRAMES_AT, LARGE, PageSize::Size2M, Access::ReadWrite);
        world.map(LARGE, FRAMES_AT + PAGE, PAGE, PageSize::Size4K, Access::ReadWrite);
        world.set_leaf(LARGE, |leaf| Entry::from_bits(leaf.bits() | rhumb_pagetable::bits::PCD));
        world.access(0, 0, Use::Read).unwrap();
        assert_eq!(world.mmu.one_memory_type(frames(FRAMES_AT, LARGE)), Ok(()));
        world.access(1, LARGE, Use::Read).unwrap();
        let found = world.mmu.one_memory_type(frames(FRAMES_AT, LARGE)).unwrap_err();
        assert_eq!((found.cpu, found.found), (cpu(1), FoundAt::MemoryType));
        assert_eq!(world.mmu.one_memory_type(frames(FRAMES_AT + 2 * PAGE, PAGE)), Ok(()));
    });
}

#[test]
fn a_lazy_cpu_speculates() {
    in_world(2, MmuConfig::new(3), |mut world| {
        world.map(0, FRAMES_AT, 4 * LARGE, PageSize::Size4K, Access::ReadWrite);
        world.mmu.enter_lazy(cpu(1));
        (0..50).for_each(|_| assert!(world.access(0, LARGE, Use::Read).is_ok()));
        assert!(world.mmu.cached(cpu(1)).unwrap().0 > 5, "{:?}", world.mmu.cached(cpu(1)));
        world.mmu.speculate(cpu(1), virt(3 * LARGE));
        world.set_leaf(3 * LARGE, read_only);
        world.mmu.leave_lazy(cpu(1));
        assert!(world.mmu.promised(range(3 * LARGE, PAGE), &CpuMask::first(2)).is_err());
    });
}

/// A lazy CPU begins to wake while its TLB is looked at: it is not accused of a translation that it drops as it wakes.
#[test]
fn a_cpu_that_wakes_meanwhile_is_not_accused() {
    in_world(2, PLAIN, |mut world| {
        world.map(0, FRAMES_AT, PAGE, PageSize::Size4K, Access::ReadWrite);
        world.access(1, 0, Use::Read).unwrap();
        world.mmu.enter_lazy(cpu(1));
        world.set_leaf(0, read_only);
        let mut targets = CpuMask::first(2);
        assert_eq!((world.mmu.leave_to_lazy(&mut targets), targets), (1, CpuMask::only(cpu(0))));
        let mmu = world.mmu;
        std::thread::scope(|scope| {
            let found = mmu.inspect(&CpuMask::first(2), FoundAt::Promise, |_, start, bytes| {
                scope.spawn(|| mmu.leave_lazy(cpu(1)));
                // Time for it to begin. Where that is not enough, the test shows nothing, and does not fail.
                std::thread::sleep(std::time::Duration::from_millis(20));
                Some(Part { start, last: start.plus(bytes - 1) })
            });
            assert_eq!(found, Ok(()));
        });
    });
}

#[test]
fn a_freed_frame_that_a_cpu_still_reaches_is_found() {
    in_world(2, PLAIN, |mut world| {
        world.map(0, FRAMES_AT, PAGE, PageSize::Size4K, Access::ReadWrite);
        world.access(1, 0, Use::Read).unwrap();
        let free = |world: &World<'_>| {
            let start = world.machine.direct(PhysAddr::new(FRAMES_AT));
            let freed = VirtRange::of_length(start, PAGE).unwrap();
            world.machine.set_memory_use(freed, rhumb_machine::MemoryUse::FreeFrame);
            world.mmu.take_reports().len()
        };
        assert_eq!(free(&world), 0, "the tables have it, too");
        world.set_leaf(0, |_| Entry::EMPTY);
        assert_eq!(free(&world), 1);
        world.mmu.unused_until_flushed(range(0, PAGE));
        assert_eq!(free(&world), 0, "no CPU uses the address until its flush");
        world.access(1, 0, Use::Read).unwrap();
        assert_eq!(world.mmu.take_reports().len(), 1, "but CPU 1 has");
    });
}
