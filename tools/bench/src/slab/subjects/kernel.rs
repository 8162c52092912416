//! Heaps that manage one stretch of memory under one lock.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::NonNull;

use linked_list_allocator::LockedHeap;
use rlsf::Tlsf;
use talc::TalcLock;
use talc::source::Manual;

use crate::driver::Unfit;
use crate::slab::subject::{GlobalSubject, Place};

/// Boundary tags, binned by size.
pub(super) type Talc = TalcLock<spin::Mutex<()>, Manual>;

impl GlobalSubject for Talc {
    const NAME: &'static str = "talc";

    fn fresh(place: &Place) -> Result<Self, Unfit> {
        let talc = TalcLock::new(Manual);
        // SAFETY: the memory is the subject's alone, for as long as it lives.
        match unsafe { talc.lock().claim(place.base(), place.bytes()) } {
            Some(_) => Ok(talc),
            None => Err(Unfit("it does not take the memory".to_owned())),
        }
    }
}

/// A sorted list of holes.
pub(super) type LinkedList = LockedHeap;

impl GlobalSubject for LinkedList {
    const NAME: &'static str = "linked_list_allocator";

    fn fresh(place: &Place) -> Result<Self, Unfit> {
        // SAFETY: as with `Talc`.
        Ok(unsafe { LockedHeap::new(place.base(), place.bytes()) })
    }
}

/// Bits of the first level: pools of up to 32 B << 26, which is 2 GiB.
const FIRST_LEVEL: usize = 26;
/// Lists for each of them.
const SECOND_LEVEL: usize = 32;

/// Two-level segregated fit.
pub(super) struct Rlsf(spin::Mutex<Tlsf<'static, u32, u32, FIRST_LEVEL, SECOND_LEVEL>>);

// SAFETY: both calls go to the allocator, which gives out what is free.
unsafe impl GlobalAlloc for Rlsf {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().allocate(layout).map_or(std::ptr::null_mut(), NonNull::as_ptr)
    }

    #[inline]
    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        if let Some(object) = NonNull::new(object) {
            // SAFETY: the caller promises an object of this layout that no code uses any more.
            unsafe { self.0.lock().deallocate(object, layout.align()) };
        }
    }
}

impl GlobalSubject for Rlsf {
    const NAME: &'static str = "rlsf";

    fn fresh(place: &Place) -> Result<Self, Unfit> {
        let mut tlsf = Tlsf::new();
        let memory = NonNull::slice_from_raw_parts(
            NonNull::new(place.base()).ok_or_else(|| Unfit("no memory".to_owned()))?,
            place.bytes(),
        );
        // SAFETY: as with `Talc`.
        match unsafe { tlsf.insert_free_block_ptr(memory) } {
            Some(_) => Ok(Self(spin::Mutex::new(tlsf))),
            None => Err(Unfit("it does not take the memory".to_owned())),
        }
    }
}
