//! Reaching physical memory before there is a direct map.
//!
//! Two ways, both through the boot tables. Below 4 GiB everything stands at its physical address: loader and firmware
//! data are read there. Frames above are reached through the *window*: 512 slots of 2 MiB, where an address's slot is
//! given by its bits 29..21, so that building tables in one run moves a slot only every 512 tables. New page tables are
//! written through it, wherever they lie.

use core::cell::Cell;

use rhumb_bootinfo::PhysMemory;
use rhumb_machine::{PageSize, Pfn, PhysAddr, PhysRange, VirtAddr};
use rhumb_pagetable::{Entry, TableMemory};

use crate::smp::flush;

use super::entry::{IDENTITY_BYTES, WINDOW_BASE};

const SLOTS: usize = 512;
/// Present, writable, accessed, dirty, large, no-execute.
const SLOT_BITS: u64 = 0x8000_0000_0000_00e3;

unsafe extern "C" {
    static mut boot_window: [u64; SLOTS];
}

/// Physical memory below 4 GiB, as the boot tables show it at address 0.
pub struct LowMemory(());

impl LowMemory {
    /// # Safety
    /// The boot tables are loaded while the value, or a slice from it, lives; and nobody writes what is read.
    pub const unsafe fn new() -> Self {
        Self(())
    }
}

impl PhysMemory for LowMemory {
    fn bytes(&self, range: PhysRange) -> Option<&[u8]> {
        // Address 0 cannot be the start of a slice; nothing worth reading lies there.
        if range.start() == PhysAddr::ZERO || range.end().get() > IDENTITY_BYTES {
            return None;
        }
        // SAFETY: the boot tables map this range, by the promise of `new`; any bytes are valid.
        Some(unsafe {
            core::slice::from_raw_parts(VirtAddr::new(range.start().get()).as_ptr(), range.bytes() as usize)
        })
    }
}

/// Any frame of RAM, one 2-MiB slot at a time.
pub struct Window {
    /// Which 2-MiB page each slot shows, by number, plus 1; 0 for none.
    shown: [Cell<u64>; SLOTS],
}

impl Window {
    /// # Safety
    /// The boot tables are loaded while the value lives, it is the only one, and only frames that belong to the caller
    /// are reached through it.
    pub unsafe fn new() -> Self {
        Self { shown: [const { Cell::new(0) }; SLOTS] }
    }

    /// Where `phys` can be touched until another address with the same slot is asked for.
    fn show(&self, phys: PhysAddr) -> VirtAddr {
        let page = phys.get() >> PageSize::Size2M.shift();
        let slot = page as usize % SLOTS;
        let at = WINDOW_BASE + slot as u64 * PageSize::Size2M.bytes();
        if self.shown[slot].get() != page + 1 {
            // SAFETY: the window's table is used by nobody else; the flush follows the write, on the only CPU that
            // runs.
            unsafe {
                (&raw mut boot_window[slot]).write_volatile(page << PageSize::Size2M.shift() | SLOT_BITS)
            };
            flush::page_local(VirtAddr::new(at));
            self.shown[slot].set(page + 1);
        }
        VirtAddr::new(at).plus(phys.offset_in(PageSize::Size2M))
    }

    /// Zeroes a frame.
    pub fn zero(&self, frame: Pfn) {
        // SAFETY: the slot shows the frame, which belongs to the caller by the promise of `new`.
        unsafe {
            self.show(frame.addr()).as_mut_ptr::<u8>().write_bytes(0, PageSize::Size4K.bytes() as usize)
        };
    }

    /// The bytes of a frame.
    pub fn frame(&mut self, frame: Pfn) -> &mut [u8; 4096] {
        // SAFETY: as in `zero`; `&mut self` keeps the slot where it is meanwhile.
        unsafe { &mut *self.show(frame.addr()).as_mut_ptr() }
    }

    /// As memory that holds page tables. Their source may zero frames through the same window meanwhile.
    pub fn tables(&self) -> WindowTables<'_> {
        WindowTables(self)
    }
}

/// Page tables seen through a [`Window`].
pub struct WindowTables<'a>(&'a Window);

impl TableMemory for WindowTables<'_> {
    fn read(&self, table: Pfn, index: usize) -> Entry {
        // SAFETY: tables belong to the caller, by the promise of `new`; an entry is 8 aligned bytes.
        Entry::from_bits(unsafe {
            self.0.show(table.addr()).plus(index as u64 * 8).as_ptr::<u64>().read_volatile()
        })
    }

    fn write(&mut self, table: Pfn, index: usize, entry: Entry) {
        // SAFETY: as in `read`.
        unsafe {
            self.0.show(table.addr()).plus(index as u64 * 8).as_mut_ptr::<u64>().write_volatile(entry.bits())
        };
    }

    fn write_run(&mut self, table: Pfn, index: usize, first: Entry, step_bytes: u64, count: usize) {
        // One look at the slot for the whole run: a map of 4-KiB pages writes 512 entries a table.
        let start = self.0.show(table.addr()).plus(index as u64 * 8).as_mut_ptr::<u64>();
        let mut entry = first;
        for position in 0..count {
            // SAFETY: the run stays within the table, by the trait's contract; otherwise as in `read`.
            unsafe { start.add(position).write_volatile(entry.bits()) };
            entry = entry.advanced(step_bytes);
        }
    }
}
