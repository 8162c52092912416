//! How the entry of a slot is written and the page behind it reached.

#![expect(unsafe_code, reason = "declares an unsafe trait")]

use rhumb_machine::VirtAddr;
use rhumb_pagetable::{Entry, FlushStats};

/// The prepared page table of the slots.
///
/// # Safety
/// After [`SlotTable::write`] of a present entry, and until the next write of that slot, every CPU reaches the 4096
/// bytes of the frame that the entry names at [`SlotTable::show`], once translations that it had of the slot before are
/// flushed. [`SlotTable::address`] is what a flush of the slot must name.
///
/// A value is the only one for its table: no other value, of whatever type, writes its entries, so that only one
/// [`crate::LongMap`] uses them. There are [`crate::SLOTS`] slots.
pub unsafe trait SlotTable: Sync {
    /// Writes an entry, with one 64-bit store. No lock of the map is held.
    fn write(&self, slot: usize, entry: Entry);

    /// Returns the entry of a slot.
    fn read(&self, slot: usize) -> Entry;

    /// Returns the address of a slot, as CPUs translate it.
    fn address(&self, slot: usize) -> VirtAddr;

    /// Returns where a CPU reaches the page of a slot.
    fn show(&self, slot: usize) -> VirtAddr {
        self.address(slot)
    }

    /// Counts a flush that the map has made. Called for each, with no lock held.
    fn note_flush(&self, flushed: FlushStats) {
        let _ = flushed;
    }

    /// Lets time pass while another CPU flushes; called again and again. In a kernel in which CPUs call each other:
    /// answers such calls.
    fn relax(&self) {
        core::hint::spin_loop();
    }
}
