//! Caches with a type. A leaf where `unsafe` lives.
//!
//! [`Cache`] moves values in and drops them in place. [`Constructed`] keeps its objects constructed while they are free
//! (Bonwick 1994): the constructor runs once when a slab is made, and what it built (locks, lists, buffers) is found
//! again by each user, who hands it back as it was found.

use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use rhumb_machine::{Machine, Pinned};

use crate::error::{AllocError, SpecError};
use crate::raw::{InUse, RawCache};
use crate::record::Lifecycle;
use crate::slabs::Slabs;
use crate::spec::CacheSpec;

/// A value that was not taken, for want of memory: it comes back.
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

/// A value in a [`Cache`]: goes back when it is dropped. The cache outlives it.
pub struct Object<'cache, T: 'static, M: Machine + 'static> {
    at: NonNull<T>,
    cache: &'cache Cache<T, M>,
    _owns: PhantomData<T>,
}

// SAFETY: it owns its value, as a Box does; a cache may be used from every CPU.
unsafe impl<T: Send, M: Machine> Send for Object<'_, T, M> {}
// SAFETY: as above.
unsafe impl<T: Sync, M: Machine> Sync for Object<'_, T, M> {}

impl<T, M: Machine> fmt::Debug for Cache<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.raw.fmt(f)
    }
}

impl<T, M: Machine> Cache<T, M> {
    /// Makes a cache. `spec` says name, class and perhaps a larger alignment: [`CacheSpec::of`].
    ///
    /// # Errors
    /// [`SpecError`]: what is wrong with the sizes, or no memory.
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

    /// Drops an object by a token that is at hand, where the drop at the end of its scope would pin by itself.
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

    /// The cache without its type.
    pub const fn raw(&self) -> &RawCache<M> {
        &self.raw
    }

    /// Gives the cache up. See [`RawCache::destroy`].
    ///
    /// # Errors
    /// Objects are out (they were leaked, or given up with [`Object::into_raw`]): the cache, and who has them.
    #[expect(
        clippy::result_large_err,
        reason = "it names owners, and is asked for once in the life of a cache"
    )]
    pub fn destroy(self, pinned: Pinned<'_>) -> Result<(), (Self, InUse)> {
        let back = |(raw, in_use)| (Self { raw, _values: PhantomData }, in_use);
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
        // SAFETY: the handle owns the value.
        unsafe { self.at.as_ref() }
    }
}

impl<T, M: Machine> DerefMut for Object<'_, T, M> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the handle owns the value.
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

/// A cache whose objects are constructed once and stay so while they are free.
pub struct Constructed<T: 'static, M: Machine + 'static> {
    raw: RawCache<M>,
    _values: PhantomData<fn(T) -> T>,
}

/// An object of a [`Constructed`] cache: goes back as it is when it is dropped.
pub struct Borrowed<'cache, T: 'static, M: Machine + 'static> {
    at: NonNull<T>,
    cache: &'cache Constructed<T, M>,
    _owns: PhantomData<T>,
}

// SAFETY: it is its value's only user, as a Box is; a cache may be used from every CPU.
unsafe impl<T: Send, M: Machine> Send for Borrowed<'_, T, M> {}
// SAFETY: as above.
unsafe impl<T: Sync, M: Machine> Sync for Borrowed<'_, T, M> {}

/// Runs the constructor whose address `context` is.
///
/// # Safety
/// `context` was a `fn() -> T`, and `object` is unused memory for a T.
unsafe fn construct<T>(context: *const (), object: NonNull<u8>) {
    // SAFETY: the caller's promise; function pointers have the size of a pointer.
    unsafe {
        let make = core::mem::transmute::<*const (), fn() -> T>(context);
        object.cast::<T>().write(make());
    }
}

/// Drops a value in place.
///
/// # Safety
/// `object` is a T that nobody uses any more.
unsafe fn destruct<T>(object: NonNull<u8>) {
    // SAFETY: the caller's promise.
    unsafe { object.cast::<T>().drop_in_place() }
}

impl<T, M: Machine> fmt::Debug for Constructed<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.raw.fmt(f)
    }
}

// The objects are made on one CPU and used on any: hence Send.
impl<T: Send, M: Machine> Constructed<T, M> {
    /// Makes a cache whose objects `make` builds. It must not allocate from this cache.
    ///
    /// # Errors
    /// [`SpecError`]: what is wrong with the sizes, or no memory.
    pub fn new(
        slabs: &'static Slabs<M>,
        pinned: Pinned<'_>,
        spec: CacheSpec<'_>,
        make: fn() -> T,
    ) -> Result<Self, SpecError> {
        let lifecycle =
            Lifecycle { context: make as *const (), construct: construct::<T>, destruct: destruct::<T> };
        let align = spec.align.max(align_of::<T>());
        let spec = CacheSpec { size: size_of::<T>(), align, lifecycle: Some(lifecycle), ..spec };
        Ok(Self { raw: RawCache::new(slabs, pinned, &spec)?, _values: PhantomData })
    }

    /// A constructed object: new, or as its last user left it.
    ///
    /// # Errors
    /// [`AllocError`]; nothing has changed then.
    #[inline]
    pub fn take(&self, pinned: Pinned<'_>) -> Result<Borrowed<'_, T, M>, AllocError> {
        let at = self.raw.alloc(pinned)?.cast();
        Ok(Borrowed { at, cache: self, _owns: PhantomData })
    }

    /// The cache without its type.
    pub const fn raw(&self) -> &RawCache<M> {
        &self.raw
    }

    /// Gives the cache up and drops its objects. See [`RawCache::destroy`].
    ///
    /// # Errors
    /// Objects are out: the cache, and who has them.
    #[expect(
        clippy::result_large_err,
        reason = "it names owners, and is asked for once in the life of a cache"
    )]
    pub fn destroy(self, pinned: Pinned<'_>) -> Result<(), (Self, InUse)> {
        let back = |(raw, in_use)| (Self { raw, _values: PhantomData }, in_use);
        self.raw.destroy(pinned).map_err(back)
    }
}

impl<T, M: Machine> Deref for Borrowed<'_, T, M> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the handle is the value's only user.
        unsafe { self.at.as_ref() }
    }
}

impl<T, M: Machine> DerefMut for Borrowed<'_, T, M> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the handle is the value's only user.
        unsafe { self.at.as_mut() }
    }
}

impl<T, M: Machine> Drop for Borrowed<'_, T, M> {
    fn drop(&mut self) {
        let pin = self.cache.raw.slabs.machine().pin();
        // SAFETY: the object is of this cache, and its only user ends here.
        unsafe { self.cache.raw.free(pin.pinned(), self.at.cast()) };
    }
}
