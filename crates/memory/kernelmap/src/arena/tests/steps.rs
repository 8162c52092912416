//! Each stretch with interrupts off is a constant number of steps: long work is many stretches.

use std::vec::Vec;

use super::world::*;
use crate::arena::cpu::BATCH;

#[test]
fn i13_long_work_is_done_in_steps() {
    let world = World::new(1 << 20, 1);
    let held: Vec<_> = (0..2000).map(|_| world.alloc(20).unwrap()).collect();
    let walked = stretches(|| world.arena.validate(pinned()).unwrap());
    assert!(walked >= 2000 / 16, "{walked} stretches for 2,000 ranges");
    let found = stretches(|| assert!(world.arena.find(START + 39_990).unwrap().is_some()));
    assert!(found >= 2000 / 16, "{found}");
    held.into_iter().for_each(|range| world.free(range));
    for units in 1..=16 {
        (0..20).for_each(|_| {
            let held: Vec<_> = (0..40).map(|_| world.alloc(units).unwrap()).collect();
            held.into_iter().for_each(|range| world.free(range));
        });
    }
    let kept: usize = world.arena.cache(pinned().cpu()).unwrap().kept().count();
    let drained = stretches(|| world.arena.drain(pinned()));
    assert!(kept > 2 * BATCH && drained as usize >= kept / BATCH, "{drained} stretches for {kept} ranges");
    world.assert_whole(1);
}
