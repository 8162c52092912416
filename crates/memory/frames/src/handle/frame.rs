//! Handles: a [`Frame`] is one allocated block of 2^order frames, a [`FrameRange`] any run of frames. Both are
//! move-only, and their type says whether the frames are in the direct map.
//!
//! A `Frame` is eight bytes, and the number in it carries all that its free needs (`raw.rs`), so that the common free
//! looks nothing up.
//!
//! A handle that goes out of scope without being freed loses its frames; that is never silent: the loss is counted
//! and the frame remembered ([`crate::leaks`]). To let a frame live on in a page table entry or in another structure,
//! give up the handle with [`Frame::into_pfn`].

use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::num::NonZeroU64;

use rhumb_machine::{Order, Pfn, PfnRange, PhysAddr, impossible};

use crate::handle::raw::{Brand, Raw};
use crate::request::Mobility;

/// Returns the frames of an allocated block, which end below 2^41.
#[inline]
pub(crate) fn frames_from(start: Pfn, order: Order) -> PfnRange {
    PfnRange::of_length(start, order.frames())
        .unwrap_or_else(|| impossible!("a block at the end of all numbers" => PfnRange::default()))
}

mod sealed {
    /// Closes the traits.
    pub trait Sealed {}
}

/// A frame's presence in the direct map: [`Mapped`], [`Anywhere`] or [`Unmapped`].
pub trait Presence: sealed::Sealed {
    /// Its name.
    const NAME: &'static str;
}

/// A presence with which a frame can be freed as it is.
pub trait Freeable: Presence {}

/// In the direct map: [`rhumb_machine::Machine::direct`] of its address may be dereferenced by its owner.
#[derive(Debug)]
pub enum Mapped {}
/// In the direct map or past its limit ([`crate::Zone::High`]): not to be dereferenced without asking.
#[derive(Debug)]
pub enum Anywhere {}
/// Taken out of the direct map: neither dereferenced nor freed until it is put back.
#[derive(Debug)]
pub enum Unmapped {}

impl sealed::Sealed for Mapped {}
impl sealed::Sealed for Anywhere {}
impl sealed::Sealed for Unmapped {}
impl Presence for Mapped {
    const NAME: &'static str = "mapped";
}
impl Presence for Anywhere {
    const NAME: &'static str = "anywhere";
}
impl Presence for Unmapped {
    const NAME: &'static str = "unmapped";
}
impl Freeable for Mapped {}
impl Freeable for Anywhere {}

/// One allocated block of 2^order frames, aligned to its size. Eight bytes.
#[must_use = "a frame that is dropped without being freed is lost"]
pub struct Frame<P: Presence = Mapped> {
    raw: NonZeroU64,
    _presence: PhantomData<fn() -> P>,
}

impl<P: Presence> Frame<P> {
    #[inline(always)]
    pub(crate) fn from_raw(raw: Raw) -> Self {
        // Bit 63 is set in every number: the OR changes nothing, and shows that it is not zero.
        const SET: NonZeroU64 = NonZeroU64::new(Raw::SET).unwrap();
        Self { raw: SET | raw.0, _presence: PhantomData }
    }

    #[inline(always)]
    pub(crate) fn into_raw(self) -> Raw {
        Raw(ManuallyDrop::new(self).raw.get())
    }

    pub(crate) const fn peek(&self) -> Raw {
        Raw(self.raw.get())
    }

    /// Returns its first frame.
    #[inline(always)]
    pub const fn pfn(&self) -> Pfn {
        self.peek().pfn()
    }

    /// Returns which allocator gave it out.
    #[inline]
    pub const fn brand(&self) -> Brand {
        self.peek().brand()
    }

    /// Returns the physical address of its first byte.
    #[inline(always)]
    pub const fn addr(&self) -> PhysAddr {
        self.pfn().addr()
    }

    /// Returns its order.
    pub const fn order(&self) -> Order {
        self.peek().order()
    }

    /// Returns the mobility it was asked for with.
    pub const fn kind(&self) -> Mobility {
        Mobility::from_index(self.peek().kind_index())
    }

    /// Returns its frames.
    pub fn frames(&self) -> PfnRange {
        frames_from(self.pfn(), self.order())
    }

    /// Tells whether it lies past the direct map's limit ([`crate::Zone::High`]), where the map never shows it.
    #[inline]
    pub const fn is_high(&self) -> bool {
        self.peek().0 & Raw::HIGH != 0
    }

    /// Gives up the handle: the frame lives on as a number in the caller's own structure, and comes back through
    /// [`crate::Frames::from_pfn`].
    #[inline(always)]
    pub fn into_pfn(self) -> Pfn {
        self.into_raw().pfn()
    }

    pub(crate) fn with_presence<Q: Presence>(self) -> Frame<Q> {
        Frame { raw: ManuallyDrop::new(self).raw, _presence: PhantomData }
    }
}

impl Frame<Mapped> {
    /// Says that the frame is out of the direct map now. From here on it can be neither freed nor dereferenced.
    ///
    /// # Safety
    /// - No mapping of the direct map leads to it, on any CPU: the flush has happened (invariants I5, I6).
    /// - It belongs to the pool of unmapped frames, if its allocator has one. The pool takes back a frame of this type
    ///   by the records that it keeps in the descriptors of its own blocks, and cannot trust the descriptors of other
    ///   blocks, because their holders may write them.
    pub unsafe fn assume_unmapped(self) -> Frame<Unmapped> {
        self.with_presence()
    }

    /// Forgets that it is in the direct map.
    pub fn into_anywhere(self) -> Frame<Anywhere> {
        self.with_presence()
    }
}

impl Frame<Unmapped> {
    /// Says that the frame is back in the direct map.
    ///
    /// # Safety
    /// The direct map shows it again, and it holds nothing that its next owner may not see (invariant I5).
    pub unsafe fn assume_mapped(self) -> Frame<Mapped> {
        self.with_presence()
    }

    /// Returns the frame as one that can be freed, where it lies past the direct map's limit; else itself.
    ///
    /// # Errors
    /// The frame, unchanged, where it is one that the map can show: that is [`Frame::assume_mapped`]'s.
    ///
    /// # Safety
    /// It holds nothing that its next owner may not see (invariant I5), and no part of it is in use.
    pub unsafe fn try_anywhere(self) -> Result<Frame<Anywhere>, Self> {
        if self.is_high() { Ok(self.with_presence()) } else { Err(self) }
    }

    /// Returns the handle of a part of it: the block of `order` that begins at `first`; `None` where that is no part.
    /// For pools that take large blocks out of the direct map and hand out pieces. A part is never freed: it goes back
    /// into its pool.
    ///
    /// # Safety
    /// While the part's handle lives, or its number where it was given up, no other handle of these frames is used but
    /// this one, to make further parts.
    pub unsafe fn part(&self, first: Pfn, order: Order) -> Option<Self> {
        let whole = self.frames();
        let frames = PfnRange::of_length(first, order.frames())?;
        if !first.get().is_multiple_of(order.frames()) || !whole.covers(frames) {
            return None;
        }
        let kept = self.peek().0 & !(Raw::PFN | Raw::KIND | Raw::ORDER | Raw::OWNED);
        Some(Self::from_raw(Raw(kept).at(first, order, Mobility::Unmovable)))
    }
}

impl Frame<Anywhere> {
    /// Returns the frame as one of the direct map, if it is; else itself.
    ///
    /// # Errors
    /// The frame, unchanged, where it lies past the direct map's limit.
    pub fn try_mapped(self) -> Result<Frame<Mapped>, Self> {
        if self.is_high() { Err(self) } else { Ok(self.with_presence()) }
    }

    /// Returns the frame as one out of the direct map, where it lies past the map's limit; else itself.
    ///
    /// # Errors
    /// The frame, unchanged, where it is in the map.
    ///
    /// # Safety
    /// It belongs to the pool of unmapped frames, if its allocator has one: see [`Frame::assume_unmapped`].
    pub unsafe fn try_unmapped(self) -> Result<Frame<Unmapped>, Self> {
        if self.is_high() { Ok(self.with_presence()) } else { Err(self) }
    }
}

impl<P: Presence> Drop for Frame<P> {
    #[cold]
    fn drop(&mut self) {
        crate::handle::leak::record(self.frames());
    }
}

impl<P: Presence> fmt::Debug for Frame<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame<{}>({}, order {})", P::NAME, self.pfn(), self.order())
    }
}

/// A run of frames of any length and alignment, held as one: from [`crate::Frames::alloc_range`], or memory of the
/// boot loader that is to be given to the allocator.
#[must_use = "a range that is dropped without being freed is lost"]
pub struct FrameRange {
    range: PfnRange,
    /// `None` where its maker said that it owns the frames, whatever allocator has them.
    brand: Option<Brand>,
}

impl FrameRange {
    /// Takes ownership of frames that have no other holder.
    ///
    /// # Safety
    /// The caller owns these frames: no other handle, mapping or device uses them.
    pub const unsafe fn assume(range: PfnRange) -> Self {
        Self { range, brand: None }
    }

    pub(crate) const fn new(range: PfnRange, brand: Brand) -> Self {
        Self { range, brand: Some(brand) }
    }

    /// Tells whether the allocator of this brand may take it back.
    pub(crate) fn is_of(&self, brand: Brand) -> bool {
        self.brand.is_none_or(|mine| mine == brand)
    }

    /// Returns the frames.
    pub const fn frames(&self) -> PfnRange {
        self.range
    }

    /// Gives up the handle.
    pub fn into_frames(self) -> PfnRange {
        ManuallyDrop::new(self).range
    }
}

impl Drop for FrameRange {
    #[cold]
    fn drop(&mut self) {
        crate::handle::leak::record(self.range);
    }
}

impl fmt::Debug for FrameRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameRange({})", self.range)
    }
}
