//! Tables written through windows.

use rhumb_machine::{PageSize, PhysAddr};
use rhumb_pagetable::{Access, Attributes, Entry, TableMemory, TableSource};
use rhumb_unmapped::protect::{Reads, WindowedTables};
use rhumb_unmapped::windows::{RESERVED, SLOTS};

use crate::world::*;

#[test]
fn tables_are_written_through_windows_however_many_are_held() {
    for reads in [Reads::DirectMap, Reads::Window] {
        in_world(2, 2 * GIB, 16, |world, cpu| {
            let table = world.source.lock().unwrap().take_zeroed_table().unwrap();
            let mut frames: Vec<_> =
                (0..SLOTS - RESERVED).map(|_| world.take(cpu.pinned(), ALICE).unwrap()).collect();
            let held: Vec<_> =
                frames.iter_mut().map(|frame| world.windows.open(cpu.pinned(), frame, 0).unwrap()).collect();
            let before = world.machine.counters();
            // SAFETY: the frame is a table that nobody walks.
            let mut tables = unsafe { WindowedTables::new(world.tables.clone(), &world.windows, reads) };
            let first =
                Entry::leaf(PhysAddr::new(GIB), PageSize::Size4K, Attributes::kernel(Access::ReadOnly));
            tables.write_run(table, 0, first, 4096, 512);
            for index in 0..512 {
                assert_eq!(world.tables.read(table, index), first.advanced(index as u64 * 4096));
                assert_eq!(tables.read(table, index), first.advanced(index as u64 * 4096));
                tables.write(table, index, Entry::EMPTY);
                assert_eq!(tables.read(table, index), Entry::EMPTY);
            }
            assert_eq!(tables.lost_writes(), 0);
            assert_eq!((world.machine.counters() - before).remote_flushes, 0);
            drop(held);
            frames.into_iter().for_each(|frame| world.pool().give(cpu.pinned(), frame).unwrap());
            world.assert_healed();
        });
    }
}
