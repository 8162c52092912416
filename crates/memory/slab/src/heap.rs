//! The heap of `alloc` (Box, Vec, Arc): the size classes as a [`GlobalAlloc`]. A leaf where `unsafe` lives.
//!
//! `dealloc` is told the layout, so the class comes from the table and no descriptor is looked up.

use core::alloc::{GlobalAlloc, Layout};
use core::fmt;
use core::ptr::{NonNull, null_mut};

use rhumb_machine::{Machine, Pinned};

use crate::class;
use crate::large::Extent;
use crate::memory::FRAME_BYTES;
use crate::slabs::Slabs;
use rhumb_sync::atomic::{AtomicPtr, Ordering};

/// A [`GlobalAlloc`] for a static: before [`Heap::set`] every allocation fails.
pub struct Heap<M: Machine + 'static>(AtomicPtr<Slabs<M>>);

/// The heap has an allocator already, and keeps it, because another one could not take back the memory that it gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AlreadySet;

impl fmt::Display for AlreadySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the heap has an allocator already")
    }
}

impl core::error::Error for AlreadySet {}

impl<M: Machine> Heap<M> {
    rhumb_sync::const_fn! {
        /// Makes a heap without an allocator.
        pub fn empty() -> Self {
            Self(AtomicPtr::new(null_mut()))
        }
    }

    /// Allocates from `slabs` from here on.
    ///
    /// # Errors
    /// [`AlreadySet`]: the heap has an allocator already, this one or another one, and keeps it.
    pub fn set(&self, slabs: &'static Slabs<M>) -> Result<(), AlreadySet> {
        let slabs = core::ptr::from_ref(slabs).cast_mut();
        let set = self.0.compare_exchange(null_mut(), slabs, Ordering::Release, Ordering::Relaxed);
        set.map(drop).map_err(|_| AlreadySet)
    }

    /// Returns the allocator.
    #[inline(always)]
    pub fn get(&self) -> Option<&'static Slabs<M>> {
        // SAFETY: null, or made by `set` of a `'static` reference.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }
}

/// The rest of each operation, which the common path ends in: it needs no frame of its own then, and keeps nothing for
/// the time after.
impl<M: Machine> Heap<M> {
    #[cold]
    #[inline(never)]
    fn alloc_slow(&self, layout: Layout) -> *mut u8 {
        let Some(slabs) = self.get() else { return null_mut() };
        let pin = slabs.machine().pin();
        slabs.alloc(pin.pinned(), layout).map_or(null_mut(), NonNull::as_ptr)
    }

    /// Gives memory back that the CPU's magazine did not take.
    ///
    /// # Safety
    /// These caches gave the memory with this layout, and no code uses it any more.
    #[cold]
    #[inline(never)]
    unsafe fn dealloc_slow(slabs: &Slabs<M>, object: NonNull<u8>, layout: Layout) {
        let pin = slabs.machine().pin();
        // SAFETY: the caller promises that the memory came with this layout, and that no code uses it.
        unsafe { slabs.free(pin.pinned(), object, layout) };
    }
}

// SAFETY: memory from the classes and from frames is exclusively the caller's until it is freed, has at least the size
// and alignment of its layout, and does not move.
unsafe impl<M: Machine> GlobalAlloc for Heap<M> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if let Some(slabs) = self.get() {
            let pin = slabs.machine().pin();
            let object = slabs.alloc_quickly(pin.pinned(), layout);
            drop(pin);
            if let Some(object) = object {
                return object.as_ptr();
            }
        }
        self.alloc_slow(layout)
    }

    #[inline]
    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        // SAFETY: the caller promises that this heap gave the memory with this layout: it is not null, and the heap has
        // an allocator, which never changes (`set`).
        let (slabs, object) = unsafe { (self.get().unwrap_unchecked(), NonNull::new_unchecked(object)) };
        let pin = slabs.machine().pin();
        // SAFETY: as the caller promises, this allocator gave the memory with this layout, and no code uses it.
        let is_kept = unsafe { slabs.free_quickly(pin.pinned(), object, layout) };
        drop(pin);
        if !is_kept {
            // SAFETY: as the caller promises, the memory came with this layout; it was not freed above.
            unsafe { Self::dealloc_slow(slabs, object, layout) };
        }
    }

    #[inline]
    unsafe fn realloc(&self, object: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (Some(slabs), Some(object)) = (self.get(), NonNull::new(object)) else { return null_mut() };
        let pin = slabs.machine().pin();
        // SAFETY: the caller promises that this heap gave the memory with this layout, and its allocator never changes
        // (`set`).
        unsafe { slabs.realloc(pin.pinned(), object, layout, size) }.map_or(null_mut(), NonNull::as_ptr)
    }
}

impl<M: Machine> Slabs<M> {
    /// Makes memory larger or smaller, in place where its class, or its frames, are the same.
    ///
    /// # Safety
    /// The memory came from [`Slabs::alloc`] with this layout, and after a success only the new memory is used.
    ///
    /// # Errors
    /// [`AllocError`](crate::AllocError); the old memory is as it was.
    pub unsafe fn realloc(
        &self,
        pinned: Pinned<'_>,
        object: NonNull<u8>,
        layout: Layout,
        size: usize,
    ) -> Result<NonNull<u8>, crate::AllocError> {
        let new = Layout::from_size_align(size, layout.align()).map_err(|_| crate::AllocError::TooLarge)?;
        let same = match (self.class(layout), self.class(new)) {
            (Some(old), Some(new)) => core::ptr::eq(old, new),
            (None, None) => {
                let frames = self.large_frames_of(object);
                let wanted = (size as u64).div_ceil(FRAME_BYTES);
                wanted <= frames && wanted * 2 > frames
            }
            _ => false,
        };
        if same {
            return Ok(object);
        }
        let moved = self.alloc(pinned, new)?;
        // SAFETY: both have at least this many bytes, and are two objects; the old one came with this layout, as the
        // caller promises, and is not used after this.
        unsafe {
            moved.copy_from_nonoverlapping(object, layout.size().min(size));
            self.free(pinned, object, layout);
        }
        Ok(moved)
    }

    /// Returns how many bytes may be used of memory that [`Slabs::alloc`] gives for `layout`; `None` where it gives
    /// none. The answer depends on the layout alone.
    pub fn usable_bytes(layout: Layout) -> Option<usize> {
        match class::holding(layout) {
            Some(class) => Some(class::bytes(class.number())),
            None => Some((Extent::of(layout)?.kept * FRAME_BYTES) as usize),
        }
    }
}
