//! [`Cursors`]: the places of the walks that are under way, kept by the arena while it changes.
//!
//! The place of a walk is a unit, the first that the walk has not come to, and the range that has the unit:
//!
//! ```text
//!   span:   | shown | shown |  a  |  b  |       the place: a, from its first unit on
//!   span:   | shown |    merged   |  b  |       the place: the merged range, from the same unit on
//! ```
//! Whenever the lock is free, **the range at a walk's place has the walk's unit.** A merge moves the place to
//! the merged range, and a division to the piece that has the unit. So a walk comes to every unit of a span, whatever
//! merges under it; and since the unit only grows, the walk ends.

use super::tag::TagRef;

/// Walks that can be under way at once.
const MOST_WALKS: usize = 4;

/// Where a walk goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// This unit, and the range that has it.
    At { from: u64, tag: TagRef },
    /// The first range of this span, where there is such a span.
    Span(usize),
}

impl Place {
    /// Returns the place behind a range.
    pub(super) fn behind(tag: TagRef) -> Self {
        match tag.by_address.next() {
            Some(next) => Self::At { from: next.start(), tag: next },
            None => Self::Span(tag.span() + 1),
        }
    }

    fn agrees(self) -> bool {
        match self {
            Self::At { from, tag } => tag.range().contains(from),
            Self::Span(_) => true,
        }
    }
}

/// The places of the walks that are under way.
#[derive(Debug)]
pub(super) struct Cursors {
    /// Walks that are under way.
    count: usize,
    places: [Option<Place>; MOST_WALKS],
}

impl Cursors {
    pub(super) const NONE: Self = Self { count: 0, places: [None; MOST_WALKS] };

    /// Moves the walks that are at a range to the one that it was merged into.
    #[inline]
    pub(super) fn merged(&mut self, gone: TagRef, into: TagRef) {
        if self.count > 0 {
            self.move_each(gone, |_| into);
        }
    }

    /// Moves the walks that are at a free range to the piece that has their unit. The range was divided into up to three
    /// pieces, the lowest of which is given.
    #[inline]
    pub(super) fn divided(&mut self, free: TagRef, lowest: TagRef) {
        if self.count > 0 {
            self.move_each(free, |from| {
                let pieces = core::iter::successors(Some(lowest), |piece| piece.by_address.next()).take(3);
                pieces.into_iter().find(|piece| piece.range().contains(from)).unwrap_or(free)
            });
        }
    }

    fn move_each(&mut self, old: TagRef, new: impl Fn(u64) -> TagRef) {
        for place in self.places.iter_mut().flatten() {
            if let Place::At { from, tag } = place
                && *tag == old
            {
                *tag = new(*from);
            }
        }
    }

    /// Begins a walk at a span, and returns its number; `None` where there are as many walks as there can be.
    pub(super) fn begin(&mut self, span: usize) -> Option<usize> {
        let free = self.places.iter().position(Option::is_none)?;
        self.places[free] = Some(Place::Span(span));
        self.count += 1;
        Some(free)
    }

    /// Returns where a walk goes on.
    pub(super) fn place(&self, walk: usize) -> Option<Place> {
        *self.places.get(walk)?
    }

    /// Sets where a walk goes on.
    pub(super) fn set_place(&mut self, walk: usize, place: Place) {
        if let Some(at) = self.places.get_mut(walk) {
            *at = Some(place);
        }
    }

    /// Ends a walk.
    pub(super) fn end(&mut self, walk: usize) {
        let ended = self.places.get_mut(walk).and_then(Option::take);
        self.count -= usize::from(ended.is_some());
    }

    /// Tells whether each walk is at the range that has its unit, and whether as many are counted as there are.
    pub(super) fn agree(&self) -> bool {
        let mut places = self.places.iter().flatten();
        places.clone().count() == self.count && places.all(|place| place.agrees())
    }
}
