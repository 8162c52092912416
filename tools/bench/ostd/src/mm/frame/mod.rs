//! Handles of frames, and what an allocator offers.

use core::alloc::Layout;
use core::marker::PhantomData;
use core::sync::atomic::Ordering;

use super::{HasPaddr, Paddr};
use meta::{AnyFrameMeta, GetFrameError, MetaSlot, UNIQUE, UNUSED};

pub mod linked_list;
pub mod meta;

/// A frame allocator, as the framework calls it.
pub trait GlobalFrameAllocator: Sync {
    /// Contiguous frames.
    fn alloc(&self, layout: Layout) -> Option<Paddr>;
    /// Gives them back.
    fn dealloc(&self, addr: Paddr, size: usize);
    /// Adds memory.
    fn add_free_memory(&self, addr: Paddr, size: usize);
}

/// A frame with one holder.
#[derive(Debug)]
pub struct UniqueFrame<M: AnyFrameMeta> {
    slot: &'static MetaSlot,
    _meta: PhantomData<M>,
}

impl<M: AnyFrameMeta> UniqueFrame<M> {
    /// Claims an unused frame.
    ///
    /// # Errors
    /// It does not exist or is in use.
    #[inline]
    pub fn from_unused(paddr: Paddr, metadata: M) -> Result<Self, GetFrameError> {
        let slot = meta::slot(paddr).ok_or(GetFrameError::OutOfBound)?;
        let claimed = slot.ref_count.compare_exchange(UNUSED, 0, Ordering::Acquire, Ordering::Relaxed);
        claimed.map_err(|_| GetFrameError::InUse)?;
        // SAFETY: the slot has just been claimed.
        unsafe { slot.meta_ptr::<M>().write(metadata) };
        slot.ref_count.store(UNIQUE, Ordering::Relaxed);
        Ok(Self { slot, _meta: PhantomData })
    }

    /// Returns its metadata.
    #[inline]
    pub fn meta(&self) -> &M {
        // SAFETY: the handle is the only one, and was made with this type.
        unsafe { &*self.slot.meta_ptr() }
    }

    /// Returns its metadata.
    #[inline]
    pub fn meta_mut(&mut self) -> &mut M {
        // SAFETY: as above.
        unsafe { &mut *self.slot.meta_ptr() }
    }

    /// Lets go of it without telling the allocator.
    #[inline]
    pub fn reset_as_unused(self) {
        self.slot.ref_count.store(0, Ordering::Release);
        // SAFETY: the handle was the only one, and is used up.
        unsafe { self.slot.meta_ptr::<M>().drop_in_place() };
        self.slot.ref_count.store(UNUSED, Ordering::Release);
    }
}

impl<M: AnyFrameMeta> HasPaddr for UniqueFrame<M> {
    #[inline]
    fn paddr(&self) -> Paddr {
        meta::paddr(self.slot)
    }
}

/// A shared handle: named in the allocator's checks only.
#[derive(Debug)]
pub struct Frame<M: ?Sized>(PhantomData<M>);

impl Frame<dyn AnyFrameMeta> {
    /// Returns the frame, if it is in use.
    ///
    /// # Errors
    /// It is not.
    pub fn from_in_use(paddr: Paddr) -> Result<Self, GetFrameError> {
        let slot = meta::slot(paddr).ok_or(GetFrameError::OutOfBound)?;
        match slot.ref_count.load(Ordering::Relaxed) {
            UNUSED => Err(GetFrameError::Unused),
            _ => Err(GetFrameError::InUse),
        }
    }
}
