//! Walks through all ranges for reports, in steps: the lock is held for [`STEP`] ranges at a time.
//!
//! Between two steps the arena goes on. A *cursor* of the arena keeps the place of a walk meanwhile: the first unit that
//! the walk has not come to, and the range that has it. So a walk comes to each unit, and sees each range that is out
//! through all of it exactly once; a range that was taken meanwhile, and begins before the place, is missed.
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

    /// Returns the part of the range that lies at `from` or behind. A free range may have grown over units that the walk
    /// has passed; its other units are reported. A range that begins among the passed units and is out was taken
    /// meanwhile, and is missed.
    fn behind(self, from: u64) -> Option<Self> {
        let Self { range, place, .. } = self;
        if range.start() >= from {
            return Some(self);
        }
        let rest = range.end().checked_sub(from).filter(|&rest| rest > 0 && place == RangePlace::Free)?;
        Some(Self { range: Units::of_length(from, rest)?, ..self })
    }
}

/// A walk under way.
struct Walk<'arena, M: Machine + 'static> {
    arena: &'arena Arena<M>,
    cursor: usize,
}

impl<M: Machine> Walk<'_, M> {
    /// Visits the next ranges with the lock held, each with the unit from which on the walk has not seen it, and tells
    /// whether there are more.
    fn step(&self, mut visit: impl FnMut(&Ranges, TagRef, u64)) -> bool {
        let mut ranges = self.arena.lock();
        for _ in 0..STEP {
            let at = match ranges.cursors.place(self.cursor) {
                Some(Place::At { from, tag }) => Some((tag, from)),
                Some(Place::Span(span)) => {
                    ranges.spans.get(span).map(|span| (span.first, span.range.start()))
                }
                None => None,
            };
            let Some((tag, from)) = at else { return false };
            visit(&ranges, tag, from);
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
    /// from the first call to the last is shown exactly once. Of a free range that has grown over units that were shown,
    /// the other units are shown. A range that was taken out of such a free range, and begins in units that were shown, is
    /// missed.
    ///
    /// # Errors
    /// [`ArenaError::TooManyWalks`]; nothing was visited then.
    ///
    /// Cost: a hold of the lock for each 16 ranges.
    pub fn for_each(&self, mut visit: impl FnMut(RangeReport) -> ControlFlow<()>) -> Result<(), ArenaError> {
        let walk = self.walk(0)?;
        loop {
            let mut seen = ArrayVec::<RangeReport, STEP>::new();
            let is_more = walk.step(|_, tag, from| seen.extend(RangeReport::of(tag).behind(from)));
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
            let is_more = walk.step(|ranges, tag, _| {
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
            let is_more = walk.step(|_, tag, _| {
                if tag.range().contains(unit) {
                    found = Some(RangeReport::of(tag));
                }
            });
            if found.is_some() || !is_more {
                return Ok(found);
            }
        }
    }

    /// Changes the word of the range that has a unit, where the range is held and `update` has a word for it. The lock
    /// is held meanwhile, so that the record is that of a range. Returns the address of its record, as
    /// [`HeldRange::into_address`](super::HeldRange::into_address) does.
    ///
    /// # Errors
    /// [`ArenaError::TooManyWalks`].
    ///
    /// Cost: as [`Arena::find`].
    pub(crate) fn update_at(
        &self,
        unit: u64,
        mut update: impl FnMut(u64) -> Option<u64>,
    ) -> Result<Option<u64>, ArenaError> {
        let span = self.lock().spans.iter().position(|span| span.range.contains(unit));
        let Some(span) = span else { return Ok(None) };
        let walk = self.walk(span)?;
        let (mut is_found, mut updated) = (false, None);
        loop {
            let is_more = walk.step(|_, tag, _| {
                if !is_found && tag.range().contains(unit) {
                    is_found = true;
                    if tag.state() == State::Held && tag.update_word(&mut update).is_ok() {
                        updated = Some(tag.address());
                    }
                }
            });
            if is_found || !is_more {
                return Ok(updated);
            }
        }
    }
}
