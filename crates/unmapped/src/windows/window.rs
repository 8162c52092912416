//! [`Window`]: a frame that this CPU sees for a while. The one place where its memory is touched.
//!
//! Copies are of bytes between memory that cannot overlap: a window's address is used by its guard alone.

#![expect(unsafe_code, reason = "touches the memory behind a window")]

use core::fmt;
use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_machine::{Machine, PageSize, Pinned, VirtAddr};
use rhumb_pagetable::{ENTRIES, Entry};

use crate::windows::copy::OutOfFrame;
use crate::windows::{WindowTables, Windows};

const PAGE_BYTES: u64 = PageSize::Size4K.bytes();

/// Page of a frame, visible to this CPU until the guard is dropped. Read-write, not executable.
///
/// It borrows the proof that the code stays on its CPU, so it stays there, too:
///
/// ```compile_fail,E0277
/// use rhumb_unmapped::windows::{Window, WindowTables};
/// use rhumb_machine::Machine;
/// fn needs_send<S: Send>(_: S) {}
/// fn to_another_cpu<M: Machine, T: WindowTables>(window: Window<'_, M, T>) {
///     needs_send(window);
/// }
/// ```
#[must_use = "it is closed as soon as it is dropped"]
pub struct Window<'a, M: Machine, T: WindowTables> {
    windows: &'a Windows<M, T>,
    pinned: Pinned<'a>,
    slot: usize,
}

impl<'a, M: Machine, T: WindowTables> Window<'a, M, T> {
    pub(crate) fn new(windows: &'a Windows<M, T>, pinned: Pinned<'a>, slot: usize) -> Self {
        Self { windows, pinned, slot }
    }

    /// Where the page stands, on this CPU, while the guard lives.
    pub fn address(&self) -> VirtAddr {
        self.windows.address(self.pinned.cpu(), self.slot)
    }

    /// Writes `bytes` from `offset` on.
    ///
    /// # Errors
    /// [`OutOfFrame`]; nothing is written then.
    pub fn copy_to(&mut self, offset: u64, bytes: &[u8]) -> Result<(), OutOfFrame> {
        let to = self.place(offset, bytes.len())?;
        // SAFETY: within the window's page (I5: its frame is the borrower's); `bytes` is no part of it, since nobody
        // else has its address.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        Ok(())
    }

    /// Reads into `bytes` from `offset` on.
    ///
    /// # Errors
    /// [`OutOfFrame`]; nothing is read then.
    pub fn copy_from(&self, offset: u64, bytes: &mut [u8]) -> Result<(), OutOfFrame> {
        let from = self.place(offset, bytes.len())?;
        // SAFETY: as in `copy_to`; any bytes are a value.
        unsafe { core::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    /// Clears `bytes` bytes from `offset` on.
    ///
    /// # Errors
    /// [`OutOfFrame`]; nothing is written then.
    pub fn zero(&mut self, offset: u64, bytes: usize) -> Result<(), OutOfFrame> {
        let to = self.place(offset, bytes)?;
        // SAFETY: as in `copy_to`.
        unsafe { core::ptr::write_bytes(to, 0, bytes) };
        Ok(())
    }

    /// Closes it and drops its translation from this CPU's TLB. Cost: one `invlpg`.
    pub fn close_flushed(self) {
        let window = ManuallyDrop::new(self);
        window.windows.close_flushed(window.pinned, window.slot);
    }

    /// The page as a page table's entry, which CPUs may walk meanwhile.
    pub(crate) fn entry(&self, index: usize) -> &AtomicU64 {
        let place = self.address().plus((index % ENTRIES * size_of::<Entry>()) as u64);
        // SAFETY: an aligned word within the window's page; tables are reached by atomics alone, as `WindowedTables`
        // was promised.
        unsafe { AtomicU64::from_ptr(place.as_mut_ptr()) }
    }

    /// Reads one entry of a page table.
    pub(crate) fn read_entry(&self, index: usize) -> Entry {
        Entry::from_bits(self.entry(index).load(Relaxed))
    }

    /// Writes one entry of a page table.
    pub(crate) fn write_entry(&mut self, index: usize, entry: Entry) {
        self.entry(index).store(entry.bits(), Relaxed);
    }

    fn place(&self, offset: u64, bytes: usize) -> Result<*mut u8, OutOfFrame> {
        let end = offset.checked_add(bytes as u64);
        if end.is_none_or(|end| end > PAGE_BYTES) {
            return Err(OutOfFrame { offset, bytes: bytes as u64, size_bytes: PAGE_BYTES });
        }
        Ok(self.address().plus(offset).as_mut_ptr())
    }
}

impl<M: Machine, T: WindowTables> Drop for Window<'_, M, T> {
    fn drop(&mut self) {
        self.windows.close(self.pinned, self.slot);
    }
}

impl<M: Machine, T: WindowTables> fmt::Debug for Window<'_, M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Window(CPU {}, slot {})", self.pinned.cpu(), self.slot)
    }
}
