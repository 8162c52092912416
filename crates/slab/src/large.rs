//! Objects past the classes: whole frames, found again through the first one's descriptor. A leaf where `unsafe` lives.
//!
//! Below 2 MiB a block is cut to the frames that the object needs, and the rest goes back at once: at most a ninth is
//! lost above 32 KiB. From 2 MiB on a block stays whole: cutting it would break a large page.

use core::alloc::Layout;
use core::ptr::NonNull;

use rhumb_frames::{AllocClass, Request};
use rhumb_machine::{Access, Machine, Order, Pinned, VirtAddr};

use crate::error::{AllocError, Fault, Report};
use crate::memory::{FRAME_BYTES, PageType};
use crate::slabs::Slabs;
use crate::sync::Relaxed;

impl<M: Machine> Slabs<M> {
    #[cold]
    #[inline(never)]
    pub(crate) fn alloc_large(
        &self,
        pinned: Pinned<'_>,
        layout: Layout,
        class: AllocClass,
    ) -> Result<NonNull<u8>, AllocError> {
        if layout.size() == 0 {
            return self.alloc_as(pinned, Self::of_no_bytes(layout), class);
        }
        let frames = (layout.size() as u64).div_ceil(FRAME_BYTES);
        let tight = Order::holding(frames).ok_or(AllocError::TooLarge)?;
        let aligned = Order::holding((layout.align() as u64).div_ceil(FRAME_BYTES));
        let order = tight.max(aligned.ok_or(AllocError::TooLarge)?);
        let start =
            self.memory.take(pinned, Request::new(order).class(class)).ok_or(AllocError::Exhausted)?;
        let kept = if order == tight && order < Order::LARGE { frames } else { order.frames() };
        if kept < order.frames() {
            // SAFETY: the block was taken just now, and is less than 2 MiB; the kept frames come first.
            unsafe {
                let rest = start.add((kept * FRAME_BYTES) as usize);
                self.memory.give_run(pinned, rest, order.frames() - kept);
            }
        }
        self.memory.stamp(start, kept, PageType::Large, 0);
        self.memory.stamp(start, 1, PageType::Large, kept);
        self.large_frames.fetch_add(kept, Relaxed);
        self.set_access(start, (kept * FRAME_BYTES) as usize, Access::Allowed);
        Ok(start)
    }

    /// Gives a large object back.
    ///
    /// # Safety
    /// It came from [`Slabs::alloc_large`] with this layout, and nobody uses it any more.
    #[cold]
    #[inline(never)]
    pub(crate) unsafe fn free_large(&self, pinned: Pinned<'_>, object: NonNull<u8>, layout: Layout) {
        if layout.size() == 0 {
            // SAFETY: the caller's promise; `alloc_large` took it with this layout.
            return unsafe { self.free(pinned, object, Self::of_no_bytes(layout)) };
        }
        let frames = self.large_frames_of(object);
        if frames == 0 {
            let report = Report {
                cache: Self::nobody(),
                object: VirtAddr::new(object.addr().get() as u64),
                fault: Fault::Foreign,
                allocated: None,
                freed: None,
            };
            return self.report(None, &report);
        }
        self.large_frames.fetch_sub(frames, Relaxed);
        match Order::holding(frames) {
            // SAFETY: the caller's promise: a whole block.
            Some(order) if order.frames() == frames => unsafe { self.memory.give(pinned, object, order) },
            // SAFETY: the caller's promise: what is left of a block that was cut.
            _ => unsafe { self.memory.give_run(pinned, object, frames) },
        }
    }

    /// What is taken for a layout of no bytes: one that has its alignment.
    const fn of_no_bytes(layout: Layout) -> Layout {
        match Layout::from_size_align(layout.align(), layout.align()) {
            Ok(layout) => layout,
            // No layout has such an alignment.
            Err(_) => Layout::new::<u64>(),
        }
    }

    /// How many frames a large object has; 0 where it is none.
    pub(crate) fn large_frames_of(&self, object: NonNull<u8>) -> u64 {
        self.memory.private(object.addr().get(), PageType::Large).unwrap_or(0)
    }
}
