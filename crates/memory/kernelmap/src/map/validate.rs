//! The check of a map: its arenas, and each entry of its addresses against the list of areas.

use core::fmt;
use core::ops::ControlFlow;

use rhumb_frames::Owner;
use rhumb_machine::{PageSize, Pinned, VirtAddr, VirtRange};
use rhumb_pagetable::{ENTRIES, Entry, TableMemory, descend};

use super::KernelMap;
use super::area::{AreaKind, Facts};
use super::hidden::revealed;
use super::home::Home;
use super::limits::OWNERS;
use super::region::{GUARD_UNITS, Region};
use crate::arena::validate::ArenaInconsistency;
use crate::arena::{RangePlace, RangeReport, Units};

/// A thing that is wrong in a map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapInconsistency {
    /// An arena is wrong.
    Arena(ArenaInconsistency),
    /// A range is held for no area, or for more pages than it has.
    NoArea(VirtRange),
    /// An entry of free addresses, or of a guard, is not clear.
    NotClear(VirtAddr, Entry),
    /// An area does not map as many pages as it has, or not where it has them: so many in all, or in one unit.
    Pages(VirtRange, u64),
    /// An area that waits is mapped.
    Mapped(VirtAddr),
    /// More areas wait with CPUs than are listed as waiting, or fewer.
    Waiting(u64, u64),
    /// More pages count against an owner's limit than its areas have, or fewer.
    Counted(Owner, u64, u64),
}

impl fmt::Display for MapInconsistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arena(error) => error.fmt(f),
            Self::NoArea(range) => write!(f, "the range {range} is held for no area, or a smaller one"),
            Self::NotClear(address, entry) => write!(f, "{address} is free, and its entry is {entry}"),
            Self::Pages(range, pages) => write!(f, "the area {range} maps {pages} pages"),
            Self::Mapped(address) => write!(f, "{address} waits for a flush, and is mapped"),
            Self::Waiting(rings, list) => {
                write!(f, "{rings} areas wait with CPUs, and {list} are listed as waiting")
            }
            Self::Counted(owner, counted, pages) => {
                write!(f, "{counted} pages of owner {} count, and its areas have {pages}", owner.0)
            }
        }
    }
}

impl core::error::Error for MapInconsistency {}

impl<H: Home> KernelMap<H> {
    /// Checks every structure. Exact while no other CPU makes areas or gives them back.
    ///
    /// # Errors
    /// The first inconsistency.
    ///
    /// Cost: a read of each entry of each table of the map.
    pub fn validate(&self, pinned: Pinned<'_>) -> Result<(), MapInconsistency> {
        let (mut listed, mut charged) = (0, [0; OWNERS]);
        for region in &self.regions {
            region.arena.validate(pinned).map_err(MapInconsistency::Arena)?;
            let mut result = Ok(());
            let walked = region.arena.for_each(|range| {
                if let Some(facts) = Facts::unpack(range.word).filter(|_| range.place == RangePlace::Held) {
                    listed += u64::from(facts.kind == AreaKind::Waiting);
                    if let Some(pages) = charged.get_mut(usize::from(facts.owner.0)) {
                        *pages += if facts.is_charged { facts.pages } else { 0 };
                    }
                }
                result = self.check_range(region, range);
                if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            result?;
            walked.map_err(|error| MapInconsistency::Arena(ArenaInconsistency::Walk(error)))?;
        }
        for (number, pages) in (0..).zip(charged) {
            let counted = self.accounts.used(Owner(number));
            if counted != pages {
                return Err(MapInconsistency::Counted(Owner(number), counted, pages));
            }
        }
        let (waiting, _) = self.waiting();
        if waiting == listed { Ok(()) } else { Err(MapInconsistency::Waiting(waiting, listed)) }
    }

    /// Checks the entries of a range that is held for an area, or clear.
    pub(super) fn check_range(
        &self,
        region: &Region<H::Machine>,
        range: RangeReport,
    ) -> Result<(), MapInconsistency> {
        let all = range.range;
        if range.place != RangePlace::Held {
            return self.check_clear(region, all);
        }
        let addresses = region.addresses_of(all);
        let facts = Facts::unpack(range.word).ok_or(MapInconsistency::NoArea(addresses))?;
        let guard = Units::of_length(all.start(), GUARD_UNITS).unwrap_or(Units::NONE);
        // A guard may remember the record of its area.
        self.for_each_table(region, guard, |address, entry| {
            let is_absent =
                if facts.kind == AreaKind::Waiting { entry == Entry::EMPTY } else { !entry.is_present() };
            if is_absent { Ok(()) } else { Err(MapInconsistency::NotClear(address, entry)) }
        })?;
        // These are their holder's.
        if facts.kind == AreaKind::Pageable {
            return Ok(());
        }
        let (mut pages, tables) = (0, self.home.tables());
        let own = super::waiting::without_guard(all);
        self.for_each_table(region, own, |address, entry| {
            if facts.kind == AreaKind::Waiting {
                return if entry.is_present() { Err(MapInconsistency::Mapped(address)) } else { Ok(()) };
            }
            if revealed(entry).is_some() {
                return Err(MapInconsistency::NotClear(address, entry));
            }
            let here = pages_under(&tables, entry, region.level());
            pages += here;
            // The area's first page is there, and no page is absent before the last one.
            let before = (address.get() - region.address_of(own.start()).get()) / PageSize::Size4K.bytes();
            let first = facts.skipped_bytes(region.unit) / PageSize::Size4K.bytes();
            let end = (first + facts.pages).min(before + region.unit.frames());
            if here == end.saturating_sub(first.max(before)) {
                Ok(())
            } else {
                Err(MapInconsistency::Pages(addresses, here))
            }
        })?;
        if facts.kind != AreaKind::Waiting && pages != facts.pages {
            return Err(MapInconsistency::Pages(addresses, pages));
        }
        Ok(())
    }

    /// Checks that the entries of these units are clear.
    fn check_clear(&self, region: &Region<H::Machine>, units: Units) -> Result<(), MapInconsistency> {
        self.for_each_table(region, units, |address, entry| {
            if entry == Entry::EMPTY { Ok(()) } else { Err(MapInconsistency::NotClear(address, entry)) }
        })
    }

    /// Calls `check` with the entry of each of these units above which all tables exist.
    fn for_each_table(
        &self,
        region: &Region<H::Machine>,
        units: Units,
        mut check: impl FnMut(VirtAddr, Entry) -> Result<(), MapInconsistency>,
    ) -> Result<(), MapInconsistency> {
        let tables = self.home.tables();
        let mut at = units.start();
        while at < units.end() {
            let address = region.address_of(at);
            let Some(step) = descend(&tables, self.home.root(), address, region.level()) else { break };
            // The units that one entry spans of the table at which the walk has ended.
            let span = (ENTRIES as u64).pow(u32::from(step.level - region.level()));
            if step.level == region.level() {
                check(address, step.entry)?;
            }
            at = (at / span + 1) * span;
        }
        Ok(())
    }
}

/// Returns how many small pages an entry maps, with all tables below it.
fn pages_under<T: TableMemory>(tables: &T, entry: Entry, level: u8) -> u64 {
    if let Some(size) = entry.page_size(level) {
        return size.frames();
    }
    let Some(table) = entry.child(level) else { return 0 };
    (0..ENTRIES).map(|index| pages_under(tables, tables.read(table, index), level - 1)).sum()
}
