//! A box whose making can fail. A leaf where `unsafe` lives.
//!
//! `alloc::boxed::Box::new` ends the kernel when memory runs out (I12). [`TryBox::new`] hands the value back. For lists
//! there is `Vec::try_reserve`, which asks the global allocator and answers with an error.

use core::alloc::Layout;
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use rhumb_machine::{Machine, Pinned};

use crate::cache::Refused;
use crate::slabs::Slabs;

/// A value of its own, in memory by size.
pub struct TryBox<T, M: Machine + 'static> {
    at: NonNull<T>,
    slabs: &'static Slabs<M>,
    _owns: PhantomData<T>,
}

// SAFETY: it owns its value, as a Box does; the allocator may be used from every CPU.
unsafe impl<T: Send, M: Machine> Send for TryBox<T, M> {}
// SAFETY: as above.
unsafe impl<T: Sync, M: Machine> Sync for TryBox<T, M> {}

impl<T, M: Machine> TryBox<T, M> {
    /// Moves `value` into memory of its own.
    ///
    /// # Errors
    /// No memory: the value comes back.
    #[inline]
    pub fn new(slabs: &'static Slabs<M>, pinned: Pinned<'_>, value: T) -> Result<Self, Refused<T>> {
        match slabs.alloc(pinned, Layout::new::<T>()) {
            Ok(at) => {
                let at = at.cast::<T>();
                // SAFETY: the memory is ours alone, with the size and alignment of T.
                unsafe { at.write(value) };
                Ok(Self { at, slabs, _owns: PhantomData })
            }
            Err(error) => Err(Refused { value, error }),
        }
    }

    /// Moves the value out.
    pub fn into_inner(self) -> T {
        let this = ManuallyDrop::new(self);
        let pin = this.slabs.machine().pin();
        // SAFETY: the box owned the value, which is read once, and its memory, which came with this layout.
        unsafe {
            let value = this.at.read();
            this.slabs.free(pin.pinned(), this.at.cast(), Layout::new::<T>());
            value
        }
    }
}

impl<T, M: Machine> Deref for TryBox<T, M> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the box owns the value.
        unsafe { self.at.as_ref() }
    }
}

impl<T, M: Machine> DerefMut for TryBox<T, M> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the box owns the value.
        unsafe { self.at.as_mut() }
    }
}

impl<T, M: Machine> Drop for TryBox<T, M> {
    fn drop(&mut self) {
        let pin = self.slabs.machine().pin();
        // SAFETY: the box owned the value and its memory, which came with this layout.
        unsafe {
            self.at.drop_in_place();
            self.slabs.free(pin.pinned(), self.at.cast(), Layout::new::<T>());
        }
    }
}

impl<T: fmt::Debug, M: Machine> fmt::Debug for TryBox<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}
