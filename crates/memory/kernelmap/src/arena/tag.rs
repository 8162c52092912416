//! [`Tag`]: the boundary tag of one range; a leaf where `unsafe` lives.
//!
//! Each range of the arena, free or out, has one tag: 64 bytes, an object of the slab allocator. The tags of a span are
//! a list in the order of their addresses, so that a range knows its neighbours and merges with them in constant time.
//!
//! ```text
//!   tag:  | start | units | prev, next: by address | above, below: in its bin | word | state | span |
//! ```
//! A tag is reached by a [`TagRef`], a bare reference. The rule that makes it one: **a tag goes back to the slab
//! allocator only out of the stock of spare tags** ([`super::stock`]), and it comes there only from the list by address,
//! when its range has been merged into another one. From then on nothing refers to it:
//!
//! | refers to a tag | until |
//! |---|---|
//! | the list by address, a bin | [`super::ranges`] unlinks it, under the lock |
//! | the cursor of a walk | the same function moves the cursor to the merged range |
//! | a CPU's cache, or a handle | the range is free, because the cache or the handle gave it up |
//!
//! Start, size, span and links are written under the arena's lock alone. The holder of a range reads its start and size
//! without the lock, because they change only while the range is free.
#![expect(unsafe_code, reason = "refers to objects that the arena has taken")]

use core::ops::Deref;
use core::ptr::NonNull;

use rhumb_machine::Machine;
use rhumb_slab::{Cache, Object};
use rhumb_sync::atomic::{AcqRel, Acquire, AtomicPtr, AtomicU32, AtomicU64, Relaxed};

use super::units::Units;

/// Where a range is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// In a bin.
    Free,
    /// With the holder of its handle.
    Held,
    /// In a CPU's cache.
    Kept,
}

/// The record of one range of an [`Arena`](super::Arena): an object of the cache that the arena is given.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Tag {
    start: AtomicU64,
    units: AtomicU64,
    pub(super) by_address: Links,
    pub(super) in_bin: Links,
    word: AtomicU64,
    state: AtomicU32,
    span: AtomicU32,
}

/// A place for a tag, or for none. Only this module makes a [`TagRef`] of a pointer, and the pointers are those that it
/// has stored.
#[derive(Debug)]
pub(super) struct TagCell(AtomicPtr<Tag>);

impl TagCell {
    pub(super) fn new() -> Self {
        Self(AtomicPtr::new(core::ptr::null_mut()))
    }

    #[inline(always)]
    pub(super) fn get(&self) -> Option<TagRef> {
        NonNull::new(self.0.load(Relaxed)).map(TagRef)
    }

    #[inline(always)]
    pub(super) fn set(&self, tag: Option<TagRef>) {
        self.0.store(tag.map_or(core::ptr::null_mut(), |tag| tag.0.as_ptr()), Relaxed);
    }
}

/// A tag's neighbours in a list.
#[derive(Debug)]
pub(super) struct Links {
    prev: TagCell,
    next: TagCell,
}

impl Links {
    fn new() -> Self {
        Self { prev: TagCell::new(), next: TagCell::new() }
    }

    #[inline(always)]
    pub(super) fn prev(&self) -> Option<TagRef> {
        self.prev.get()
    }

    #[inline(always)]
    pub(super) fn next(&self) -> Option<TagRef> {
        self.next.get()
    }

    #[inline(always)]
    pub(super) fn set_prev(&self, tag: Option<TagRef>) {
        self.prev.set(tag);
    }

    #[inline(always)]
    pub(super) fn set_next(&self, tag: Option<TagRef>) {
        self.next.set(tag);
    }
}

impl Tag {
    pub(super) fn new() -> Self {
        const { assert!(cfg!(any(loom, shuttle)) || size_of::<Self>() == 64) };
        Self {
            start: AtomicU64::new(0),
            units: AtomicU64::new(0),
            by_address: Links::new(),
            in_bin: Links::new(),
            word: AtomicU64::new(0),
            state: AtomicU32::new(State::Free as u32),
            span: AtomicU32::new(0),
        }
    }

    #[inline(always)]
    pub(super) fn start(&self) -> u64 {
        self.start.load(Relaxed)
    }

    #[inline(always)]
    pub(super) fn units(&self) -> u64 {
        self.units.load(Relaxed)
    }

    #[inline(always)]
    pub(super) fn end(&self) -> u64 {
        self.start() + self.units()
    }

    #[inline(always)]
    pub(super) fn range(&self) -> Units {
        Units::of_length(self.start(), self.units()).unwrap_or(Units::NONE)
    }

    /// Returns the number of the span that the range is of.
    #[inline(always)]
    pub(super) fn span(&self) -> usize {
        self.span.load(Relaxed) as usize
    }

    #[inline(always)]
    pub(super) fn set_range(&self, start: u64, units: u64) {
        self.start.store(start, Relaxed);
        self.units.store(units, Relaxed);
    }

    #[inline(always)]
    pub(super) fn set_span(&self, span: usize) {
        self.span.store(span as u32, Relaxed);
    }

    #[inline(always)]
    pub(super) fn state(&self) -> State {
        match self.state.load(Relaxed) {
            state if state == State::Held as u32 => State::Held,
            state if state == State::Kept as u32 => State::Kept,
            _ => State::Free,
        }
    }

    #[inline(always)]
    pub(super) fn is_free(&self) -> bool {
        self.state() == State::Free
    }

    #[inline(always)]
    pub(super) fn set_state(&self, state: State) {
        self.state.store(state as u32, Relaxed);
    }

    /// Returns the word of the range's holder.
    #[inline(always)]
    pub(super) fn word(&self) -> u64 {
        self.word.load(Relaxed)
    }

    #[inline(always)]
    pub(super) fn set_word(&self, word: u64) {
        self.word.store(word, Relaxed);
    }

    /// Changes the word as `update` says; returns the word before, or the one that `update` refuses.
    pub(super) fn update_word(&self, update: impl FnMut(u64) -> Option<u64>) -> Result<u64, u64> {
        self.word.fetch_update(AcqRel, Acquire, update)
    }
}

/// A reference to a tag that is in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub(super) struct TagRef(NonNull<Tag>);

// SAFETY: it is a reference to a value all of whose fields are atomics.
unsafe impl Send for TagRef {}
// SAFETY: it is a reference to a value all of whose fields are atomics.
unsafe impl Sync for TagRef {}

impl Deref for TagRef {
    type Target = Tag;

    #[inline(always)]
    fn deref(&self) -> &Tag {
        // SAFETY: a `TagRef` is made of an object that is alive, and the module's rule says that none is left when the
        // object goes back to its cache.
        unsafe { self.0.as_ref() }
    }
}

impl TagRef {
    /// Returns the tag of an object, which no longer goes back by itself.
    pub(super) fn of<M: Machine>(object: Object<'static, Tag, M>) -> Self {
        Self(object.into_raw())
    }

    /// Returns the tag's address, which [`TagRef::at`] takes.
    pub(super) fn address(self) -> u64 {
        self.0.as_ptr().expose_provenance() as u64
    }

    /// Returns the tag at an address.
    ///
    /// # Safety
    /// The address is that of a tag that is in use, from [`TagRef::address`].
    pub(super) unsafe fn at(address: u64) -> Option<Self> {
        NonNull::new(core::ptr::with_exposed_provenance_mut(address as usize)).map(Self)
    }

    /// Gives the tag back to its cache.
    ///
    /// # Safety
    /// The tag came from this cache, and no other reference to it is left.
    pub(super) unsafe fn release<M: Machine>(
        self,
        cache: &'static Cache<Tag, M>,
        pinned: rhumb_machine::Pinned<'_>,
    ) {
        // SAFETY: the caller promises that the object is of this cache and that this was the last reference.
        cache.free(pinned, unsafe { cache.from_raw(self.0) });
    }

    /// Returns a tag for a model, whose memory is the process's own.
    #[cfg(all(test, loom))]
    pub(super) fn of_test() -> Self {
        Self(NonNull::from(std::boxed::Box::leak(std::boxed::Box::new(Tag::new()))))
    }
}
