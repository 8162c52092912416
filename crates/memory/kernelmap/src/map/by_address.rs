//! Areas whose handle was given up: they are known by their first address alone, as `vmalloc` and `vfree` have it. A leaf
//! where `unsafe` lives.
//!
//! The entry of the area's guard, which is never present, remembers the record of the area. Its bits are those of the
//! record's address, each inverted, so that they name no memory that there is ([`super::hidden`]).
#![expect(unsafe_code, reason = "makes handles of addresses")]

use rhumb_machine::{Machine, PageSize, Pfn, Pinned, VirtAddr, impossible};
use rhumb_pagetable::{ENTRIES, Entry, TableMemory, bits, descend};

use super::KernelMap;
use super::area::{Area, Facts};
use super::claim::{Ended, claimed, end_claim};
use super::error::AreaError;
use super::home::Home;
use super::region::{GUARD_UNITS, Region, table_of};
use crate::arena::HeldRange;

impl<H: Home> KernelMap<H> {
    /// Gives up the handle of an area, and returns its first address. [`KernelMap::recover`] makes the handle anew.
    ///
    /// # Errors
    /// The area, where it is of another map.
    ///
    /// Cost: a write of an entry.
    pub fn forget(&self, area: Area) -> Result<VirtAddr, Area> {
        let Some(region) = self.region(area.level).filter(|_| self.is_mine(&area)) else { return Err(area) };
        let start = area.start;
        let guard = area.held.range().start();
        let record = Entry::from_bits(!area.held.into_address() & !bits::PRESENT);
        self.set_guard(region, guard, record);
        Ok(start)
    }

    /// Returns the handle of the area that begins at an address; `None` where no area was given up there.
    ///
    /// # Safety
    /// [`KernelMap::forget`] returned this address, and the area has not been recovered since.
    ///
    /// Cost: a walk, and a write of an entry.
    pub unsafe fn recover(&self, start: VirtAddr) -> Option<Area> {
        let region = self.regions.iter().find(|region| region.addresses.contains(start))?;
        let unit = start.get() >> region.unit.shift();
        let guard = unit.checked_sub(GUARD_UNITS)?;
        let tables = self.home.tables();
        let step = descend(&tables, self.home.root(), region.address_of(guard), region.level())?;
        if step.level != region.level() || step.entry.is_present() || step.entry == Entry::EMPTY {
            return None;
        }
        // SAFETY: the guard's entry has the record of an area of this region whose handle was given up, by the caller's
        // promise.
        let held = unsafe { region.arena.held_at(!(step.entry.bits() | bits::PRESENT)) }?;
        self.set_guard(region, guard, Entry::EMPTY);
        let facts = Facts::unpack(held.word())?;
        let table = match step.index + GUARD_UNITS as usize {
            ENTRIES.. => table_of(&self.home, &tables, region.unit, unit)?,
            _ => step.table,
        };
        Some(handle(region, held, facts, table))
    }

    /// Claims the movable area that has an address. The second handle that comes out is the claimant's, for as long as
    /// the claim lasts: a holder that gives the area back meanwhile leaves it to the claimant.
    ///
    /// # Errors
    /// [`AreaError::NoArea`], [`AreaError::NotMovable`], [`AreaError::Busy`], [`AreaError::TooManyWalks`].
    ///
    /// Cost: a walk through the areas below it.
    pub(super) fn claim_at(&self, pinned: Pinned<'_>, address: VirtAddr) -> Result<Area, AreaError> {
        let region = self.regions.iter().find(|region| region.addresses.contains(address));
        let region = region.ok_or(AreaError::NoArea(address))?;
        let unit = address.get() >> region.unit.shift();
        let mut refusal = AreaError::NoArea(address);
        let claimed = region.arena.update_at(unit, |word| match claimed(word) {
            Ok(word) => Some(word),
            Err(error) => {
                refusal = error.unwrap_or(AreaError::NoArea(address));
                None
            }
        });
        let Some(record) = claimed.map_err(|_| AreaError::TooManyWalks)? else { return Err(refusal) };
        // SAFETY: the record is that of an area which is claimed: it stays until the claim ends.
        let held = unsafe { region.arena.held_at(record) };
        let claimed = held.and_then(|held| Some((Facts::unpack(held.word())?, held)));
        let Some((facts, held)) = claimed else {
            return impossible!("a claimed area has facts" => Err(AreaError::NoArea(address)));
        };
        let first = held.range().start() + GUARD_UNITS;
        let Some(table) = table_of(&self.home, &self.home.tables(), region.unit, first) else {
            return Err(AreaError::NoArea(address));
        };
        let area = handle(region, held, facts, table);
        if area.range().contains(address) {
            return Ok(area);
        }
        // The guard, or the rest of the last unit.
        self.end_claim_at(pinned, area);
        Err(AreaError::NoArea(address))
    }

    /// Ends the claim of [`KernelMap::claim_at`], and gives the area back where its holder has done so meanwhile.
    pub(super) fn end_claim_at(&self, pinned: Pinned<'_>, area: Area) {
        match end_claim(&area) {
            Ended::Held => _ = area.held.into_address(),
            Ended::Freed => {
                self.uncharge(&area);
                self.retire(pinned, area);
            }
        }
    }

    fn set_guard(&self, region: &Region<H::Machine>, guard: u64, entry: Entry) {
        let mut tables = self.home.tables();
        if let Some(table) = table_of(&self.home, &tables, region.unit, guard) {
            tables.write(table, guard as usize % ENTRIES, entry);
        }
    }

    /// Returns the frame that is mapped at an address of the map; `None` where none is.
    ///
    /// Cost: a walk.
    pub fn pfn_at(&self, address: VirtAddr) -> Option<rhumb_machine::Pfn> {
        let step = descend(&self.home.tables(), self.home.root(), address, 1)?;
        let size = step.entry.page_size(step.level)?;
        Some(step.entry.phys(size).pfn().plus(address.offset_in(size) / PageSize::Size4K.bytes()))
    }
}

/// Returns the handle of a range with these facts.
fn handle<M: Machine>(region: &Region<M>, held: HeldRange, facts: Facts, table: Pfn) -> Area {
    let Facts { kind, owner, pages, is_charged, is_movable, .. } = facts;
    let first = held.range().start() + GUARD_UNITS;
    let start = region.address_of(first).plus(facts.skipped_bytes(region.unit));
    Area { held, start, pages, owner, level: region.level(), kind, is_charged, is_movable, table }
}
