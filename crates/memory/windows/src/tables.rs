//! How the entry of a slot is written and the page behind it reached.
//!
//! In the kernel: a store into a page table that boot has made, and [`slot_address`]. On simulated tables: a store into
//! a simulated table, and a walk of it for wherever the test keeps that frame.

#![expect(unsafe_code, reason = "declares an unsafe trait")]

use rhumb_machine::{CpuId, VirtAddr};
use rhumb_pagetable::Entry;

use crate::slots::SLOTS;

/// Where the windows of CPU 0 begin. Each CPU has 2 MiB: one page table.
pub const WINDOW_BASE: VirtAddr = VirtAddr::new(0xffff_f000_0000_0000);

/// Returns the address of a slot.
pub const fn slot_address(cpu: CpuId, slot: usize) -> VirtAddr {
    WINDOW_BASE.plus(((cpu.index() * SLOTS + slot) as u64) << 12)
}

/// The prepared page tables of the windows.
///
/// # Safety
/// After [`WindowTables::write`] of a present entry, and until the next write of that slot, `cpu` reaches the 4096
/// bytes of the frame that the entry names at [`WindowTables::show`], once a translation that it had of the slot before
/// is flushed.
///
/// A value is the only one for its tables: no other value, of whatever type, writes slots that are windows, so that
/// only one [`crate::Windows`] uses them.
pub unsafe trait WindowTables: Sync {
    /// Writes an entry, with one 64-bit store. Called on `cpu`, with interrupts off; `slot` is below
    /// [`crate::KEPT_SLOT`].
    fn write(&self, cpu: CpuId, slot: usize, entry: Entry);

    /// Returns the entry of a slot.
    fn read(&self, cpu: CpuId, slot: usize) -> Entry;

    /// Returns where `cpu` reaches the page of a slot.
    fn show(&self, cpu: CpuId, slot: usize) -> VirtAddr {
        slot_address(cpu, slot)
    }
}
