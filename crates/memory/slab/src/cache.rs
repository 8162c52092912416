//! Caches with a type: values are moved in, and dropped in place. A leaf where `unsafe` lives.

use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use rhumb_machine::{Machine, Pinned};

use crate::error::{AllocError, SpecError};
use crate::raw::{DestroyError, RawCache};
use crate::slabs::Slabs;
use crate::spec::CacheSpec;

/// A value that a cache returns, because there is no memory for it.
pub struct Refused<T> {
    /// The value.
    pub value: T,
    /// Why.
    pub error: AllocError,
}

impl<T> fmt::Debug for Refused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Refused({:?})", self.error)
    }
}

impl<T> fmt::Display for Refused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T> core::error::Error for Refused<T> {}

/// A cache of values.
pub struct Cache<T: 'static, M: Machine + 'static> {
    raw: RawCache<M>,
    _values: PhantomData<fn(T) -> T>,
}

/// A value in a [`Cache`], whose memory goes back to the cache when the value is dropped. The cache outlives it.
pub struct Object<'cache, T: 'static, M: Machine + 'static> {
    at: NonNull<T>,
    cache: &'cache Cache<T, M>,
    _owns: PhantomData<T>,
}

// SAFETY: an object owns its value, as a `Box` does, so it may move where the value may; the cache that it goes back to
// may be used from every CPU.
unsafe impl<T: Send, M: Machine> Send for Object<'_, T, M> {}
// SAFETY: a shared object gives shared access to its value alone, which the value allows.
unsafe impl<T: Sync, M: Machine> Sync for Object<'_, T, M> {}

impl<T, M: Machine> fmt::Debug for Cache<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.raw.fmt(f)
    }
}

impl<T, M: Machine> Cache<T, M> {
    /// Makes a cache with the name, the class and the alignment of `spec`, or that of `T` where it is larger:
    /// [`CacheSpec::of`].
    ///
    /// # Errors
    /// [`SpecError`]: the sizes do not fit, or there is no memory or no number for a cache.
    pub fn new(slabs: &'static Slabs<M>, pinned: Pinned<'_>, spec: CacheSpec<'_>) -> Result<Self, SpecError> {
        let spec = CacheSpec { size: size_of::<T>(), align: spec.align.max(align_of::<T>()), ..spec };
        Ok(Self { raw: RawCache::new(slabs, pinned, &spec)?, _values: PhantomData })
    }

    /// Puts `value` into an object.
    ///
    /// # Errors
    /// No memory: the value comes back.
    #[inline]
    pub fn alloc(&self, pinned: Pinned<'_>, value: T) -> Result<Object<'_, T, M>, Refused<T>> {
        match self.raw.alloc(pinned) {
            Ok(at) => {
                let at = at.cast::<T>();
                // SAFETY: the object is ours alone, with the size and alignment of T.
                unsafe { at.write(value) };
                Ok(Object { at, cache: self, _owns: PhantomData })
            }
            Err(error) => Err(Refused { value, error }),
        }
    }

    /// Drops an object with the caller's token, where the drop at the end of its scope would pin by itself.
    #[inline]
    pub fn free(&self, pinned: Pinned<'_>, object: Object<'_, T, M>) {
        let object = ManuallyDrop::new(object);
        // SAFETY: the handle owned the value, and is not dropped; the value goes to the cache that it came from.
        unsafe {
            object.at.drop_in_place();
            object.cache.raw.free(pinned, object.at.cast());
        }
    }

    /// Takes over the value behind a pointer that [`Object::into_raw`] gave.
    ///
    /// # Safety
    /// It came from an object of this cache, and is taken over once.
    pub const unsafe fn from_raw(&self, at: NonNull<T>) -> Object<'_, T, M> {
        Object { at, cache: self, _owns: PhantomData }
    }

    /// Returns the cache without its type.
    pub const fn raw(&self) -> &RawCache<M> {
        &self.raw
    }

    /// Gives the cache up. See [`RawCache::destroy`].
    ///
    /// # Errors
    /// [`DestroyError`], with the cache as it was: objects are out (they were leaked, or given up with
    /// [`Object::into_raw`]), or it is being walked.
    #[expect(
        clippy::result_large_err,
        reason = "it names owners, and is asked for once in the life of a cache"
    )]
    pub fn destroy(self, pinned: Pinned<'_>) -> Result<(), (Self, DestroyError)> {
        let back = |(raw, error)| (Self { raw, _values: PhantomData }, error);
        self.raw.destroy(pinned).map_err(back)
    }
}

impl<T, M: Machine> Object<'_, T, M> {
    /// Gives up the handle: the value lives on behind the pointer.
    pub fn into_raw(self) -> NonNull<T> {
        ManuallyDrop::new(self).at
    }
}

impl<T, M: Machine> Deref for Object<'_, T, M> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the handle owns the value, and is borrowed.
        unsafe { self.at.as_ref() }
    }
}

impl<T, M: Machine> DerefMut for Object<'_, T, M> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the handle owns the value, and is borrowed exclusively.
        unsafe { self.at.as_mut() }
    }
}

impl<T, M: Machine> Drop for Object<'_, T, M> {
    fn drop(&mut self) {
        // SAFETY: the handle owned the value, which goes to the cache that it came from.
        unsafe {
            self.at.drop_in_place();
            let pin = self.cache.raw.slabs.machine().pin();
            self.cache.raw.free(pin.pinned(), self.at.cast());
        }
    }
}

impl<T: fmt::Debug, M: Machine> fmt::Debug for Object<'_, T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}
