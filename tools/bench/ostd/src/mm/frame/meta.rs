//! The descriptor of a frame: 64 bytes.

use core::cell::UnsafeCell;
use core::fmt::Debug;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::mm::{PAGE_SIZE, Paddr};
use crate::stand_in::{FIRST_PADDR, SLOT_COUNT, SLOTS};

/// The reference count of an unused frame. Zero: fresh descriptors are unused.
pub(crate) const UNUSED: u64 = u64::MAX;
/// The reference count of a frame with one owner.
pub(crate) const UNIQUE: u64 = u64::MAX - 1;

/// A value that can be metadata: at most 40 bytes.
pub trait AnyFrameMeta: Debug {}

/// Makes a type metadata.
#[macro_export]
macro_rules! impl_frame_meta_for {
    ($type:ty) => {
        impl $crate::mm::frame::meta::AnyFrameMeta for $type {}
    };
}

/// Why a frame cannot be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum GetFrameError {
    /// It is in use.
    InUse,
    /// It is not in use.
    Unused,
    /// It does not exist.
    OutOfBound,
}

/// A descriptor.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct MetaSlot {
    storage: UnsafeCell<[u64; 5]>,
    pub(crate) ref_count: AtomicU64,
    pub(crate) in_list: AtomicU64,
}

// SAFETY: the storage belongs to the code that claimed the slot through its reference count.
unsafe impl Sync for MetaSlot {}

const _: () = assert!(size_of::<MetaSlot>() == 64);

impl MetaSlot {
    /// Of an unused frame.
    pub const fn unused() -> Self {
        let (ref_count, in_list) = (AtomicU64::new(UNUSED), AtomicU64::new(0));
        Self { storage: UnsafeCell::new([0; 5]), ref_count, in_list }
    }

    #[inline]
    pub(crate) fn meta_ptr<M>(&self) -> *mut M {
        const { assert!(size_of::<M>() <= 40 && align_of::<M>() <= 8) };
        self.storage.get().cast()
    }
}

/// Returns the descriptor of the frame at `paddr`.
#[inline]
pub(crate) fn slot(paddr: Paddr) -> Option<&'static MetaSlot> {
    let index = paddr.wrapping_sub(FIRST_PADDR.load(Ordering::Relaxed)) / PAGE_SIZE;
    (index < SLOT_COUNT.load(Ordering::Relaxed)).then(|| {
        // SAFETY: `stand_in::begin` was given as many slots.
        unsafe { &*SLOTS.load(Ordering::Relaxed).add(index) }
    })
}

/// Returns the frame that `slot` describes.
#[inline]
pub(crate) fn paddr(slot: &MetaSlot) -> Paddr {
    let bytes = core::ptr::from_ref(slot).addr() - SLOTS.load(Ordering::Relaxed).addr();
    FIRST_PADDR.load(Ordering::Relaxed) + bytes / size_of::<MetaSlot>() * PAGE_SIZE
}
