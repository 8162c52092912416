//! A cache of raw memory: objects of one size, without a type. A leaf where `unsafe` lives.

use core::fmt;
use core::ptr::NonNull;

use rhumb_frames::AllocClass;
use rhumb_machine::{Machine, Pinned};

use crate::error::{AllocError, SpecError};
use crate::record::Record;
use crate::report::InUse;
use crate::slabs::Slabs;
use crate::spec::CacheSpec;

/// A cache of objects of one size, without a type.
pub struct RawCache<M: Machine + 'static> {
    pub(crate) slabs: &'static Slabs<M>,
    pub(crate) record: &'static Record,
}

/// Why a cache was not given up.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it names owners, and is asked for once in the life of a cache"
)]
pub enum DestroyError {
    /// Objects of it are out.
    InUse(InUse),
    /// It is being walked, by a report, a reclaim, a trim or a tick: on another CPU, or interrupted on this one.
    Busy,
}

impl fmt::Display for DestroyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(in_use) => in_use.fmt(f),
            Self::Busy => f.write_str("the cache is being walked; try again later"),
        }
    }
}

impl core::error::Error for DestroyError {}

impl<M: Machine> RawCache<M> {
    /// Makes a cache. It takes a cell for its records; slabs come with the first use.
    ///
    /// # Errors
    /// [`SpecError`]: the sizes do not fit, or there is no memory or no number for a cache.
    pub fn new(
        slabs: &'static Slabs<M>,
        pinned: Pinned<'_>,
        spec: &CacheSpec<'_>,
    ) -> Result<Self, SpecError> {
        let record = slabs.registry.make(&slabs.memory, &slabs.cells, &slabs.config, pinned, spec)?;
        Ok(Self { slabs, record })
    }

    /// Returns an object. Its content is stale. From the CPU's magazine: no lock, no locked operation, no shared line;
    /// about 2 ns.
    ///
    /// # Errors
    /// [`AllocError`]; nothing has changed then.
    #[inline]
    pub fn alloc(&self, pinned: Pinned<'_>) -> Result<NonNull<u8>, AllocError> {
        self.slabs.alloc_from(self.record, pinned, AllocClass::Ordinary)
    }

    /// Gives an object back.
    ///
    /// # Safety
    /// It is an object of this cache, and no code uses it any more.
    #[inline]
    pub unsafe fn free(&self, pinned: Pinned<'_>, object: NonNull<u8>) {
        // SAFETY: the caller promises an object of this cache that no code uses any more.
        unsafe { self.slabs.free_to(self.record, pinned, object) }
    }

    /// Returns how many bytes an object has.
    pub fn object_bytes(&self) -> usize {
        self.record.shape.object_bytes as usize
    }

    /// Returns the allocator that it belongs to.
    pub const fn slabs(&self) -> &'static Slabs<M> {
        self.slabs
    }

    /// Gives the cache up. It waits for nothing: while the cache is being walked it refuses.
    ///
    /// # Errors
    /// [`DestroyError`], with the cache as it was: objects are out, and by which users; or the cache is being walked.
    #[expect(
        clippy::result_large_err,
        reason = "it names owners, and is asked for once in the life of a cache"
    )]
    pub fn destroy(self, pinned: Pinned<'_>) -> Result<(), (Self, DestroyError)> {
        let (slabs, record) = (self.slabs, self.record);
        if slabs.registry.retire(&slabs.memory, record).is_err() {
            return Err((self, DestroyError::Busy));
        }
        // SAFETY: the handle is the caller's alone, so that no CPU uses the cache; it is retired, so that none walks
        // it.
        unsafe { slabs.drain_whole(record, pinned) };
        if let Some(in_use) = slabs.in_use(record) {
            slabs.registry.restore(&slabs.memory, record);
            return Err((self, DestroyError::InUse(in_use)));
        }
        // SAFETY: it is retired and empty, and this handle ends here.
        unsafe { slabs.registry.forget(&slabs.memory, &slabs.cells, pinned, record) };
        Ok(())
    }
}

impl<M: Machine> fmt::Debug for RawCache<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawCache({})", self.record.setup.name)
    }
}
