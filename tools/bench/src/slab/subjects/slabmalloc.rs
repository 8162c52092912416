//! `slabmalloc`: slabs of 4 KiB and 2 MiB with a bitmap in each, under one lock, as in its own example.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::{NonNull, null_mut};

use slabmalloc::{AllocationError, Allocator, LargeObjectPage, ObjectPage, ZoneAllocator};

use crate::driver::Unfit;
use crate::slab::subject::{FRAME_BYTES, GlobalSubject, Place};

/// The size of its large pages.
const LARGE_BYTES: usize = 2 << 20;

/// Where its pages come from.
struct Pages {
    /// Untouched frames: from the front; untouched large pages: from the end.
    front: usize,
    end: usize,
    returned: Vec<usize>,
    returned_large: Vec<usize>,
    used_bytes: usize,
}

impl Pages {
    fn frame(&mut self) -> Option<usize> {
        let fresh = (self.end - self.front >= FRAME_BYTES).then_some(self.front);
        let page = self.returned.pop().or_else(|| {
            self.front += FRAME_BYTES;
            fresh
        })?;
        self.used_bytes += FRAME_BYTES;
        Some(page)
    }

    fn large(&mut self) -> Option<usize> {
        let fresh = (self.end - self.front >= LARGE_BYTES).then(|| self.end - LARGE_BYTES);
        let page = self.returned_large.pop().or_else(|| {
            self.end = fresh?;
            fresh
        })?;
        self.used_bytes += LARGE_BYTES;
        Some(page)
    }
}

/// The allocator and its pages.
struct Zone {
    zone: ZoneAllocator<'static>,
    pages: Pages,
}

impl Zone {
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        match self.zone.allocate(layout) {
            Ok(object) => return Some(object),
            Err(AllocationError::InvalidLayout) => return None,
            Err(AllocationError::OutOfMemory) => {}
        }
        let refilled = if layout.size() <= ZoneAllocator::MAX_BASE_ALLOC_SIZE {
            let page = self.pages.frame()? as *mut ObjectPage<'static>;
            // SAFETY: a frame of the subject's memory, aligned, in no other use; any bytes are a page.
            unsafe { self.zone.refill(layout, &mut *page) }
        } else {
            let page = self.pages.large()? as *mut LargeObjectPage<'static>;
            // SAFETY: frames of the subject's memory, aligned, in no other use; any bytes are a page.
            unsafe { self.zone.refill_large(layout, &mut *page) }
        };
        refilled.and_then(|()| self.zone.allocate(layout)).ok()
    }
}

/// As in the example of its documentation.
pub(super) struct Slabmalloc(spin::Mutex<Zone>);

// SAFETY: the pointers in it are to memory of its own, and all of it is locked.
unsafe impl Sync for Slabmalloc {}
// SAFETY: the memory that the pointers lead to is the value's own, and belongs to no CPU.
unsafe impl Send for Slabmalloc {}

// SAFETY: both calls go to the allocator, which gives out what is free.
unsafe impl GlobalAlloc for Slabmalloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().allocate(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    #[inline]
    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        if let Some(object) = NonNull::new(object) {
            // An object that it does not know stays where it is, and shows as memory held.
            let _ = self.0.lock().zone.deallocate(object, layout);
        }
    }
}

impl GlobalSubject for Slabmalloc {
    const NAME: &'static str = "slabmalloc";

    fn fresh(place: &Place) -> Result<Self, Unfit> {
        let (base, end) = (place.base() as usize, place.base() as usize + place.bytes());
        let pages = Pages {
            front: base,
            end: end / LARGE_BYTES * LARGE_BYTES,
            returned: Vec::new(),
            returned_large: Vec::new(),
            used_bytes: 0,
        };
        Ok(Self(spin::Mutex::new(Zone { zone: ZoneAllocator::new(), pages })))
    }

    fn reclaim(&self) {
        let mut zone = self.0.lock();
        let Zone { zone, pages } = &mut *zone;
        let returned = std::cell::RefCell::new(std::mem::take(&mut pages.returned));
        let before = returned.borrow().len();
        zone.try_reclaim_base_pages(usize::MAX, |page| returned.borrow_mut().push(page as usize));
        pages.returned = returned.into_inner();
        pages.used_bytes -= (pages.returned.len() - before) * FRAME_BYTES;
        let large = &mut pages.returned_large;
        let before = large.len();
        zone.try_reclaim_large_pages(usize::MAX, |page| large.push(page as usize));
        pages.used_bytes -= (pages.returned_large.len() - before) * LARGE_BYTES;
    }

    /// Of its large pages it may have touched little: they are its all the same.
    fn held_bytes(&self, _touched_bytes: u64) -> u64 {
        self.0.lock().pages.used_bytes as u64
    }
}
