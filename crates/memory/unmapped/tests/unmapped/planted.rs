//! Faults planted on purpose, each of them found.

use rhumb_directmap::{At, Batch, Cause, Change};
use rhumb_machine::{Order, PfnRange};

use crate::world::*;

#[test]
fn a_skipped_flush_is_found_in_the_other_cpus_tlb() {
    in_world(2, 2 * GIB, 16, |world, cpu| {
        world.plant.lock().unwrap().no_remote_flush = true;
        let where_it_will_be = world.next_block(cpu.pinned());
        world.warm(where_it_will_be);
        let frame = world.pool().take(cpu.pinned(), ALICE, Order::LARGE).unwrap();
        assert!(frame.frames().contains(where_it_will_be));
        let stale = world.mmu().promised(world.range(frame.frames()), &world.machine.cpus()).unwrap_err();
        assert_eq!(stale.cpu.index(), 1);
        assert!(!world.mmu().take_reports().is_empty());
        let _ = frame.into_pfn();
    });
}

#[test]
fn a_table_that_is_freed_before_the_ticket_is_found() {
    in_world(2, 2 * GIB, 16, |world, cpu| {
        let frames = PfnRange::of_length(world.ram.start(), 512).unwrap();
        let mut map = world.map.lock().unwrap();
        let (cause, at) =
            (Cause::new(world.map_owner(ALICE), "a plant"), At::now(&world.machine, cpu.pinned()));
        let mut batch = Batch::new();
        // SAFETY: no other code uses these frames.
        let held = unsafe { map.change(frames, Change::NotPresent, cause, at, &mut batch) }.unwrap();
        map.reclaim_tables(batch.flush(&world.machine, cpu.pinned()));
        // The other CPU walks the table of the broken GiB.
        world.warm(frames.end());
        let mut batch = Batch::new();
        map.restore(held, &mut batch);
        assert_eq!(map.empty_quarantine(&mut batch), 1);
        // SAFETY: it is not so: this is the fault that is planted.
        map.reclaim_tables(unsafe { batch.never_walked() });
        assert_eq!(world.mmu().take_reports(), []);
        // SAFETY: all of the world's tables are from its source.
        unsafe { map.drain(0, &mut *world.source.lock().unwrap()) };
        assert!(!world.mmu().take_reports().is_empty());
    });
}

#[test]
fn a_frame_that_is_not_zeroed_is_seen_through_the_map() {
    in_world(1, 2 * GIB, 16, |world, cpu| {
        world.plant.lock().unwrap().no_zeroing = true;
        let mut frame = world.take(cpu.pinned(), ALICE).unwrap();
        let frames = frame.frames();
        world.windows.copy_to(&mut frame, 100, b"secret").unwrap();
        world.pool().give(cpu.pinned(), frame).unwrap();
        assert!(world.read_mapped(0, frames.start()).is_ok() && !world.is_zero(frames));
    });
}
