//! [`Ranges`]: all ranges of an arena, free or out, under its lock: dividing a free range, merging freed ones.
//!
//! ```text
//!   span:   | free | held | held |     free     | kept |       a tag for each, in the order of addresses
//!                                 alloc  v
//!   span:   | free | held | held | held | free  | kept |       one tag more
//!                            free v
//!   span:   | free | held |        free         | ...          one tag less: neighbours merge at once
//! ```
//! Whenever the lock is free:
//! 1. The tags of a span cover it without gap or overlap.
//! 2. No two neighbours are both free, so that a free range is as large as it can be.
//! 3. Each free range is in the bin of its size, and no other range is in a bin.
//! 4. The place of each walk is the range that has the walk's unit ([`super::cursor`]).
//! 5. A tag that a merge has freed is in the stock, or on its way to the slab allocator. So a free allocates nothing,
//!    and cannot fail.
//!
//! Each operation is a constant number of steps: an allocation looks at [`EAGER`] + [`LAST`] free ranges at most.

use arrayvec::ArrayVec;

use super::bins::Bins;
use super::class::Class;
use super::cursor::Cursors;
use super::error::ArenaError;
use super::stock::{Chain, Stock};
use super::tag::{State, TagRef};
use super::units::{Fit, MOST_UNITS, Units};

/// Spans of an arena, at most.
pub const MOST_SPANS: usize = 16;

/// Ranges of the request's own class that an aligned request looks at first: one of them may serve it, where the
/// smallest range that certainly does is larger by the alignment.
const EAGER: usize = 2;

/// Ranges that a request looks at before it fails, from its own class on.
const LAST: usize = 64;

/// The thing that an allocation lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lack {
    Range,
    /// Spare tags: the stock must have this many.
    Tags(usize),
}

/// A span, and the tag of its lowest range.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) range: Units,
    pub(super) first: TagRef,
}

/// The ranges of an arena. See the module.
pub(super) struct Ranges {
    pub(super) bins: &'static mut Bins,
    pub(super) spans: ArrayVec<Span, MOST_SPANS>,
    pub(super) stock: Stock,
    pub(super) cursors: Cursors,
    pub(super) total_units: u64,
    pub(super) free_units: u64,
    /// Ranges that are held or in a CPU's cache.
    pub(super) out: u64,
    /// How often ranges have been divided or merged.
    pub(super) changes: u64,
}

impl Ranges {
    pub(super) fn new(bins: &'static mut Bins) -> Self {
        Self {
            bins,
            spans: ArrayVec::new(),
            stock: Stock::EMPTY,
            cursors: Cursors::NONE,
            total_units: 0,
            free_units: 0,
            out: 0,
            changes: 0,
        }
    }

    /// Adds a span, wholly free. Takes one tag out of the stock.
    pub(super) fn add_span(&mut self, range: Units) -> Result<(), ArenaError> {
        let fits = range.count() > 0
            && range.count() <= MOST_UNITS - self.total_units
            && !self.spans.is_full()
            && !self.spans.iter().any(|span| span.range.overlaps(range));
        let tag = fits.then(|| self.stock.pop()).flatten().ok_or(ArenaError::BadSpan)?;
        tag.set_range(range.start(), range.count());
        tag.set_span(self.spans.len());
        tag.by_address.set_prev(None);
        tag.by_address.set_next(None);
        self.spans.push(Span { range, first: tag });
        self.total_units += range.count();
        self.free_units += range.count();
        self.changes += 1;
        self.bins.insert(tag);
        Ok(())
    }

    /// Takes a free range for a request, in `state` from then on.
    pub(super) fn take(&mut self, fit: Fit, state: State) -> Result<TagRef, Lack> {
        let (free, start) = self.find(fit).ok_or(Lack::Range)?;
        let (lead, tail) = (start - free.start(), free.end() - start - fit.units());
        let needed = usize::from(lead > 0) + usize::from(tail > 0);
        if self.stock.count() < needed {
            return Err(Lack::Tags(needed));
        }
        let taken = self.divide(free, lead, fit.units(), tail).ok_or(Lack::Tags(needed))?;
        self.cursors.divided(free, if lead > 0 { free } else { taken });
        taken.set_word(0);
        taken.set_state(state);
        self.free_units -= fit.units();
        self.out += 1;
        self.changes += 1;
        Ok(taken)
    }

    /// Returns a free range that has room for the request, and the unit at which the request begins in it.
    #[inline]
    fn find(&self, fit: Fit) -> Option<(TagRef, u64)> {
        if !fit.is_anywhere()
            && let Some(found) = self.look(fit, Class::of(fit.units()), EAGER)
        {
            return Some(found);
        }
        // All ranges of this class and of the later ones have room for the request.
        let certain = Class::at_least(fit.units_at_worst()).and_then(|class| self.bins.first_from(class));
        if let Some(tag) = certain.and_then(|class| self.bins.head(class)) {
            return fit.place_in(tag.range()).map(|start| (tag, start));
        }
        self.look(fit, Class::of(fit.units()), LAST)
    }

    /// Looks at up to `most` free ranges, from the first of a class on, for a place.
    #[inline(never)]
    fn look(&self, fit: Fit, class: Class, most: usize) -> Option<(TagRef, u64)> {
        let mut class = self.bins.first_from(class)?;
        let mut next = self.bins.head(class);
        for _ in 0..most {
            let Some(tag) = next else { break };
            if let Some(start) = fit.place_in(tag.range()) {
                return Some((tag, start));
            }
            next = tag.in_bin.next();
            if next.is_none() {
                class = self.bins.first_from(Bins::after(class)?)?;
                next = self.bins.head(class);
            }
        }
        None
    }

    /// Divides a free range into `lead` units that stay free, `units` that are taken, and `tail` that stay free.
    #[inline]
    fn divide(&mut self, free: TagRef, lead: u64, units: u64, tail: u64) -> Option<TagRef> {
        let start = free.start() + lead;
        match (lead > 0, tail > 0) {
            (false, false) => {
                self.bins.remove(free);
                Some(free)
            }
            (false, true) => {
                // The rest keeps its tag and, as a rule, its place in its bin.
                let taken = self.stock.pop()?;
                self.link_before(taken, free);
                self.bins.resize(free, start + units, tail);
                taken.set_range(start, units);
                Some(taken)
            }
            (true, has_tail) => {
                let taken = self.stock.pop()?;
                self.link_after(taken, free);
                self.bins.resize(free, free.start(), lead);
                taken.set_range(start, units);
                if has_tail {
                    let rest = self.stock.pop()?;
                    self.link_after(rest, taken);
                    rest.set_range(start + units, tail);
                    rest.set_state(State::Free);
                    self.bins.insert(rest);
                }
                Some(taken)
            }
        }
    }

    /// Makes a range free that its holder gives up, and merges it with its free neighbours. Only the list by address
    /// and cursors refer to its tag.
    pub(super) fn give(&mut self, tag: TagRef) {
        let units = tag.units();
        self.free_units += units;
        self.out -= 1;
        self.changes += 1;
        let prev = tag.by_address.prev().filter(|prev| prev.is_free());
        let next = tag.by_address.next().filter(|next| next.is_free());
        match (prev, next) {
            (None, None) => {
                tag.set_state(State::Free);
                self.bins.insert(tag);
            }
            (Some(prev), None) => {
                self.bins.resize(prev, prev.start(), prev.units() + units);
                self.retire(tag, prev);
            }
            (None, Some(next)) => {
                self.bins.resize(next, tag.start(), units + next.units());
                self.retire(tag, next);
            }
            (Some(prev), Some(next)) => {
                self.bins.remove(next);
                self.bins.resize(prev, prev.start(), prev.units() + units + next.units());
                self.retire(tag, prev);
                self.retire(next, prev);
            }
        }
    }

    #[inline]
    fn link_before(&mut self, tag: TagRef, next: TagRef) {
        let prev = next.by_address.prev();
        self.link(prev, tag, Some(next));
        if prev.is_none() {
            self.set_first(tag);
        }
    }

    #[inline]
    fn link_after(&mut self, tag: TagRef, prev: TagRef) {
        self.link(Some(prev), tag, prev.by_address.next());
    }

    #[inline]
    fn link(&mut self, prev: Option<TagRef>, tag: TagRef, next: Option<TagRef>) {
        tag.by_address.set_prev(prev);
        tag.by_address.set_next(next);
        if let Some(neighbour) = prev.or(next) {
            tag.set_span(neighbour.span());
        }
        if let Some(prev) = prev {
            prev.by_address.set_next(Some(tag));
        }
        if let Some(next) = next {
            next.by_address.set_prev(Some(tag));
        }
    }

    /// Moves the tag of a range that was merged `into` a neighbour from the list by address to the stock.
    #[inline]
    fn retire(&mut self, tag: TagRef, into: TagRef) {
        let (prev, next) = (tag.by_address.prev(), tag.by_address.next());
        if let Some(prev) = prev {
            prev.by_address.set_next(next);
        }
        if let Some(next) = next {
            next.by_address.set_prev(prev);
            if prev.is_none() {
                self.set_first(next);
            }
        }
        self.cursors.merged(tag, into);
        self.stock.push(tag);
    }

    fn set_first(&mut self, tag: TagRef) {
        if let Some(span) = self.spans.get_mut(tag.span()) {
            span.first = tag;
        }
    }

    /// Takes out the spare tags that the stock has in excess.
    #[inline]
    pub(super) fn excess_tags(&mut self) -> Chain {
        self.stock.take_excess()
    }
}
