//! Faults planted on purpose, each of them found.

use rhumb_directmap::{At, Batch, Cause, Change};
use rhumb_machine::{
    CpuId, CpuMask, FlushScope, IrqState, Machine, NodeId, Order, PfnRange, Pinned, VirtAddr,
};
use rhumb_unmapped::windows::Windows;

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
            (Cause::new(world.owner_in(&map, "alice"), "a plant"), At::now(&world.machine, cpu.pinned()));
        let mut batch = Batch::new();
        let held = map.change(frames, Change::NotPresent, cause, at, &mut batch).unwrap();
        let _ = map.settle(batch.flush(&world.machine, cpu.pinned(), &world.machine.cpus()));
        // The other CPU walks the table of the broken GiB.
        world.warm(frames.end());
        let mut batch = Batch::new();
        map.restore(held, &mut batch);
        let _ = map.settle(batch.never_walked());
        assert_eq!(world.mmu().take_reports(), []);
        map.drain(0, &mut *world.source.lock().unwrap());
        assert!(!world.mmu().take_reports().is_empty());
    });
}

#[test]
fn a_frame_that_is_not_zeroed_is_seen_through_the_map() {
    in_world(1, 2 * GIB, 16, |world, cpu| {
        world.plant.lock().unwrap().no_zeroing = true;
        let mut frame = world.take(cpu.pinned(), ALICE).unwrap();
        let frames = frame.frames();
        world.windows.copy_to(cpu.pinned(), &mut frame, 100, b"secret").unwrap();
        world.pool().give(cpu.pinned(), frame).unwrap();
        assert!(world.read_mapped(0, frames.start()).is_ok() && !world.is_zero(frames));
    });
}

/// A machine that never flushes by itself.
struct Forgetful(Hosted);

// SAFETY: no promise but that of flushes is broken, and the test looks for what comes of it.
unsafe impl Machine for Forgetful {
    fn direct_map_base(&self) -> VirtAddr {
        self.0.direct_map_base()
    }
    fn cpu_count(&self) -> usize {
        self.0.cpu_count()
    }
    fn node_of(&self, cpu: CpuId) -> NodeId {
        self.0.node_of(cpu)
    }
    fn preempt_disable(&self) -> CpuId {
        self.0.preempt_disable()
    }
    unsafe fn preempt_enable(&self) {
        // SAFETY: the caller's promise is passed on.
        unsafe { self.0.preempt_enable() }
    }
    fn irq_save(&self) -> (CpuId, IrqState) {
        self.0.irq_save()
    }
    unsafe fn irq_restore(&self, state: IrqState) {
        // SAFETY: the caller's promise is passed on.
        unsafe { self.0.irq_restore(state) }
    }
    fn flush_local(&self, _: Pinned<'_>, _: FlushScope<'_>) {}
    fn flush_remote(&self, pinned: Pinned<'_>, targets: &CpuMask, scope: FlushScope<'_>) {
        self.0.flush_remote(pinned, targets, scope);
    }
    fn now_ns(&self) -> u64 {
        self.0.now_ns()
    }
}

#[test]
fn a_window_whose_wrap_does_not_flush_shows_another_frame() {
    let shows_its_own = |flushes: bool| {
        in_world(1, 2 * GIB, 16, |world, cpu| {
            let tables = world.hosted_windows();
            let right = Windows::new(world.machine, tables, world.slots());
            let wrong = Windows::new(Forgetful(world.machine), world.hosted_windows(), world.slots());
            let mut frames: Vec<_> = (0..600).map(|_| world.take(cpu.pinned(), ALICE).unwrap()).collect();
            (0u32..).zip(&mut frames).for_each(|(number, frame)| {
                let bytes = number.to_le_bytes();
                let copied = match flushes {
                    true => right.copy_to(cpu.pinned(), frame, 8, &bytes),
                    false => wrong.copy_to(cpu.pinned(), frame, 8, &bytes),
                };
                copied.unwrap();
            });
            let own = (0u32..).zip(&frames).all(|(number, frame)| {
                let first = world.peek(frame.pfn(), 8);
                first == number.to_le_bytes()[0]
            });
            frames.into_iter().for_each(|frame| {
                let _ = frame.into_pfn();
            });
            own
        })
    };
    assert!(shows_its_own(true));
    assert!(!shows_its_own(false), "the planted fault was not seen");
}
