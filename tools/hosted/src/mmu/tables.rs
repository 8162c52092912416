//! Page tables in the hosted machine's RAM. Each store to one is shown to the CPU's [observer](crate::observer::Store).

use std::sync::Arc;

use rhumb_machine::{Machine, Pfn, PfnRange, PhysRange, VirtAddr};
use rhumb_pagetable::{ENTRIES, Entry, OutOfTables, TableEntry, TableMemory, TableSource};

use crate::machine::HostedMachine;
use crate::observer::{self, Store};

/// Tables behind the machine's direct map: what a kernel's accessor does, with host addresses.
///
/// A table outside RAM reads as empty and swallows writes: a walk that goes astray (through a table that was reused)
/// does no harm.
#[derive(Clone, Debug)]
pub struct HostedTables {
    base: VirtAddr,
    ram: Arc<[PhysRange]>,
}

impl HostedTables {
    /// For tables in the RAM of `machine`.
    ///
    /// # Safety
    /// The value and its clones are used only while the machine lives. Every frame of its RAM that they are given as a
    /// table is one, and no other code writes to it.
    pub unsafe fn new(machine: &HostedMachine) -> Self {
        let ram = machine.ram().iter().map(|ram| ram.range).collect();
        Self { base: machine.direct_map_base(), ram }
    }

    fn entry(&self, table: Pfn, index: usize) -> Option<&TableEntry> {
        let place = table.addr();
        if index >= ENTRIES || !self.ram.iter().any(|range| range.contains(place)) {
            return None;
        }
        let place = self.base.plus(place.get()).plus(Entry::offset(index));
        // SAFETY: an aligned word of a frame of RAM, used as a table, as `new` was promised; tables are reached by
        // atomics alone.
        Some(unsafe { TableEntry::at(place) })
    }
}

impl TableMemory for HostedTables {
    fn read(&self, table: Pfn, index: usize) -> Entry {
        self.entry(table, index).map_or(Entry::EMPTY, TableEntry::load)
    }

    fn write(&mut self, table: Pfn, index: usize, entry: Entry) {
        if let Some(word) = self.entry(table, index) {
            let old = word.load();
            word.store(entry);
            observer::stored(|| Store { table, index, old, new: entry });
        }
    }
}

/// Frames to make tables of. What comes back is reused at once, newest first, after the detector has looked at it.
#[derive(Debug)]
pub struct TableFrames<'machine> {
    machine: &'machine HostedMachine,
    tables: HostedTables,
    free: Vec<Pfn>,
}

impl<'machine> TableFrames<'machine> {
    /// Hands out `frames`, lowest first.
    ///
    /// # Safety
    /// As for [`HostedTables::new`]: `frames` are RAM of the machine, and for tables alone.
    pub unsafe fn new(machine: &'machine HostedMachine, frames: PfnRange) -> Self {
        // SAFETY: the machine is borrowed for as long as the value lives.
        let tables = unsafe { HostedTables::new(machine) };
        Self { machine, tables, free: frames.iter().rev().collect() }
    }

    /// Returns how many are left.
    pub fn free_tables(&self) -> usize {
        self.free.len()
    }
}

// SAFETY: each of the frames is handed out once until it comes back; `new` was promised that they are RAM of the
// machine and for tables alone.
unsafe impl TableSource for TableFrames<'_> {
    fn take_zeroed_table(&mut self) -> Result<Pfn, OutOfTables> {
        let table = self.free.pop().ok_or(OutOfTables)?;
        (0..ENTRIES).for_each(|index| self.tables.write(table, index, Entry::EMPTY));
        Ok(table)
    }

    unsafe fn give_back(&mut self, table: Pfn) {
        if let (Some(mmu), Some(frame)) = (self.machine.mmu(), PfnRange::of_length(table, 1)) {
            // Kept in the unit's reports, where the test looks.
            let _ = mmu.reused(frame);
        }
        self.free.push(table);
    }
}
