//! Reaching physical memory before there is a direct map.
//!
//! Two ways, both through the boot tables. Below 4 GiB everything is mapped at its physical address: loader and
//! firmware data are read there. Frames above are reached through *scratch slots*: 512 of 2 MiB, where an address's
//! slot is given by its bits 29..21, so that building tables in one run moves a slot only every 512 tables. New page
//! tables are written through these slots, wherever the tables lie. Before that, the slots are lent to
//! [`FirmwareMemory`], which reads firmware tables above 4 GiB.

use core::cell::{Cell, RefCell};
use core::sync::atomic::{Ordering::SeqCst, compiler_fence};

use arrayvec::ArrayVec;
use rhumb_bootinfo::memory_map::RegionKind;
use rhumb_bootinfo::{MemoryMap, PhysMemory};
use rhumb_machine::{PageSize, Pfn, PhysAddr, PhysRange, VirtAddr};
use rhumb_pagetable::{Entry, TableEntry, TableMemory};

use crate::arch::features::features;
use crate::cpu::tlb;

use super::entry::{IDENTITY_BYTES, SCRATCH_BASE};

const SLOTS: usize = 512;
/// Present, writable, accessed, dirty, large, no-execute.
const SLOT_BITS: u64 = 0x8000_0000_0000_00e3;

unsafe extern "C" {
    static mut boot_scratch: [u64; SLOTS];
}

/// Physical memory below 4 GiB, as the boot tables show it at address 0.
pub struct LowMemory(());

impl LowMemory {
    /// # Safety
    /// The boot tables are loaded while the value, or a slice from it, lives; and no code writes the bytes that are
    /// read.
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
pub struct Scratch {
    /// Which 2-MiB page each slot shows, by number, plus 1; 0 for none.
    shown: [Cell<u64>; SLOTS],
}

impl Scratch {
    /// # Safety
    /// The boot tables are loaded while the value lives, it is the only one, and only frames that belong to the caller
    /// are reached through it.
    pub unsafe fn new() -> Self {
        Self { shown: [const { Cell::new(0) }; SLOTS] }
    }

    /// Returns where `phys` can be touched until another address with the same slot is asked for.
    fn show(&self, phys: PhysAddr) -> VirtAddr {
        let page = phys.get() >> PageSize::Size2M.shift();
        let slot = page as usize % SLOTS;
        if self.shown[slot].get() != page + 1 {
            set_slot(slot, page);
            self.shown[slot].set(page + 1);
        }
        slot_address(slot).plus(phys.offset_in(PageSize::Size2M))
    }

    /// Lends all slots to a reader of firmware tables.
    pub fn firmware<'a>(&'a mut self, low: &'a LowMemory, map: &'a MemoryMap) -> FirmwareMemory<'a> {
        self.shown.iter().for_each(|shown| shown.set(0));
        FirmwareMemory { _scratch: self, low, map, runs: RefCell::new(ArrayVec::new()) }
    }

    /// Zeroes a frame.
    pub fn zero(&self, frame: Pfn) {
        // SAFETY: the slot shows the frame, which belongs to the caller by the promise of `new`.
        unsafe {
            self.show(frame.addr()).as_mut_ptr::<u8>().write_bytes(0, PageSize::Size4K.bytes() as usize)
        };
    }

    /// Returns the bytes of a frame.
    pub fn frame(&mut self, frame: Pfn) -> &mut [u8; 4096] {
        // SAFETY: the slot shows the frame, which belongs to the caller by the promise of `new`; `&mut self` keeps the slot
        // where it is meanwhile.
        unsafe { &mut *self.show(frame.addr()).as_mut_ptr() }
    }

    /// Returns this as memory that holds page tables. Their source may zero frames through the same slots meanwhile.
    pub fn tables(&self) -> ScratchTables<'_> {
        ScratchTables(self)
    }
}

fn slot_address(slot: usize) -> VirtAddr {
    VirtAddr::new(SCRATCH_BASE + slot as u64 * PageSize::Size2M.bytes())
}

/// Lets `slot` show the 2-MiB page with this number.
fn set_slot(slot: usize, page: u64) {
    // Accesses through the slot so far are to the page that it showed.
    compiler_fence(SeqCst);
    // SAFETY: the slots' table belongs to the one `Scratch`; the flush follows the write, on the only CPU that runs.
    unsafe { (&raw mut boot_scratch[slot]).write_volatile(page << PageSize::Size2M.shift() | SLOT_BITS) };
    tlb::flush_page_local(slot_address(slot));
}

/// Runs of slots that a reader of firmware tables can hold: most machines have all tables in one or two 2-MiB pages.
const MAX_RUNS: usize = 64;

/// 2-MiB pages that adjoining slots show.
#[derive(Clone, Copy)]
struct Run {
    page: u64,
    pages: u64,
    slot: usize,
}

/// Physical memory as the firmware left it: all of it below 4 GiB, and above that what the memory map lists.
///
/// Slots are given out one after the other and keep what they show, so that the slices stay valid.
pub struct FirmwareMemory<'a> {
    _scratch: &'a mut Scratch,
    low: &'a LowMemory,
    map: &'a MemoryMap,
    runs: RefCell<ArrayVec<Run, MAX_RUNS>>,
}

impl FirmwareMemory<'_> {
    /// Tells whether the memory map has a region for each byte of `range`, and the CPU an address. Elsewhere there may
    /// be registers, which must not be read, or nothing.
    fn is_memory(&self, range: PhysRange) -> bool {
        let regions = self.map.regions().iter().filter(|region| region.kind != RegionKind::Bad);
        let covered =
            regions.fold(
                range.start(),
                |from, region| {
                    if region.range.contains(from) { region.range.end() } else { from }
                },
            );
        covered >= range.end() && range.end().get() <= 1 << features().physical_bits
    }

    /// Returns a run that shows `pages` pages from `page` on.
    fn run_of(&self, page: u64, pages: u64) -> Option<Run> {
        let mut runs = self.runs.borrow_mut();
        let shows = |run: &&Run| run.page <= page && page + pages <= run.page + run.pages;
        if let Some(&run) = runs.iter().find(shows) {
            return Some(run);
        }
        let slot = runs.last().map_or(0, |last| last.slot + last.pages as usize);
        let new = Run { page, pages, slot };
        if slot as u64 + pages > SLOTS as u64 || runs.try_push(new).is_err() {
            return None;
        }
        (0..pages).for_each(|index| set_slot(slot + index as usize, page + index));
        Some(new)
    }
}

impl PhysMemory for FirmwareMemory<'_> {
    fn bytes(&self, range: PhysRange) -> Option<&[u8]> {
        if range.end().get() <= IDENTITY_BYTES {
            return self.low.bytes(range);
        }
        if !self.is_memory(range) {
            return None;
        }
        let page = range.start().get() >> PageSize::Size2M.shift();
        let end = range.end().checked_align_up(PageSize::Size2M)?.get() >> PageSize::Size2M.shift();
        let run = self.run_of(page, end - page)?;
        let at = slot_address(run.slot)
            .plus((page - run.page) * PageSize::Size2M.bytes())
            .plus(range.start().offset_in(PageSize::Size2M));
        // SAFETY: the run shows the range, and goes on to while the borrow of the slots lasts; any bytes are valid, and
        // the firmware's are not written by anything that runs now.
        Some(unsafe { core::slice::from_raw_parts(at.as_ptr(), range.bytes() as usize) })
    }
}

/// Page tables seen through a [`Scratch`].
pub struct ScratchTables<'a>(&'a Scratch);

impl ScratchTables<'_> {
    fn entry(&self, table: Pfn, index: usize) -> &TableEntry {
        // SAFETY: tables belong to the caller, by the promise of `new`. Each access goes through the slot at once: no
        // reference outlives the next `show`.
        unsafe { TableEntry::at(self.0.show(table.addr()).plus(Entry::offset(index))) }
    }
}

impl TableMemory for ScratchTables<'_> {
    fn read(&self, table: Pfn, index: usize) -> Entry {
        self.entry(table, index).load()
    }

    fn write(&mut self, table: Pfn, index: usize, entry: Entry) {
        self.entry(table, index).store(entry);
    }

    fn write_run(&mut self, table: Pfn, index: usize, first: Entry, step_bytes: u64, count: usize) {
        // One look at the slot for the whole run: a map of 4-KiB pages writes 512 entries a table.
        let table = self.0.show(table.addr());
        let mut entry = first;
        for position in index..index + count {
            // SAFETY: the run stays within the table, by the trait's contract; otherwise as in `entry`.
            unsafe { TableEntry::at(table.plus(Entry::offset(position))) }.store(entry);
            entry = entry.advanced(step_bytes);
        }
    }
}
