//! Page tables in plain memory, and a direct map of simulated RAM in them: what every way of changing a map begins
//! with.
//!
//! Tables are in one array, as they are in the direct map itself: reaching one is an addition. Nothing walks them.

use rhumb_directmap::{BootMap, Plan, PlanRequest, address_range};
use rhumb_machine::{PageSize, Pfn, PhysAddr, PhysRange};
use rhumb_pagetable::{ENTRIES, Entry, Levels, OutOfTables, Root, TableMemory, TableSource};

use crate::driver::Unfit;

/// Tables of one map: 4 MiB, for 2 GiB in 4-KiB pages.
pub(super) const TABLES: u64 = 1024;

/// Table number n is the frame with that number.
pub(super) struct Tables {
    tables: Vec<[Entry; ENTRIES]>,
    /// Entries written.
    pub(super) writes: u64,
}

impl TableMemory for Tables {
    fn read(&self, table: Pfn, index: usize) -> Entry {
        self.tables[table.get() as usize][index]
    }

    fn write(&mut self, table: Pfn, index: usize, entry: Entry) {
        self.writes += 1;
        self.tables[table.get() as usize][index] = entry;
    }
}

/// Hands tables out by counting.
pub(super) struct Counter(pub(super) u64);

// SAFETY: each number is handed out once, and names a table that the memory makes at its first write, all zero.
unsafe impl TableSource for Counter {
    fn take_zeroed_table(&mut self) -> Result<Pfn, OutOfTables> {
        if self.0 == TABLES {
            return Err(OutOfTables);
        }
        self.0 += 1;
        Ok(Pfn::new(self.0))
    }

    unsafe fn give_back(&mut self, _: Pfn) {}
}

/// A map as boot leaves it: whole 1-GiB pages.
pub(super) struct Built {
    pub(super) boot_map: BootMap,
    pub(super) tables: Tables,
    pub(super) source: Counter,
}

/// Returns a map of `ram_bytes` from physical address 0 on.
pub(super) fn build(ram_bytes: u64) -> Result<Built, Unfit> {
    let ram = PhysRange::of_length(PhysAddr::ZERO, ram_bytes).unwrap_or_default();
    let (levels, base) = (Levels::Four, address_range(Levels::Four).start());
    let largest = PageSize::Size1G;
    let request = PlanRequest { base, levels, ram: [ram].into_iter(), read_only: &[], largest, limit: None };
    let plan = Plan::new(&request).map_err(|error| Unfit(error.to_string()))?;
    let root = Root::new(Pfn::new(0), levels);
    let mut tables = Tables { tables: vec![[Entry::EMPTY; ENTRIES]; TABLES as usize + 1], writes: 0 };
    let mut source = Counter(0);
    let built = plan.build(root, &mut tables, &mut source).map_err(|error| Unfit(error.to_string()))?;
    tables.writes = 0;
    Ok(Built {
        boot_map: BootMap { root, base, largest, pages: built.pages, seed: 7, machine: 0 },
        tables,
        source,
    })
}
