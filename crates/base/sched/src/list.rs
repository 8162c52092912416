//! [`List`]: a queue whose links are inside its items; a leaf where `unsafe` lives.
//!
//! ```text
//!   list: first ──> item <──> item <──> item <── last        an item's link: before, after, and the list that it is in
//! ```
//!
//! An item's link names the list that has claimed it. A list takes an item by one compare-and-swap of that name, so no
//! item is in two lists of one link, and a list gives an item back only if the name is its own. All steps take constant
//! time. A lock of the list's owner keeps other CPUs out.

use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::field::{Number, Place};

/// The link of items of type [`Linked::Item`] for one kind of list.
pub(crate) trait Linked {
    /// The items.
    type Item;

    /// Returns the link of an item: always the same one.
    fn link(item: &Self::Item) -> &Link<Self::Item>;
}

/// An item's place in a list.
#[derive(Debug)]
pub(crate) struct Link<T> {
    before: Place<T>,
    after: Place<T>,
    /// The address of the list that has the item; 0 for none.
    list: Number,
}

impl<T> Link<T> {
    pub(crate) const fn new() -> Self {
        Self { before: Place::nowhere(), after: Place::nowhere(), list: Number::new(0) }
    }

    /// Tells whether the item is in any list of this link.
    pub(crate) fn is_linked(&self) -> bool {
        self.list.get() != 0
    }
}

/// The end of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// Before all others.
    First,
    /// Behind all others.
    Last,
}

/// A queue of items. It does not move while it has any.
pub(crate) struct List<L: Linked> {
    first: Place<L::Item>,
    last: Place<L::Item>,
    length: Number,
    _linked: PhantomData<fn() -> L>,
}

impl<L: Linked> List<L> {
    pub(crate) const fn new() -> Self {
        Self { first: Place::nowhere(), last: Place::nowhere(), length: Number::new(0), _linked: PhantomData }
    }

    fn name(&self) -> u64 {
        core::ptr::from_ref(self).addr() as u64
    }

    pub(crate) fn len(&self) -> u64 {
        self.length.get()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.get().is_none()
    }

    pub(crate) fn contains(&self, item: &L::Item) -> bool {
        L::link(item).list.get() == self.name()
    }

    /// Returns the item at `place`, which the list has.
    fn at(&self, place: NonNull<L::Item>) -> &L::Item {
        // SAFETY: only `insert` puts addresses into the list, and its callers promise that the item lives until `remove`
        // has taken the address out.
        unsafe { place.as_ref() }
    }

    pub(crate) fn first(&self) -> Option<&L::Item> {
        self.first.get().map(|place| self.at(place))
    }

    /// Puts an item in at `end`. Returns `false`, and does nothing, if the item is in a list.
    ///
    /// # Safety
    /// The item is not moved or freed before it has been taken out of the list again.
    pub(crate) unsafe fn insert(&self, item: &L::Item, end: End) -> bool {
        let link = L::link(item);
        if !link.list.claim(self.name()) {
            return false;
        }
        let place = Some(NonNull::from(item));
        let (before, after) = match end {
            End::First => (None, self.first.get()),
            End::Last => (self.last.get(), None),
        };
        link.before.set(before);
        link.after.set(after);
        self.after_of(before).set(place);
        self.before_of(after).set(place);
        self.length.add(1);
        true
    }

    /// Takes an item out. Returns `false`, and does nothing, if the list does not have it.
    pub(crate) fn remove(&self, item: &L::Item) -> bool {
        if !self.contains(item) {
            return false;
        }
        let link = L::link(item);
        let (before, after) = (link.before.get(), link.after.get());
        self.after_of(before).set(after);
        self.before_of(after).set(before);
        self.length.set(self.length.get() - 1);
        link.list.disclaim();
        true
    }

    /// Returns the field that says what comes behind `item`, or first.
    fn after_of(&self, item: Option<NonNull<L::Item>>) -> &Place<L::Item> {
        item.map_or(&self.first, |place| &L::link(self.at(place)).after)
    }

    /// Returns the field that says what comes before `item`, or last.
    fn before_of(&self, item: Option<NonNull<L::Item>>) -> &Place<L::Item> {
        item.map_or(&self.last, |place| &L::link(self.at(place)).before)
    }

    /// Returns the items, first to last.
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &L::Item> {
        core::iter::successors(self.first(), |&item| L::link(item).after.get().map(|place| self.at(place)))
    }

    /// Checks that links and length agree.
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(crate) fn validate(&self) {
        let mut before = None;
        let mut length = 0;
        for item in self.iter() {
            assert!(self.contains(item) && L::link(item).before.get() == before);
            before = Some(NonNull::from(item));
            length += 1;
        }
        assert_eq!((self.last.get(), self.len()), (before, length));
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
