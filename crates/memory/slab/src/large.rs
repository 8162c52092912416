//! Objects past the classes: whole frames, found again through the first one's descriptor; no other descriptor is
//! touched. A leaf where `unsafe` lives.
//!
//! Below 2 MiB a block is cut to the frames that the object needs, and the rest goes back at once, so that at most a
//! ninth is lost above 32 KiB. From 2 MiB on a block stays as it is, because other users of its frames would make large
//! pages split.

use core::alloc::Layout;
use core::ptr::NonNull;

use rhumb_frames::{AllocClass, Request};
use rhumb_machine::{Machine, MemoryUse, Order, Pinned};

use crate::error::AllocError;
use crate::fault::{Fault, Report};
use crate::memory::{FRAME_BYTES, PageType};
use crate::slabs::Slabs;
use crate::traced::Large;
use rhumb_sync::atomic::Relaxed;

/// The frames of a large object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Extent {
    /// The block that is taken.
    order: Order,
    /// How many frames of the block are the object's; the rest is given back.
    pub(crate) kept: u64,
}

impl Extent {
    /// Returns the frames for an object of `layout`, of no bytes, too; `None` where no block holds it.
    pub(crate) fn of(layout: Layout) -> Option<Self> {
        let frames = (layout.size() as u64).div_ceil(FRAME_BYTES).max(1);
        let tight = Order::holding(frames)?;
        let order = tight.max(Order::holding((layout.align() as u64).div_ceil(FRAME_BYTES))?);
        let is_cut = order == tight && order < Order::LARGE;
        Some(Self { order, kept: if is_cut { frames } else { order.frames() } })
    }
}

impl<M: Machine> Slabs<M> {
    /// Allocates for layouts that have no class, or one that is not found quickly: large, aligned, or of no bytes.
    #[cold]
    #[inline(never)]
    pub(crate) fn alloc_unusual(
        &self,
        pinned: Pinned<'_>,
        layout: Layout,
        class: AllocClass,
    ) -> Result<NonNull<u8>, AllocError> {
        match self.class(layout) {
            Some(record) => self.alloc_from(record, pinned, class),
            None => self.alloc_large(pinned, layout, class),
        }
    }

    /// Gives back memory that [`Slabs::alloc_unusual`] gave.
    ///
    /// # Safety
    /// It came with this layout, and no code uses it any more.
    #[cold]
    #[inline(never)]
    pub(crate) unsafe fn free_unusual(&self, pinned: Pinned<'_>, object: NonNull<u8>, layout: Layout) {
        match self.class(layout) {
            // SAFETY: the caller promises memory of this layout that no code uses any more; it is an object of this
            // class.
            Some(record) => unsafe { self.free_to(record, pinned, object) },
            // SAFETY: the caller promises memory of this layout that no code uses any more; `alloc_large` gave it,
            // because the layout has no class.
            None => unsafe { self.free_large(pinned, object) },
        }
    }

    fn alloc_large(
        &self,
        pinned: Pinned<'_>,
        layout: Layout,
        class: AllocClass,
    ) -> Result<NonNull<u8>, AllocError> {
        let Extent { order, kept } = Extent::of(layout).ok_or(AllocError::TooLarge)?;
        let request = Request::new(order).class(class);
        let taken = self.memory.take_large(pinned, request, kept, layout.align());
        let start = taken.ok_or(AllocError::Exhausted)?;
        // SAFETY: the first frame of the block that was just taken is kept.
        unsafe { self.memory.stamp(start, 1, PageType::LARGE, kept) };
        self.large_frames.fetch_add(kept, Relaxed);
        self.set_memory_use(start, (kept * FRAME_BYTES) as usize, MemoryUse::Allowed);
        self.trace_large(start, kept * FRAME_BYTES, Large::Allocated);
        Ok(start)
    }

    /// Gives a large object back.
    ///
    /// # Safety
    /// It came from [`Slabs::alloc_large`], and no code uses it any more.
    pub(crate) unsafe fn free_large(&self, pinned: Pinned<'_>, object: NonNull<u8>) {
        let frames = self.large_frames_of(object);
        if frames == 0 {
            return self.report(None, &Report::of(Self::no_cache(), object, Fault::Foreign));
        }
        self.trace_large(object, frames * FRAME_BYTES, Large::Freed);
        self.large_frames.fetch_sub(frames, Relaxed);
        match Order::holding(frames) {
            // SAFETY: the caller promises that `alloc_large` gave the object, which is a whole block of this order, and
            // that no code uses it any more.
            Some(order) if order.frames() == frames => unsafe { self.memory.give(pinned, object, order, 1) },
            // SAFETY: the caller promises that `alloc_large` gave the object, which is the kept part of a block of less
            // than 2 MiB, and that no code uses it any more.
            _ => unsafe { self.memory.give_run(pinned, object, frames, 1) },
        }
    }

    /// Returns how many frames a large object has; 0 where it is no large object.
    pub(crate) fn large_frames_of(&self, object: NonNull<u8>) -> u64 {
        self.memory.private(object.addr().get(), PageType::LARGE).unwrap_or(0)
    }
}
