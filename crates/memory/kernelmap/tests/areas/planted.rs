//! The tests see what they are for: a flush that does not reach all CPUs.

use rhumb_hosted::mmu::{MmuConfig, Use};
use rhumb_kernelmap::map::MapInconsistency;
use rhumb_kernelmap::{AreaRequest, FlushPolicy};
use rhumb_machine::PageSize;
use rhumb_pagetable::{Entry, TableMemory};

use crate::world::{MIB, World, as_cpu_0, in_world};
use std::sync::atomic::Ordering::Relaxed;

#[test]
fn a_flush_that_leaves_out_a_cpu_is_seen_under_each_policy() {
    for policy in FlushPolicy::ALL {
        let world = World::new(2, 64 * MIB, MmuConfig::plain(1));
        world.ground.plant.flushes_here_alone.store(1, Relaxed);
        as_cpu_0(world, |pinned| {
            world.map.set_policy(pinned, policy);
            let area = world.map.alloc(pinned, AreaRequest::new(1)).unwrap();
            world.touch(1, area.start(), Use::Write);
            world.map.free(pinned, area).unwrap();
            assert_eq!(world.mmu().take_reports().is_empty(), policy != FlushPolicy::Eager, "{policy}");
            for _ in 0..300 {
                let area = world.map.alloc(pinned, AreaRequest::new(1)).unwrap();
                world.map.free(pinned, area).unwrap();
            }
            if policy != FlushPolicy::Eager {
                assert_ne!(world.mmu().take_reports(), [], "{policy}");
            }
        });
    }
}

/// An entry of an area that is exchanged, moved or lost, or that appears beside it.
#[test]
fn entries_out_of_place_are_seen() {
    in_world(1, 64 * MIB, |world, pinned| {
        for pages in [5, 700] {
            let area = world.map.alloc(pinned, AreaRequest::new(pages).largest(PageSize::Size4K)).unwrap();
            let place = |page: u64| world.entry_at(area.start().plus(page * 4096));
            let ((table, index, first), (_, beside, _)) = (place(0), place(pages));
            let mut tables = world.ground.tables.clone();
            // Lost.
            tables.write(table, index, Entry::EMPTY);
            assert!(matches!(world.map.validate(pinned), Err(MapInconsistency::Pages(..))));
            // Moved past the end: as many pages as before.
            let (end, _, _) = place(pages);
            tables.write(end, beside, first);
            let seen = world.map.validate(pinned).unwrap_err();
            assert!(matches!(seen, MapInconsistency::Pages(..) | MapInconsistency::NotClear(..)), "{seen}");
            tables.write(end, beside, Entry::EMPTY);
            tables.write(table, index, first);
            world.map.validate(pinned).unwrap();
            world.map.free(pinned, area).unwrap();
        }
        world.assert_empty(pinned);
    });
}
