//! Areas that were mapped before there was a map: boot's stacks and devices.
//!
//! Boot needs addresses before it has an allocator of them. It maps at addresses of the map to come, and the map takes
//! them over: from then on one allocator knows of all that is mapped there.

use rhumb_frames::Owner;
use rhumb_machine::{PageSize, Pinned, VirtRange, impossible};
use rhumb_pagetable::descend;

use super::KernelMap;
use super::area::{Area, AreaKind};
use super::error::AreaError;
use super::home::Home;
use super::region::GUARD_UNITS;
use crate::arena::{Fit, MOST_UNITS, RangePlace, RangeReport, Units};

impl<H: Home> KernelMap<H> {
    /// Takes over the pages that are mapped at `range`, as an area that the map might have made: whole pages in the
    /// addresses for areas of their number, an absent unit below, and nothing in the rest of the last unit. From now on
    /// the addresses are the area's.
    ///
    /// # Errors
    /// [`AreaError::NotAdoptable`] where the tables say otherwise, or an area of the map is there already; else the
    /// errors of an allocation. Nothing has changed then.
    ///
    /// Cost: a hold of the lock, and a read of each entry of the area.
    ///
    /// # Safety
    /// The pages are the caller's, and not executable; a device's are uncached or write-combining. The area is given
    /// back to the map only if its tables below the entries of units came from [`Home::take_table`] and, where it is
    /// memory, each of its pages from [`Home::alloc`].
    #[expect(unsafe_code, reason = "makes a handle of addresses")]
    pub unsafe fn adopt(
        &self,
        pinned: Pinned<'_>,
        range: VirtRange,
        kind: AreaKind,
        owner: Owner,
    ) -> Result<Area, AreaError> {
        let refusal = AreaError::NotAdoptable(range);
        let pages = range.bytes() / PageSize::Size4K.bytes();
        let region = self.region_for(pages)?;
        let (unit, start) = (region.unit, range.start());
        // An area begins at a page of the next smaller size, as a device's does in a large unit.
        let is_placed = region.addresses.covers(range)
            && start.is_aligned(unit.smaller().unwrap_or(unit))
            && range.end().is_aligned(PageSize::Size4K);
        if !matches!(kind, AreaKind::Memory | AreaKind::Device) || range.is_empty() || !is_placed {
            return Err(refusal);
        }
        let first = start.get() >> unit.shift();
        let own = (start.offset_in(unit) + range.bytes()).div_ceil(unit.bytes());
        let all = first.checked_sub(GUARD_UNITS).and_then(|guard| Units::of_length(guard, GUARD_UNITS + own));
        let all = all.ok_or(refusal)?;
        // An arena has no more units than that, so one place alone is this far from a multiple of so many.
        let there = Fit::new(all.count()).and_then(|fit| fit.aligned(MOST_UNITS, all.start() % MOST_UNITS));
        let there = there.map_err(|_| refusal)?;

        let step = descend(&self.home.tables(), self.home.root(), start, region.level());
        let table = step.filter(|step| step.level == region.level()).ok_or(refusal)?.table;

        let is_charged = kind == AreaKind::Memory && self.accounts.charge(owner, pages)?;
        let mut area = match self.take_addresses(pinned, region, there, pages) {
            Ok(held) => Area {
                held,
                start,
                pages,
                owner,
                level: region.level(),
                kind,
                is_charged,
                is_movable: false,
                table,
            },
            Err(error) => {
                if is_charged {
                    self.accounts.uncharge(owner, pages);
                }
                return Err(if matches!(error, AreaError::NoAddresses(_)) { refusal } else { error });
            }
        };
        let word = area.facts().pack();
        let report = RangeReport { range: area.held.range(), word, place: RangePlace::Held };
        if report.range == all && self.check_range(region, report).is_ok() {
            area.held.set_word(word);
            return Ok(area);
        }
        self.uncharge(&area);
        if region.arena.free(pinned, area.held).is_err() {
            impossible!("the range was taken from this arena");
        }
        Err(refusal)
    }
}
