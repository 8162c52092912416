//! Lists of areas, and the map's figures.

use core::ops::ControlFlow;

use rhumb_frames::Owner;
use rhumb_machine::{PageSize, VirtAddr, VirtRange};

use rhumb_sync::atomic::Relaxed;

use super::KernelMap;
use super::area::{AreaKind, Facts};
use super::home::Home;
use super::region::Region;
use super::waiting::without_guard;
use crate::arena::{ArenaError, RangePlace};

/// An area as a list shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AreaReport {
    /// Its addresses, from its first page to its last.
    pub range: VirtRange,
    /// Its use.
    pub kind: AreaKind,
    /// Its owner.
    pub owner: Owner,
    /// Whether its frames may be exchanged for those of another node.
    pub is_movable: bool,
}

/// The figures of a map.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct KernelMapReport {
    /// Bytes of addresses.
    pub total_bytes: u64,
    /// Bytes of addresses that are free, or that CPUs keep for themselves.
    pub free_bytes: u64,
    /// Those that CPUs keep.
    pub kept_bytes: u64,
    /// Areas that wait for a flush.
    pub waiting_areas: u64,
    /// Pages of these areas.
    pub waiting_pages: u64,
    /// Full flushes so far.
    pub full_flushes: u64,
    /// Tables above areas: they stay.
    pub upper_tables: u64,
    /// Pages of 4 KiB whose frames were exchanged for others.
    pub moved_pages: u64,
    /// Writes that came to a page while it moved.
    pub writes_to_moving: u64,
}

impl<H: Home> KernelMap<H> {
    /// Calls `visit` with each area: those that are held, and those that wait for a flush. An area that comes or goes
    /// meanwhile may be missed.
    ///
    /// # Errors
    /// [`ArenaError::TooManyWalks`].
    ///
    /// Cost: a hold of the lock for each 16 ranges.
    pub fn for_each_area(
        &self,
        mut visit: impl FnMut(AreaReport) -> ControlFlow<()>,
    ) -> Result<(), ArenaError> {
        for region in &self.regions {
            let mut flow = ControlFlow::Continue(());
            region.arena.for_each(|range| {
                if range.place == RangePlace::Held
                    && let Some(facts) = Facts::unpack(range.word)
                    && let Some(report) = report(region, without_guard(range.range).start(), facts)
                {
                    flow = visit(report);
                }
                flow
            })?;
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Returns the figures.
    ///
    /// Cost: a hold of each arena's lock, and of the ring of each CPU with which areas wait.
    pub fn report(&self) -> KernelMapReport {
        let (waiting_areas, waiting_pages) = self.waiting();
        let mut sum = KernelMapReport {
            waiting_areas,
            waiting_pages,
            full_flushes: self.flushes.begun(),
            upper_tables: self.upper_tables.load(Relaxed),
            moved_pages: self.moves.pages(),
            writes_to_moving: self.moves.writes(),
            ..KernelMapReport::default()
        };
        for region in &self.regions {
            let arena = region.arena.report();
            sum.total_bytes += arena.total_units << region.unit.shift();
            sum.free_bytes += (arena.free_units + arena.kept_units) << region.unit.shift();
            sum.kept_bytes += arena.kept_units << region.unit.shift();
        }
        sum
    }

    /// Returns the addresses of each region, and the size of its units.
    pub fn regions(&self) -> impl Iterator<Item = (VirtRange, PageSize)> + '_ {
        self.regions.iter().map(|region| (region.addresses, region.unit))
    }

    /// Tells whether the map hands out this address.
    pub fn contains(&self, address: VirtAddr) -> bool {
        self.regions.iter().any(|region| region.addresses.contains(address))
    }
}

fn report<M: rhumb_machine::Machine>(
    region: &Region<M>,
    first_unit: u64,
    facts: Facts,
) -> Option<AreaReport> {
    let bytes = facts.pages * PageSize::Size4K.bytes();
    let start = region.address_of(first_unit).plus(facts.skipped_bytes(region.unit));
    let range = VirtRange::of_length(start, bytes)?;
    Some(AreaReport { range, kind: facts.kind, owner: facts.owner, is_movable: facts.is_movable })
}
