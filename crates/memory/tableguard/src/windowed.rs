//! [`WindowedTables`]: tables that are written through windows.

#![expect(unsafe_code, reason = "its maker promises that it is given tables alone")]

use rhumb_machine::{Pfn, Tlb};
use rhumb_pagetable::{Entry, TableMemory};
use rhumb_windows::{WindowTables, Windows};

/// Tables that are read where they are, and written through a window, one window for each run of entries, with
/// interrupts off.
///
/// A write always finds a window, because writers of tables have a slot of their own on each CPU, and no code that
/// would write tables runs while that slot is open.
#[derive(Debug)]
pub struct WindowedTables<'windows, R: TableMemory, M: Tlb, T: WindowTables> {
    inner: R,
    windows: &'windows Windows<M, T>,
}

impl<'windows, R: TableMemory, M: Tlb, T: WindowTables> WindowedTables<'windows, R, M, T> {
    /// Wraps `inner`, which reads through the direct map.
    ///
    /// # Safety
    /// As the maker of `inner` promised, every `table` given is a page table, which is reached by 64-bit atomics alone,
    /// and the memory that is mapped may be mapped so (I4, I8). Each CPU that writes has windows.
    pub const unsafe fn new(inner: R, windows: &'windows Windows<M, T>) -> Self {
        Self { inner, windows }
    }
}

impl<R: TableMemory, M: Tlb, T: WindowTables> TableMemory for WindowedTables<'_, R, M, T> {
    fn read(&self, table: Pfn, index: usize) -> Entry {
        self.inner.read(table, index)
    }

    fn write(&mut self, table: Pfn, index: usize, entry: Entry) {
        self.write_run(table, index, entry, 0, 1);
    }

    /// # Panics
    /// If the CPU has no windows, or writes tables while it writes tables. The promise to [`WindowedTables::new`] is
    /// broken then, and a table would keep its old entry.
    fn write_run(&mut self, table: Pfn, index: usize, first: Entry, step_bytes: u64, count: usize) {
        // SAFETY: the caller of `new` promised that each `table` is a page table, and that the memory which is mapped
        // may be mapped so.
        let written = unsafe { self.windows.write_table(table, index, first, step_bytes, count) };
        if let Err(error) = written {
            panic!("page table {table} cannot be written: {error}");
        }
    }
}
