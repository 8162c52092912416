//! The figures of pageable memory.

use core::ops::ControlFlow;

use rhumb_frames::Owner;
use rhumb_kernelmap::AreaKind;
use rhumb_kernelmap::arena::ArenaError;
use rhumb_machine::VirtRange;
use rhumb_sync::atomic::Relaxed;

use crate::counters::Counters;
use crate::entry::{Present, State};
use crate::home::PageHome;
use crate::pageable::{Pageable, addresses};
use crate::store::Store;

/// The figures of all pageable memory, by the names that `/proc/vmstat` has for the counts.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PageableReport {
    /// Pages in memory.
    pub resident: u64,
    /// Pages whose contents the store has.
    pub out: u64,
    /// Faults so far for which a page was zeroed or paged in.
    pub pgfault: u64,
    /// Of these, faults for which a page was paged in: it had been paged out, and was needed again.
    pub pgmajfault: u64,
    /// Pages paged in so far.
    pub pswpin: u64,
    /// Pages paged out so far.
    pub pswpout: u64,
    /// Pages that were looked at so far, to be paged out.
    pub pgscan: u64,
}

impl PageableReport {
    /// Returns each count with its name.
    pub const fn lines(&self) -> [(&'static str, u64); 5] {
        [
            ("pgfault", self.pgfault),
            ("pgmajfault", self.pgmajfault),
            ("pgscan", self.pgscan),
            ("pswpin", self.pswpin),
            ("pswpout", self.pswpout),
        ]
    }
}

/// The pages of an area, by their state.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AreaPages {
    /// In memory.
    pub resident: u64,
    /// Of these, pinned.
    pub pinned: u64,
    /// In the store.
    pub out: u64,
    /// Not touched yet.
    pub untouched: u64,
    /// On their way.
    pub busy: u64,
}

impl<H: PageHome + 'static, S: Store> Pageable<H, S> {
    /// Returns the figures.
    pub fn report(&self) -> PageableReport {
        let Counters { resident, out, zeroed, paged_in, paged_out, scanned } = &self.counters;
        let paged_in = paged_in.load(Relaxed);
        PageableReport {
            resident: resident.load(Relaxed),
            out: out.load(Relaxed),
            pgfault: zeroed.load(Relaxed) + paged_in,
            pgmajfault: paged_in,
            pswpin: paged_in,
            pswpout: paged_out.load(Relaxed),
            pgscan: scanned.load(Relaxed),
        }
    }

    /// Calls `visit` with each area, its owner and its pages. An area that comes or goes meanwhile may be missed.
    ///
    /// # Errors
    /// [`ArenaError::TooManyWalks`].
    pub fn for_each_area(
        &self,
        mut visit: impl FnMut(VirtRange, Owner, AreaPages) -> ControlFlow<()>,
    ) -> Result<(), ArenaError> {
        self.map.for_each_area(|area| match area.kind {
            AreaKind::Pageable => visit(area.range, area.owner, self.pages_of(area.range)),
            _ => ControlFlow::Continue(()),
        })
    }

    /// Counts the pages of a range by their state.
    ///
    /// Cost: a walk for each page.
    pub fn pages_of(&self, range: VirtRange) -> AreaPages {
        let mut pages = AreaPages::default();
        for address in addresses(range) {
            match self.state(address) {
                State::Present(Present { pins, .. }) => {
                    pages.resident += 1;
                    pages.pinned += u64::from(pins > 0);
                }
                State::Out(_) => pages.out += 1,
                State::Untouched => pages.untouched += 1,
                State::Busy => pages.busy += 1,
                State::Foreign => {}
            }
        }
        pages
    }
}
