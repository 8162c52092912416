//! [`WindowedTables`]: tables that are written through windows.

#![expect(unsafe_code, reason = "whoever makes it promises that what it is given are tables")]

use rhumb_machine::{Machine, Pfn};
use rhumb_pagetable::{Entry, TableMemory};

use crate::windows::slots::Place;
use crate::windows::{Window, WindowTables, Windows};

/// How tables are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reads {
    /// Through the direct map, where they are read-only.
    DirectMap,
    /// Through a window: they are out of the map.
    Window,
}

/// Tables that are written through a window, one window for each run of entries, with interrupts off.
///
/// A write cannot fail, so it must find a window: it may use the reserve, and whoever has interrupts off holds none of
/// that while tables are written. Where this is broken the write is dropped and counted
/// ([`WindowedTables::lost_writes`]): a table keeps its old entry.
#[derive(Debug)]
pub struct WindowedTables<'windows, R: TableMemory, M: Machine, T: WindowTables> {
    inner: R,
    windows: &'windows Windows<M, T>,
    reads: Reads,
    lost_writes: u64,
}

impl<'windows, R: TableMemory, M: Machine, T: WindowTables> WindowedTables<'windows, R, M, T> {
    /// Around `inner`, which reads through the direct map.
    ///
    /// # Safety
    /// As whoever made `inner` promised: every `table` given is a page table, reached by nothing but 64-bit atomics,
    /// and what is mapped may be mapped (I4, I8).
    pub const unsafe fn new(inner: R, windows: &'windows Windows<M, T>, reads: Reads) -> Self {
        Self { inner, windows, reads, lost_writes: 0 }
    }

    /// Writes for which there was no window: 0 in a system that is right.
    pub const fn lost_writes(&self) -> u64 {
        self.lost_writes
    }

    fn with_table<A>(&self, table: Pfn, act: impl FnOnce(&mut Window<'_, M, T>) -> A) -> Option<A> {
        let guard = self.windows.machine().irq_off();
        let irq_off = guard.irq_off();
        let mut window = self.windows.open_pfn(irq_off.pinned(), table, Place::Anywhere).ok()?;
        Some(act(&mut window))
    }
}

impl<R: TableMemory, M: Machine, T: WindowTables> TableMemory for WindowedTables<'_, R, M, T> {
    fn read(&self, table: Pfn, index: usize) -> Entry {
        match self.reads {
            Reads::DirectMap => self.inner.read(table, index),
            Reads::Window => self.with_table(table, |window| window.read_entry(index)).unwrap_or_default(),
        }
    }

    fn write(&mut self, table: Pfn, index: usize, entry: Entry) {
        self.write_run(table, index, entry, 0, 1);
    }

    fn write_run(&mut self, table: Pfn, index: usize, first: Entry, step_bytes: u64, count: usize) {
        let written = self.with_table(table, |window| {
            let mut entry = first;
            for position in index..index + count {
                window.write_entry(position, entry);
                entry = entry.advanced(step_bytes);
            }
        });
        if written.is_none() {
            self.lost_writes += 1;
        }
    }
}
