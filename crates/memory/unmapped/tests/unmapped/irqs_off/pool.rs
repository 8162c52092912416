//! The unmapped pool: single frames, gigabytes, and giving all of it back.

use rhumb_frames::{Frame, Mobility, Reclaimer, Shortage, Unmapped, Zone};
use rhumb_machine::Order;

use super::{Clock, ROUNDS};
use crate::world::*;

/// Frames taken: of ten blocks.
const FRAMES: usize = 5_000;

pub(super) fn clock(clock: &mut Clock) {
    in_world(8, 8 * GIB, 64, |world, cpu| {
        let pool = world.pool();
        for _ in 0..ROUNDS {
            let taken = clock.time(cpu, "take of frames from the pool", || {
                (0..FRAMES)
                    .map(|_| world.take(cpu.pinned(), ALICE).unwrap())
                    .collect::<Vec<Frame<Unmapped>>>()
            });
            clock.time(cpu, "validate of the pool", || pool.validate().unwrap());
            pool.keep_blocks(1000);
            clock.time(cpu, "give of frames to the pool", || {
                taken.into_iter().for_each(|frame| pool.give(cpu.pinned(), frame).unwrap());
            });
            pool.keep_blocks(50);
            clock.time(cpu, "shed of spare blocks", || {
                let frame = pool.take(cpu.pinned(), ALICE, Order::BASE).unwrap();
                pool.give(cpu.pinned(), frame).unwrap();
            });
            clock.time(cpu, "grow by 1 GiB", || pool.grow(cpu.pinned(), ALICE).unwrap());
            let shortage = Shortage { order: Order::LARGE, ceiling: Zone::High, kind: Mobility::Unmovable };
            clock.time(cpu, "reclaim of a block from the pool", || pool.reclaim(cpu.pinned(), &shortage));
            clock.time(cpu, "shrink of the pool", || pool.shrink(cpu.pinned(), 0));
        }
    });
}
