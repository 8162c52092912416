//! The figures: a million random operations (a hundred thousand in a build that is slow), and what is left of the map
//! after them.

use rhumb_frames::{Frame, Unmapped};
use rhumb_hosted::mmu::MmuConfig;
use rhumb_machine::{CpuId, Order};
use rhumb_pagetable::FlushCause;

use crate::world::*;

const OPERATIONS: u64 = if cfg!(any(debug_assertions, rhumb_tsan)) { 100_000 } else { 1_000_000 };

#[test]
fn after_a_million_operations_every_gigabyte_is_one_page_again() {
    let quiet = MmuConfig::plain(1);
    let world = World::new(4, 2 * GIB, 16, quiet);
    world
        .machine
        .enter(CpuId::BOOT, |cpu| {
            let pool = world.pool();
            world.pool().keep_blocks(4);
            let before = world.machine.counters();
            let (mut held, mut random, mut taken, mut given) = (Vec::new(), Random(42), 0u64, 0u64);
            let mut target = 0;
            for step in 0..OPERATIONS {
                if step % 5000 == 0 {
                    target = random.below(20_000);
                }
                if (held.len() as u64) < target && random.below(100) < 60 || held.is_empty() {
                    // Three of four are single frames.
                    let order = if random.below(4) > 0 { 0 } else { random.below(6) as u8 };
                    let frame = pool.take(cpu.pinned(), ALICE, Order::new(order).unwrap()).unwrap();
                    taken += frame.order().frames();
                    held.push(frame);
                } else {
                    let at = random.below(held.len() as u64) as usize;
                    let frame: Frame<Unmapped> = held.swap_remove(at);
                    given += frame.order().frames();
                    pool.give(cpu.pinned(), frame).unwrap();
                }
            }
            pool.validate().unwrap();
            let out = pool.counters();
            assert_eq!(out.frames_out, taken - given);
            held.into_iter().for_each(|frame| pool.give(cpu.pinned(), frame).unwrap());
            pool.shrink(cpu.pinned(), 0);
            pool.validate().unwrap();
            world.assert_healed();
            let rounds = (world.machine.counters() - before).remote_flushes;
            let counters = pool.counters();
            println!(
                "{OPERATIONS} operations: {taken} frames taken, {counters}, {rounds} rounds to all CPUs"
            );
            println!("{:.0} frames taken a round", taken as f64 / rounds as f64);
            assert_eq!(rounds, counters.flushes);
            assert_eq!(rounds, world.flushes.read(FlushCause::Pool).flushes, "each was noted, with its CPUs");
            // Each block's going is a round; its return is one only where a 1-GiB page merges.
            assert!(rounds <= counters.blocks_taken + 2 * counters.blocks_given_back / 512 + 64);
            assert!(rounds * 512 <= taken, "more than one round for 512 frames");
            let pages = world.map.lock().unwrap().pages();
            assert_eq!((pages.size_4k, pages.size_2m, pages.size_1g), (0, 0, 2));
        })
        .unwrap();
}
