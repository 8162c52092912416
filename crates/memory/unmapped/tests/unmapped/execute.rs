//! Code in the map, as the CPUs' TLBs see it.

use rhumb_directmap::{At, Batch, Cause, Change, FlushedBatch};
use rhumb_hosted::Cpu;
use rhumb_hosted::mmu::{Fault, Use};
use rhumb_machine::PfnRange;

use crate::world::*;

/// Flushes as it must be, or not at all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flush {
    Everywhere,
    Nowhere,
}

/// Makes frames executable, has all CPUs execute them, takes that away, and says which CPUs cannot execute any more.
fn executable_and_not(
    world: &'static World,
    cpu: &Cpu<'_>,
    undo: &[Change],
    flush: Flush,
) -> Vec<Result<(), Fault>> {
    let frames = PfnRange::of_length(world.ram.start().plus(512 + 7), 3).unwrap();
    let mut map = world.map.lock().unwrap();
    let (cause, at) = (Cause::new(world.map_owner(ALICE), "code"), At::now(&world.machine, cpu.pinned()));
    let flushed_by = |mut batch: Batch, flush: Flush| -> FlushedBatch {
        match flush {
            Flush::Everywhere => batch.flush(&world.machine, cpu.pinned()),
            // SAFETY: it is not so: this is the fault that is planted.
            Flush::Nowhere => unsafe { batch.never_walked() },
        }
    };
    let on_all = |access: Use| -> Vec<Result<(), Fault>> {
        let virt = world.virt(frames.start().plus(1));
        let cpus = world.machine.cpus();
        cpus.iter().map(|cpu| world.mmu().access(cpu, virt, access).map(|_| ())).collect()
    };
    assert_eq!(on_all(Use::Execute), [Err(Fault::Protection); 2]);
    assert_eq!(on_all(Use::Write), [Ok(()); 2]);
    let mut batch = Batch::new();
    // SAFETY: only the accesses below use these frames.
    let mut held = unsafe { map.change(frames, Change::ReadOnlyExecute, cause, at, &mut batch) }.unwrap();
    map.reclaim_tables(flushed_by(batch, Flush::Everywhere));
    assert_eq!(on_all(Use::Execute), [Ok(()); 2]);
    assert_eq!(on_all(Use::Write), [Err(Fault::Protection); 2]);
    assert_eq!(on_all(Use::Execute), [Ok(()); 2]);
    let mut batch = Batch::new();
    undo.iter().for_each(|&change| map.alter(&mut held, change, at, &mut batch).unwrap());
    map.reclaim_tables(flushed_by(batch, flush));
    let able = on_all(Use::Execute);
    let mut batch = Batch::new();
    map.restore(held, &mut batch);
    map.reclaim_tables(flushed_by(batch, Flush::Everywhere));
    assert_eq!(on_all(Use::Write), [Ok(()); 2]);
    drop(map);
    able
}

#[test]
fn i4_i6_no_cpu_executes_what_it_may_not_any_more() {
    for undo in [&[Change::NoExecute][..], &[Change::ReadOnly, Change::NotPresent], &[Change::Default]] {
        in_world(2, 2 * GIB, 16, |world, cpu| {
            let able = executable_and_not(world, cpu, undo, Flush::Everywhere);
            assert!(able.iter().all(Result::is_err), "{undo:?}: {able:?}");
            assert_eq!(world.mmu().take_reports(), []);
            world.assert_healed();
        });
    }
}

#[test]
fn a_skipped_flush_of_what_was_executable_is_found() {
    in_world(2, 2 * GIB, 16, |world, cpu| {
        let able = executable_and_not(world, cpu, &[Change::NoExecute], Flush::Nowhere);
        assert!(able.iter().any(Result::is_ok), "the planted fault was not seen");
    });
}
