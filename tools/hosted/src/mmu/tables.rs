//! Page tables in the hosted machine's RAM. Each store to one is shown to the CPU's [observer](crate::observer::Store).

use std::sync::Arc;

use rhumb_machine::{Pfn, PhysRange, VirtAddr};
use rhumb_pagetable::{ENTRIES, Entry, TableEntry, TableMemory};

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
    /// Reaches tables in `ram`, which the direct map at `base` shows.
    ///
    /// # Safety
    /// As for [`HostedTables::new`].
    pub(crate) unsafe fn over(base: VirtAddr, ram: Arc<[PhysRange]>) -> Self {
        Self { base, ram }
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
