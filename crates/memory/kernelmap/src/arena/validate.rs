//! The check of all structures, in steps, while the arena goes on.

use core::fmt;

use rhumb_machine::{Machine, Pinned};

use super::Arena;
use super::class::{Class, ROWS};
use super::error::ArenaError;
use super::ranges::Ranges;
use super::tag::{State, TagRef};
use super::units::Units;

/// A thing that is wrong in an arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArenaInconsistency {
    /// The walk cannot begin.
    Walk(ArenaError),
    /// A range is empty, or outside of its span.
    Range(Units),
    /// Two neighbours leave a gap, overlap, or do not know each other.
    Neighbours(Units),
    /// Two neighbours are both free.
    Unmerged(Units),
    /// A free range is not in the bin of its size.
    Bin(Units),
    /// The bits of a row of bins do not say which lists there are, or a list begins with a range that is not the bin's.
    Row(usize),
    /// The counts of free units or of ranges differ from a walk during which nothing changed.
    Counts,
    /// The place of a walk is not the range that has the walk's unit.
    Cursors,
    /// A CPU's cache has a range of another size, one that is not the cache's, or one twice.
    Cache(Units),
}

impl From<ArenaError> for ArenaInconsistency {
    fn from(error: ArenaError) -> Self {
        Self::Walk(error)
    }
}

impl fmt::Display for ArenaInconsistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Walk(error) => error.fmt(f),
            Self::Range(range) => write!(f, "the range {range} is empty, or outside of its span"),
            Self::Neighbours(range) => write!(f, "the range {range} and its neighbours do not adjoin"),
            Self::Unmerged(range) => write!(f, "the free range {range} has a free neighbour"),
            Self::Bin(range) => write!(f, "the free range {range} is not in the bin of its size"),
            Self::Row(row) => write!(f, "the bits or the lists of row {row} of the bins are wrong"),
            Self::Counts => f.write_str("the counts of units or ranges are wrong"),
            Self::Cursors => f.write_str("a walk is not at the range that has its unit"),
            Self::Cache(range) => write!(f, "the range {range} does not belong in its CPU's cache"),
        }
    }
}

impl core::error::Error for ArenaInconsistency {}

impl<M: Machine> Arena<M> {
    /// Checks every structure while the arena goes on. This CPU's cache is checked, too; other CPUs' are not, because
    /// only they may look at them.
    ///
    /// # Errors
    /// The first inconsistency.
    ///
    /// Cost: a hold of the lock for each 16 ranges, and for each row of bins; then a stretch with interrupts off in which
    /// each range that this CPU keeps is compared with those of its size.
    pub fn validate(&self, pinned: Pinned<'_>) -> Result<(), ArenaInconsistency> {
        let changes = self.lock().changes;
        let (mut free_units, mut out) = (0, 0);
        self.check_each(|ranges, tag| {
            check_range(ranges, tag)?;
            if tag.is_free() {
                free_units += tag.units()
            } else {
                out += 1
            }
            Ok::<_, ArenaInconsistency>(())
        })?;
        {
            let ranges = self.lock();
            if ranges.total_units != ranges.spans.iter().map(|span| span.range.count()).sum() {
                return Err(ArenaInconsistency::Counts);
            }
            if !ranges.cursors.agree() {
                return Err(ArenaInconsistency::Cursors);
            }
            let is_same = (free_units, out) == (ranges.free_units, ranges.out);
            if !is_same && ranges.changes == changes {
                return Err(ArenaInconsistency::Counts);
            }
        }
        for row in 0..ROWS {
            if !self.lock().bins.row_agrees(row) {
                return Err(ArenaInconsistency::Row(row));
            }
        }
        self.check_cache(pinned)
    }

    fn check_cache(&self, pinned: Pinned<'_>) -> Result<(), ArenaInconsistency> {
        let Some(cache) = self.cache(self.cpu(pinned)) else { return Ok(()) };
        let _guard = self.machine().irq_off();
        if cache.gate.is_busy() {
            return Ok(());
        }
        let mut kept_units = 0;
        for (units, tag) in cache.kept() {
            if tag.units() != units || tag.state() != State::Kept || cache.times_kept(units, tag) != 1 {
                return Err(ArenaInconsistency::Cache(tag.range()));
            }
            kept_units += units;
        }
        let is_listed = kept_units == 0 || self.keepers.contains(self.cpu(pinned));
        if u64::from(cache.units()) == kept_units && is_listed {
            Ok(())
        } else {
            Err(ArenaInconsistency::Counts)
        }
    }
}

/// Checks a range, its neighbours, and its place in a bin, the lock being held.
fn check_range(ranges: &Ranges, tag: TagRef) -> Result<(), ArenaInconsistency> {
    let range = tag.range();
    let span = ranges.spans.get(tag.span()).ok_or(ArenaInconsistency::Range(range))?;
    let is_inside = span.range.start() <= range.start() && range.end() <= span.range.end();
    if range.count() == 0 || !is_inside {
        return Err(ArenaInconsistency::Range(range));
    }
    let (prev, next) = (tag.by_address.prev(), tag.by_address.next());
    let adjoins_prev = match prev {
        None => span.first == tag && span.range.start() == range.start(),
        Some(prev) => span.first != tag && prev.by_address.next() == Some(tag) && prev.end() == range.start(),
    };
    let adjoins_next = match next {
        None => span.range.end() == range.end(),
        Some(next) => {
            next.start() == range.end() && next.by_address.prev() == Some(tag) && next.span() == tag.span()
        }
    };
    if !adjoins_prev || !adjoins_next {
        return Err(ArenaInconsistency::Neighbours(range));
    }
    if !tag.is_free() {
        return Ok(());
    }
    if next.is_some_and(|next| next.is_free()) {
        return Err(ArenaInconsistency::Unmerged(range));
    }
    let class = Class::of(range.count());
    let is_of_bin = |tag: TagRef| tag.is_free() && Class::of(tag.units()) == class;
    let is_behind = match tag.in_bin.prev() {
        None => ranges.bins.head(class) == Some(tag),
        Some(prev) => {
            prev.in_bin.next() == Some(tag) && is_of_bin(prev) && ranges.bins.head(class) != Some(tag)
        }
    };
    let is_before = tag.in_bin.next().is_none_or(|next| next.in_bin.prev() == Some(tag) && is_of_bin(next));
    if is_behind && is_before { Ok(()) } else { Err(ArenaInconsistency::Bin(range)) }
}
