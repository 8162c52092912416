//! Tables written through windows.

use rhumb_frames::Frame;
use rhumb_machine::{PageSize, PhysAddr};
use rhumb_pagetable::{Access, Attributes, Entry, TableMemory};
use rhumb_tableguard::WindowedTables;
use rhumb_windows::{DEPTH, WindowError};

#[path = "../../windows/tests/windows/world.rs"]
#[allow(dead_code, reason = "the tests of windows use the rest")]
mod world;
use world::*;

/// Runs `act` with a window open onto each of `frames`, one within the other.
fn with_all_open(world: &World, frames: &mut [Frame], act: &mut dyn FnMut()) {
    match frames {
        [] => act(),
        [first, rest @ ..] => world.windows.with_page(first, 0, |_| with_all_open(world, rest, act)).unwrap(),
    }
}

#[test]
fn tables_are_written_however_many_windows_are_open() {
    in_world(2, |world, cpu| {
        let table = world.idle_table;
        let mut frames: Vec<_> = (0..=DEPTH).map(|_| world.take(cpu.pinned(), 0)).collect();
        let (last, open) = frames.split_last_mut().unwrap();
        let before = world.machine.counters();
        // SAFETY: the frame is a table that no CPU walks; each CPU has windows.
        let mut tables = unsafe { WindowedTables::new(world.tables.clone(), &world.windows) };
        with_all_open(world, open, &mut || {
            assert_eq!(world.windows.with_page(last, 0, |_| ()), Err(WindowError::TooDeep));
            let first =
                Entry::leaf(PhysAddr::new(1 << 30), PageSize::Size4K, Attributes::kernel(Access::ReadOnly));
            tables.write_run(table, 0, first, 4096, 512);
            for index in 0..512 {
                assert_eq!(world.tables.read(table, index), first.advanced(index as u64 * 4096));
                assert_eq!(tables.read(table, index), first.advanced(index as u64 * 4096));
                tables.write(table, index, Entry::EMPTY);
                assert_eq!(tables.read(table, index), Entry::EMPTY);
            }
            world.windows.validate().unwrap();
        });
        assert_eq!((world.machine.counters() - before).remote_flushes, 0);
        world.give(cpu.pinned(), frames);
    });
}
