//! A region: addresses that are handed out in units of one page size, and the tables above their entries.
//!
//! ```text
//!   level of the units   entries of an area      tables above them           for areas of
//!          1             pages of 4 KiB          levels 2, 1: stay           fewer than 512 pages
//!          2             2 MiB, or a table       level 2: stays              fewer than 2^18 pages
//!          3             1 GiB, or a table       level 3: since boot         more
//! ```
//!
//! **The writers of tables** (I8). The entry of a unit belongs to the holder of the unit, and so do the tables below it. A
//! table above the units is shared: it is made under the home's lock where it is missing, and stays permanently. So a
//! holder writes its entries without a lock, and no table goes that another area needs. In the worst case, the tables
//! that stay are a 512th of the most memory that small areas ever had.

use rhumb_machine::{Machine, PageSize, Pfn, Pinned, VirtAddr, VirtRange, impossible};
use rhumb_pagetable::{ENTRIES, Entry, Privilege, Step, TableMemory, descend};

use rhumb_sync::atomic::Relaxed;

use super::KernelMap;
use super::area::AreaKind;
use super::error::AreaError;
use super::home::Home;
use super::release::{give_back, release};
use crate::arena::{Arena, Units};

/// Units below each area that stay absent.
pub(super) const GUARD_UNITS: u64 = 1;

pub(super) struct Region<M: Machine + 'static> {
    pub(super) arena: Arena<M>,
    pub(super) unit: PageSize,
    pub(super) addresses: VirtRange,
}

impl<M: Machine> Region<M> {
    pub(super) const fn level(&self) -> u8 {
        self.unit.level()
    }

    /// Returns the first address of a unit.
    #[inline(always)]
    pub(super) const fn address_of(&self, unit: u64) -> VirtAddr {
        VirtAddr::new(unit << self.unit.shift())
    }

    /// Returns the addresses of units.
    pub(super) fn addresses_of(&self, units: Units) -> VirtRange {
        VirtRange::new(self.address_of(units.start()), self.address_of(units.end())).unwrap_or_default()
    }

    /// Returns the units of a range of addresses of the region.
    pub(super) fn units_of(&self, addresses: VirtRange) -> Units {
        let shift = self.unit.shift();
        Units::of_length(addresses.start().get() >> shift, addresses.bytes() >> shift)
            .unwrap_or_else(|| impossible!("a region's addresses are addresses" => Units::NONE))
    }
}

/// The entries of the units of an area, in one table after the other.
///
/// Calls `act` with each entry's table, its index, and the number of its unit in `units`, as long as it says so, and
/// returns what it said last. `first` is the table of the first entry.
///
/// Cost: a walk for each further table.
#[inline(always)]
pub(super) fn for_each_entry<H: Home, E>(
    home: &H,
    tables: &mut H::Tables,
    unit: PageSize,
    units: Units,
    first: Pfn,
    mut act: impl FnMut(&mut H::Tables, Pfn, usize, u64) -> Result<(), E>,
) -> Result<(), E> {
    let (mut nth, mut table) = (0, Some(first));
    while nth < units.count() {
        let index = (units.start() + nth) as usize % ENTRIES;
        let end = (nth + (ENTRIES - index) as u64).min(units.count());
        if let Some(table) = table {
            for (index, nth) in (index..).zip(nth..end) {
                act(tables, table, index, nth)?;
            }
        }
        nth = end;
        if nth < units.count() {
            table = table_of(home, tables, unit, units.start() + nth);
        }
    }
    Ok(())
}

/// Returns the table that has the entry of a unit.
///
/// Cost: a walk.
pub(super) fn table_of<H: Home>(home: &H, tables: &H::Tables, unit: PageSize, number: u64) -> Option<Pfn> {
    let address = VirtAddr::new(number << unit.shift());
    match descend(tables, home.root(), address, unit.level()) {
        Some(step) if step.level == unit.level() => Some(step.table),
        _ => impossible!("the tables above {address} were made before the area" => None),
    }
}

/// Makes the tables above the entries of `units`, where they are missing, and returns the table of the first entry past
/// the guard's.
///
/// # Errors
/// [`AreaError::NoTable`]. The tables that were made stay.
///
/// Cost: a walk for each 512 units; two and a hold of the lock for each table that was missing.
pub(super) fn make_upper_tables<H: Home>(
    map: &KernelMap<H>,
    pinned: Pinned<'_>,
    tables: &mut H::Tables,
    unit: PageSize,
    units: Units,
) -> Result<Pfn, AreaError> {
    let (mut at, mut first) = (units.start(), None);
    while at < units.end() {
        let address = VirtAddr::new(at << unit.shift());
        let table = loop {
            match descend(tables, map.home.root(), address, unit.level()) {
                Some(step) if step.level > unit.level() => make_table(map, pinned, address, step)?,
                Some(step) => break step.table,
                None => return impossible!("{address} is canonical" => Err(AreaError::NoTable)),
            }
        };
        at = (at / ENTRIES as u64 + 1) * ENTRIES as u64;
        if at > units.start() + GUARD_UNITS {
            first.get_or_insert(table);
        }
    }
    first.ok_or(AreaError::NoTable)
}

/// Makes the table that a walk to `address` has found missing at `missing`, unless another CPU makes it first.
#[cold]
fn make_table<H: Home>(
    map: &KernelMap<H>,
    pinned: Pinned<'_>,
    address: VirtAddr,
    missing: Step,
) -> Result<(), AreaError> {
    let table = map.take_table(pinned)?;
    let home = &map.home;
    let is_used = home.with_upper_tables(|tables| {
        let step = descend(tables, home.root(), address, missing.level);
        let is_missing = step.is_some_and(|step| step.level == missing.level && step.entry == Entry::EMPTY);
        if is_missing {
            tables.write(missing.table, missing.index, Entry::table(table, Privilege::Supervisor));
        }
        is_missing
    });
    if is_used {
        map.upper_tables.fetch_add(1, Relaxed);
    } else {
        give_back(home, pinned, table);
    }
    Ok(())
}

/// Fills the entry of one unit, or of one entry below it.
///
/// Returns the entry for `pages` pages from page `from` of what an entry at `level` spans: the leaf of that size, or a
/// table that holds smaller ones. `first` is the number of the first page in the area.
///
/// # Errors
/// Those of `leaf`, and [`AreaError::NoTable`]. All frames and tables are given back then; no CPU has reached them.
///
/// A recursion at most three deep.
#[inline(always)]
pub(super) fn fill<H: Home>(
    map: &KernelMap<H>,
    pinned: Pinned<'_>,
    tables: &mut H::Tables,
    kind: AreaKind,
    size: PageSize,
    (from, pages, first): (u64, u64, u64),
    leaf: &mut impl FnMut(PageSize, u64) -> Result<Option<Entry>, AreaError>,
) -> Result<Entry, AreaError> {
    if from == 0
        && pages == size.frames()
        && let Some(entry) = leaf(size, first)?
    {
        return Ok(entry);
    }
    fill_table(map, pinned, tables, kind, size, (from, pages, first), leaf)
}

/// Fills a table of pages smaller than `size`, as [`fill`] does, and returns the entry for it.
#[inline(never)]
fn fill_table<H: Home>(
    map: &KernelMap<H>,
    pinned: Pinned<'_>,
    tables: &mut H::Tables,
    kind: AreaKind,
    size: PageSize,
    (from, pages, first): (u64, u64, u64),
    leaf: &mut impl FnMut(PageSize, u64) -> Result<Option<Entry>, AreaError>,
) -> Result<Entry, AreaError> {
    let Some(smaller) = size.smaller() else {
        return impossible!("the smallest page is mapped or an error" => Err(AreaError::NoTable));
    };
    let table = map.take_table(pinned)?;
    let entry = Entry::table(table, Privilege::Supervisor);
    let (mut at, end) = (from, from + pages);
    while at < end {
        let next = ((at / smaller.frames() + 1) * smaller.frames()).min(end);
        let part = (at % smaller.frames(), next - at, first + (at - from));
        match fill(map, pinned, tables, kind, smaller, part, leaf) {
            Ok(entry) => tables.write(table, (at / smaller.frames()) as usize, entry),
            Err(error) => {
                release(&map.home, pinned, tables, kind, size.level(), entry);
                return Err(error);
            }
        }
        at = next;
    }
    Ok(entry)
}
