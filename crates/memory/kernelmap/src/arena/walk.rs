//! Walks through all ranges for reports, in steps: the lock is held for [`STEP`] ranges at a time.
//!
//! Between two steps the arena goes on. A *cursor* of the arena keeps the place of a walk meanwhile: where the range at
//! the place is merged into a neighbour, the cursor moves on to the next one. So a walk sees each range that is out
//! through all of it exactly once; ranges that come and go meanwhile may be missed.
//!
//! Why not mark the range at which a walk is, and keep its tag: a free that merges the range away could not put the tag
//! into the stock.

use core::ops::ControlFlow;

use arrayvec::ArrayVec;
use rhumb_machine::Machine;

use super::Arena;
use super::cursor::Place;
use super::error::ArenaError;
use super::ranges::Ranges;
use super::tag::{State, TagRef};
use super::units::Units;

/// Ranges that are visited under one hold of the lock.
pub(super) const STEP: usize = 16;

/// A range as a walk shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RangeReport {
    /// The range.
    pub range: Units,
    /// Where it is.
    pub place: RangePlace,
    /// The word of its holder, where it is held.
    pub word: u64,
}

/// Where a range is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RangePlace {
    /// In the arena, for any request.
    Free,
    /// With a holder.
    Held,
    /// In a CPU's cache.
    Kept,
}

impl RangeReport {
    fn of(tag: TagRef) -> Self {
        let place = match tag.state() {
            State::Free => RangePlace::Free,
            State::Held => RangePlace::Held,
            State::Kept => RangePlace::Kept,
        };
        let word = if place == RangePlace::Held { tag.word() } else { 0 };
        Self { range: tag.range(), place, word }
    }

    /// Returns the part of the range that lies at `passed` or behind. A free range may have grown over units that the
    /// walk has passed; its other units are reported. A range that begins among the passed units and is out was taken
    /// meanwhile, and is missed.
    fn behind(self, passed: u64) -> Option<Self> {
        let Self { range, place, .. } = self;
        if range.start() >= passed {
            return Some(self);
        }
        let rest = range.end().checked_sub(passed).filter(|&rest| rest > 0 && place == RangePlace::Free)?;
        Some(Self { range: Units::of_length(passed, rest)?, ..self })
    }
}

/// A walk under way.
struct Walk<'arena, M: Machine + 'static> {
    arena: &'arena Arena<M>,
    cursor: usize,
}

impl<M: Machine> Walk<'_, M> {
    /// Visits the next ranges with the lock held, and tells whether there are more.
    fn step(&self, mut visit: impl FnMut(&Ranges, TagRef)) -> bool {
        let mut ranges = self.arena.lock();
        for _ in 0..STEP {
            let tag = match ranges.cursors.place(self.cursor) {
                Some(Place::At(tag)) => Some(tag),
                Some(Place::Span(span)) => ranges.spans.get(span).map(|span| span.first),
                None => None,
            };
            let Some(tag) = tag else { return false };
            visit(&ranges, tag);
            ranges.cursors.set_place(self.cursor, Place::behind(tag));
        }
        true
    }
}

impl<M: Machine> Drop for Walk<'_, M> {
    fn drop(&mut self) {
        self.arena.lock().cursors.end(self.cursor);
    }
}

impl<M: Machine> Arena<M> {
    fn walk(&self, span: usize) -> Result<Walk<'_, M>, ArenaError> {
        let cursor = self.lock().cursors.begin(span).ok_or(ArenaError::TooManyWalks)?;
        Ok(Walk { arena: self, cursor })
    }

    /// Calls `visit` with each range, free or out: the spans in the order in which they were added, and the ranges of a
    /// span by ascending addresses. No unit is shown twice, and no lock is held while `visit` runs. A range that is out
    /// from the first call to the last is shown exactly once. A range that comes or goes meanwhile may be missed. Of a
    /// free range that has grown over units that were shown, the other units are shown.
    ///
    /// # Errors
    /// [`ArenaError::TooManyWalks`]; nothing was visited then.
    ///
    /// Cost: a hold of the lock for each 16 ranges.
    pub fn for_each(&self, mut visit: impl FnMut(RangeReport) -> ControlFlow<()>) -> Result<(), ArenaError> {
        let walk = self.walk(0)?;
        let (mut span, mut passed) = (0, 0);
        loop {
            let mut seen = ArrayVec::<RangeReport, STEP>::new();
            let is_more = walk.step(|_, tag| {
                if tag.span() != span {
                    (span, passed) = (tag.span(), 0);
                }
                let report = RangeReport::of(tag).behind(passed);
                passed = passed.max(tag.range().end());
                seen.extend(report);
            });
            if seen.into_iter().try_for_each(&mut visit).is_break() || !is_more {
                return Ok(());
            }
        }
    }

    /// Calls `check` with each range while the lock is held.
    ///
    /// # Errors
    /// The first of `check`, which ends the walk.
    pub(super) fn check_each<E: From<ArenaError>>(
        &self,
        mut check: impl FnMut(&Ranges, TagRef) -> Result<(), E>,
    ) -> Result<(), E> {
        let walk = self.walk(0)?;
        loop {
            let mut result = Ok(());
            let is_more = walk.step(|ranges, tag| {
                if result.is_ok() {
                    result = check(ranges, tag);
                }
            });
            if result.is_err() || !is_more {
                return result;
            }
        }
    }

    /// Returns the range that has a unit; `None` where no span has the unit. For reports, because it walks through the
    /// span.
    ///
    /// # Errors
    /// [`ArenaError::TooManyWalks`].
    ///
    /// Cost: a hold of the lock for each 16 ranges below it in its span.
    pub fn find(&self, unit: u64) -> Result<Option<RangeReport>, ArenaError> {
        let span = self.lock().spans.iter().position(|span| span.range.contains(unit));
        let Some(span) = span else { return Ok(None) };
        let walk = self.walk(span)?;
        let mut found = None;
        loop {
            let mut is_past = false;
            let is_more = walk.step(|_, tag| {
                is_past |= tag.span() != span || tag.start() > unit;
                if tag.range().contains(unit) {
                    found = Some(RangeReport::of(tag));
                }
            });
            if found.is_some() || is_past || !is_more {
                return Ok(found);
            }
        }
    }
}
