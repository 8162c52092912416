//! The interface of a range allocator that takes part.

use rhumb_machine::Pinned;

use crate::driver::{Better, Sample, Unfit};
use crate::slab::Place;

/// The first unit, and how many there are: 8 TiB where a unit is 2 MiB.
pub(super) const FIRST: u64 = 1 << 22;
pub(super) const UNITS: u64 = 1 << 22;

/// A request: how many units, and the alignment of the first, a power of two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Request {
    pub(super) units: u32,
    pub(super) align: u32,
}

/// A range allocator as the workloads see it. All CPUs use one value of it at once.
pub(super) trait RangeSubject: Sized + Sync + 'static {
    /// Its name in table and file.
    const NAME: &'static str;

    /// The thing that it hands out.
    type Range: Send;

    /// Returns an allocator with all units free.
    fn fresh(place: &Place) -> Result<Self, Unfit>;

    /// Returns a range, or `None`.
    fn get(&self, pinned: Pinned<'_>, request: Request) -> Option<Self::Range>;

    /// Gives a range back.
    fn put(&self, pinned: Pinned<'_>, range: Self::Range);

    /// Returns the first unit of a range that was asked for with this request.
    fn first(&self, range: &Self::Range, request: Request) -> u64;
}

/// The faults that were seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Faults {
    /// Requests without a range.
    pub(super) failed: u64,
    /// Ranges that overlap another, are not aligned, or are outside of the units.
    pub(super) wrong: u64,
}

impl Faults {
    /// Returns the faults as samples, which are rows of the table where they are not zero.
    pub(super) fn samples(self) -> [Sample; 2] {
        [
            Sample::count("failed", "ranges", Better::Lower, self.failed),
            Sample::count("wrong", "ranges", Better::Lower, self.wrong),
        ]
    }
}

/// A live range as the check sees it.
pub(super) type Seen = (u64, Request);

/// Returns how many of the live ranges of all CPUs are not what was asked for, or not their holder's alone.
pub(super) fn wrong(mut seen: Vec<Seen>) -> u64 {
    seen.sort_unstable_by_key(|&(first, _)| first);
    let mut end = FIRST;
    let mut wrong = 0;
    for (first, request) in seen {
        let next = first + u64::from(request.units);
        let is_right =
            first >= end && next <= FIRST + UNITS && first.is_multiple_of(u64::from(request.align));
        wrong += u64::from(!is_right);
        end = end.max(next);
    }
    wrong
}
