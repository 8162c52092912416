//! Frames of the machine's RAM to make page tables of.

use rhumb_machine::{Machine, Pfn, PfnRange};
use rhumb_pagetable::{ENTRIES, Entry, OutOfTables, TableMemory, TableSource};

use crate::machine::HostedMachine;
use crate::mmu::HostedTables;

impl HostedTables {
    /// Reaches tables in the RAM of `machine`.
    ///
    /// # Safety
    /// The value and its clones are used only while the machine lives. Each frame of its RAM that they are given as a
    /// table is one, and nothing else writes to it.
    pub unsafe fn new(machine: &HostedMachine) -> Self {
        let ram = machine.ram().iter().map(|ram| ram.range).collect();
        // SAFETY: the caller promises that the machine lives, and that the frames it names are tables, written by these
        // alone.
        unsafe { Self::over(machine.direct_map_base(), ram) }
    }
}

/// Frames to make tables of. A frame that comes back is reused at once, newest first, after the detector has looked at
/// it.
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
