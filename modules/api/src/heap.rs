//! `Box` and `Vec` on the kernel's object caches. Running out of memory in `Box::new` is a panic and stops the kernel:
//! a module asks `Vec::try_reserve` instead.

use core::alloc::{GlobalAlloc, Layout};

use crate::imports;

/// The kernel's object caches.
struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

// SAFETY: `rhumb_alloc` returns memory of that size and alignment that no other code uses until `rhumb_free`, or null.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: a layout's alignment is a power of two.
        unsafe { imports::rhumb_alloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        // SAFETY: the caller gives back an object of `alloc` with its layout, once.
        unsafe { imports::rhumb_free(object, layout.size(), layout.align()) }
    }
}
