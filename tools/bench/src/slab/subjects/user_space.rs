//! The heaps of user space: C and C++, one for the process.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::null_mut;

use libmimalloc_sys as mi;
use snmalloc_rs::SnMalloc;
use tikv_jemallocator::Jemalloc as TikvJemalloc;

use crate::driver::Unfit;
use crate::slab::goals::{JEMALLOC, MIMALLOC, SNMALLOC};
use crate::slab::subject::{GlobalSubject, Place};

/// Version 2. Its crate's own wrapper takes the way for special alignments, which is slower, for all.
pub(super) struct Mimalloc;

/// Up to here, `mi_malloc` aligns by itself.
const MALLOC_ALIGNS: usize = 8;

// SAFETY: both calls go to the heap.
unsafe impl GlobalAlloc for Mimalloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: any size will do, and the alignment is a power of two.
        let object = unsafe {
            if layout.align() <= MALLOC_ALIGNS {
                mi::mi_malloc(layout.size())
            } else {
                mi::mi_malloc_aligned(layout.size(), layout.align())
            }
        };
        object.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, object: *mut u8, _layout: Layout) {
        // SAFETY: the caller promises memory of `alloc` that no code uses any more.
        unsafe { mi::mi_free(object.cast()) };
    }
}

impl GlobalSubject for Mimalloc {
    const NAME: &'static str = MIMALLOC;

    fn fresh(_place: &Place) -> Result<Self, Unfit> {
        Ok(Self)
    }

    fn reclaim(&self) {
        // SAFETY: it may be called at any time.
        unsafe { mi::mi_collect(true) };
    }
}

/// It cannot be asked to give back; it does so by itself.
pub(super) type Snmalloc = SnMalloc;

impl GlobalSubject for Snmalloc {
    const NAME: &'static str = SNMALLOC;

    fn fresh(_place: &Place) -> Result<Self, Unfit> {
        Ok(SnMalloc)
    }
}

/// With its defaults.
pub(super) type Jemalloc = TikvJemalloc;

impl GlobalSubject for Jemalloc {
    const NAME: &'static str = JEMALLOC;

    fn fresh(_place: &Place) -> Result<Self, Unfit> {
        Ok(TikvJemalloc)
    }

    fn reclaim(&self) {
        // 4096 stands for all arenas (jemalloc's manual, MALLCTL_ARENAS_ALL).
        for command in [c"thread.tcache.flush", c"arena.4096.purge"] {
            // SAFETY: both take and give nothing. A refusal leaves memory held, which shows in the figure.
            let _ = unsafe {
                tikv_jemalloc_sys::mallctl(command.as_ptr(), null_mut(), null_mut(), null_mut(), 0)
            };
        }
    }
}
