//! [`Cursors`]: the places of the walks that are under way, kept by the arena while it changes.

use super::tag::TagRef;

/// Walks that can be under way at once.
const MOST_WALKS: usize = 4;

/// Where a walk goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    At(TagRef),
    /// The first range of this span, where there is such a span.
    Span(usize),
}

impl Place {
    /// Returns the place behind a range.
    pub(super) fn behind(tag: TagRef) -> Self {
        tag.by_address.next().map_or(Self::Span(tag.span() + 1), Self::At)
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

    /// Moves on the walks that are at the range of `tag`, which is about to end. The tag has left the list, but its
    /// links still name its former neighbours.
    #[inline]
    pub(super) fn move_off(&mut self, tag: TagRef) {
        if self.count == 0 {
            return;
        }
        for place in &mut self.places {
            if *place == Some(Place::At(tag)) {
                *place = Some(Place::behind(tag));
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
}
