//! Every shortage is an answer, and nothing has changed.

use rhumb_directmap::ChangeError;
use rhumb_unmapped::PoolError;

use crate::world::*;

#[test]
fn i7_i12_the_nth_block_finds_no_table_whatever_n_is() {
    // A block in each of three GiBs takes a table each.
    for tables in 0..3 {
        in_world(1, 3 * GIB, tables, |world, cpu| {
            let pool = world.pool();
            let mut held = Vec::new();
            let refused = loop {
                // The frames in between keep the next block in the next GiB.
                match world.take_from_fresh_gib(cpu.pinned(), held.len() as u64) {
                    Ok(frame) => held.push(frame),
                    Err(error) => break error,
                }
            };
            assert_eq!(held.len() as u64, tables);
            let want = ChangeError::OutOfTables { needed: 1, left: 0 };
            assert_eq!(refused, PoolError::Change(want));
            pool.validate().unwrap();
            world.map.lock().unwrap().validate().unwrap();
            assert_eq!(pool.counters().blocks(), tables);
            let mut source = world.source.lock().unwrap();
            // SAFETY: the source is of the machine that the map is of.
            unsafe { world.map.lock().unwrap().refill(1, &mut *source) }.unwrap();
            drop(source);
            held.push(world.take_from_fresh_gib(cpu.pinned(), tables).unwrap());
            held.into_iter().for_each(|frame| pool.give(cpu.pinned(), frame).unwrap());
            world.release_filler(cpu.pinned());
            world.assert_healed();
        });
    }
}
