//! [`Window`]: a page that this CPU sees for the length of a closure. The one place where its memory is touched.
//!
//! Copies are of bytes between memory that cannot overlap: no reference into a window's page is ever made.

#![expect(unsafe_code, reason = "touches the memory behind a window")]

use core::fmt;
use core::marker::PhantomData;

use rhumb_machine::{CpuId, PageSize, Pfn, Tlb, VirtAddr};
use rhumb_pagetable::{ENTRIES, Entry, TableEntry};

use crate::error::OutOfFrame;
use crate::slots::Place;
use crate::{WindowError, WindowTables, Windows};

const PAGE_BYTES: u64 = PageSize::Size4K.bytes();

/// A page of a frame, visible to this CPU while a closure of [`crate::Windows::with_page`] runs. Read-write,
/// not executable.
///
/// Only that closure has it, so it can be neither kept nor forgotten:
///
/// ```compile_fail
/// use rhumb_frames::{Frame, Unmapped};
/// use rhumb_machine::Tlb;
/// use rhumb_windows::{WindowTables, Windows};
/// fn keep<M: Tlb, T: WindowTables>(windows: &Windows<M, T>, frame: &mut Frame<Unmapped>) {
///     let mut kept = None;
///     let _ = windows.with_page(frame, 0, |window| kept = Some(window));
/// }
/// ```
///
/// A window belongs to its CPU, so it goes to no other thread:
///
/// ```compile_fail,E0277
/// use rhumb_windows::{Window, WindowTables};
/// fn needs_send<S: Send>(_: S) {}
/// fn to_another_cpu<T: WindowTables>(window: &mut Window<'_, T>) {
///     needs_send(window);
/// }
/// ```
/// ```compile_fail,E0277
/// use rhumb_windows::{Window, WindowTables};
/// fn needs_sync<S: Sync>(_: &S) {}
/// fn to_another_cpu<T: WindowTables>(window: &Window<'_, T>) {
///     needs_sync(window);
/// }
/// ```
///
/// Two windows cannot change places:
///
/// ```compile_fail
/// use rhumb_frames::{Frame, Unmapped};
/// use rhumb_machine::Tlb;
/// use rhumb_windows::{WindowTables, Windows};
/// fn swap<M: Tlb, T: WindowTables>(windows: &Windows<M, T>, one: &mut Frame<Unmapped>, two: &mut Frame<Unmapped>) {
///     let _ = windows.with_page(one, 0, |outer| {
///         let _ = windows.with_page(two, 0, |inner| core::mem::swap(outer, inner));
///     });
/// }
/// ```
///
/// The frame cannot be given back meanwhile:
///
/// ```compile_fail,E0505
/// use rhumb_frames::{Frame, Unmapped};
/// use rhumb_machine::Tlb;
/// use rhumb_windows::{WindowTables, Windows};
/// fn give<M: Tlb, T: WindowTables>(windows: &Windows<M, T>, mut frame: Frame<Unmapped>) {
///     let _ = windows.with_page(&mut frame, 0, |window| {
///         drop(frame);
///         window.address();
///     });
/// }
/// ```
pub struct Window<'a, T: WindowTables> {
    tables: &'a T,
    cpu: CpuId,
    slot: usize,
    // A window is its CPU's.
    _this_cpu: PhantomData<*mut ()>,
}

impl<'a, T: WindowTables> Window<'a, T> {
    pub(crate) const fn new(tables: &'a T, cpu: CpuId, slot: usize) -> Self {
        Self { tables, cpu, slot, _this_cpu: PhantomData }
    }

    /// Returns where this CPU sees the page.
    pub fn address(&self) -> VirtAddr {
        self.tables.show(self.cpu, self.slot)
    }

    /// Writes `bytes` from `offset` on.
    ///
    /// # Errors
    /// [`OutOfFrame`]; nothing is written then.
    pub fn copy_to(&mut self, offset: u64, bytes: &[u8]) -> Result<(), OutOfFrame> {
        let to = self.place(offset, bytes.len())?;
        // SAFETY: within the window's page (I5: its frame is the borrower's); `bytes` is no part of it, since no
        // reference into a window is made.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        Ok(())
    }

    /// Reads into `bytes` from `offset` on.
    ///
    /// # Errors
    /// [`OutOfFrame`]; nothing is read then.
    pub fn copy_from(&self, offset: u64, bytes: &mut [u8]) -> Result<(), OutOfFrame> {
        let from = self.place(offset, bytes.len())?;
        // SAFETY: within the window's page (I5: its frame is the borrower's), whose bytes are values whatever they are;
        // `bytes` is no part of it, since no reference into a window is made.
        unsafe { core::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    /// Clears `bytes` bytes from `offset` on.
    ///
    /// # Errors
    /// [`OutOfFrame`]; nothing is written then.
    pub fn zero(&mut self, offset: u64, bytes: usize) -> Result<(), OutOfFrame> {
        let to = self.place(offset, bytes)?;
        // SAFETY: within the window's page (I5: its frame is the borrower's), into which no reference is made.
        unsafe { core::ptr::write_bytes(to, 0, bytes) };
        Ok(())
    }

    /// Writes all of another window's page.
    pub(crate) fn copy_all(&mut self, from: &Window<'_, T>) -> Result<(), OutOfFrame> {
        let bytes = PAGE_BYTES as usize;
        let (from, to) = (from.place(0, bytes)?, self.place(0, bytes)?);
        // SAFETY: both are a whole page that a window shows (I5: their frames are the borrowers'), into which no
        // reference is made; the function allows for one page that both show.
        unsafe { core::ptr::copy(from, to, bytes) };
        Ok(())
    }

    /// Writes one entry of a page table, which CPUs may walk meanwhile.
    fn write_entry(&mut self, index: usize, entry: Entry) {
        // SAFETY: an entry within the window's page; tables are reached by atomics alone, as `Windows::write_table` was
        // promised.
        unsafe { TableEntry::at(self.address().plus(Entry::offset(index % ENTRIES))) }.store(entry);
    }

    fn place(&self, offset: u64, bytes: usize) -> Result<*mut u8, OutOfFrame> {
        let end = offset.checked_add(bytes as u64);
        if end.is_none_or(|end| end > PAGE_BYTES) {
            return Err(OutOfFrame { offset, bytes: bytes as u64, size_bytes: PAGE_BYTES });
        }
        Ok(self.address().plus(offset).as_mut_ptr())
    }
}

impl<M: Tlb, T: WindowTables> Windows<M, T> {
    /// Writes `count` entries of a page table, from `index` on, through one window: `first`, and each next one
    /// `step_bytes` further in physical memory. Writers of tables have slots of their own on each CPU, so a slot is
    /// free unless this CPU is writing a table already.
    ///
    /// # Errors
    /// [`WindowError::NoSuchCpu`]; [`WindowError::TooDeep`] within another write of a table. No entry is written then.
    ///
    /// # Safety
    /// `table` is a page table, reached by nothing but 64-bit atomics, and the entries map what may be mapped (I4, I8).
    pub unsafe fn write_table(
        &self,
        table: Pfn,
        index: usize,
        first: Entry,
        step_bytes: u64,
        count: usize,
    ) -> Result<(), WindowError> {
        self.with_pfn(table, Place::Tables, |window| {
            let mut entry = first;
            for position in index..index + count {
                window.write_entry(position, entry);
                entry = entry.advanced(step_bytes);
            }
        })
    }
}

impl<T: WindowTables> fmt::Debug for Window<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Window(CPU {}, slot {})", self.cpu, self.slot)
    }
}
