//! Spare tags: [`Stock`], a few of them under the arena's lock, and [`Chain`], tags on their way to or from the slab
//! allocator.
//!
//! A range that is allocated takes one tag, or two where its alignment leaves room before it; a range that is freed
//! leaves as many. The stock lets them go round without a visit to the slab allocator. It is no reserve: it starts
//! empty, an allocation that finds no tag in it asks the slab allocator, with no lock held, and what is more than
//! [`MOST`] goes back there.

use super::tag::{State, TagRef};

/// Spare tags that stay when a visit to the lock ends.
pub(super) const MOST: usize = 64;

/// Tags in no other list, linked through their fields for the list by address.
#[derive(Default)]
pub(super) struct Chain {
    first: Option<TagRef>,
    count: usize,
}

impl Chain {
    pub(super) const EMPTY: Self = Self { first: None, count: 0 };

    #[inline(always)]
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    #[inline]
    pub(super) fn push(&mut self, tag: TagRef) {
        tag.set_state(State::Free);
        tag.by_address.set_next(self.first);
        self.first = Some(tag);
        self.count += 1;
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<TagRef> {
        let tag = self.first?;
        self.first = tag.by_address.next();
        self.count -= 1;
        Some(tag)
    }

    /// Moves up to `count` tags of another chain here.
    #[inline]
    pub(super) fn take_from(&mut self, other: &mut Self, count: usize) {
        for _ in 0..count {
            let Some(tag) = other.pop() else { break };
            self.push(tag);
        }
    }
}

/// The spare tags of an arena.
pub(super) struct Stock {
    tags: Chain,
}

impl Stock {
    pub(super) const EMPTY: Self = Self { tags: Chain::EMPTY };

    pub(super) const fn count(&self) -> usize {
        self.tags.count()
    }

    /// Adds tags that came from the slab allocator: all of the chain.
    #[inline]
    pub(super) fn add(&mut self, tags: &mut Chain) {
        self.tags.take_from(tags, tags.count);
    }

    #[inline]
    pub(super) fn push(&mut self, tag: TagRef) {
        self.tags.push(tag);
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<TagRef> {
        self.tags.pop()
    }

    /// Takes out the tags past those that stay, and half of [`MOST`] with them, so that the next visits have none to
    /// take out.
    #[inline]
    pub(super) fn take_excess(&mut self) -> Chain {
        let mut excess = Chain::EMPTY;
        if let Some(over) = self.count().checked_sub(MOST).filter(|&over| over > 0) {
            excess.take_from(&mut self.tags, over.min(MOST) + MOST / 2);
        }
        excess
    }

    /// Takes out up to `count` tags.
    pub(super) fn take(&mut self, count: usize) -> Chain {
        let mut taken = Chain::EMPTY;
        taken.take_from(&mut self.tags, count);
        taken
    }
}
