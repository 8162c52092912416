//! [`MemoryEvent`]: what an allocator tells of itself while it is traced.

use crate::addr::{Pfn, VirtAddr};

/// Something that an allocator has done, or is about to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryEvent {
    /// Frames have been allocated.
    FramesAllocated {
        /// The first frame.
        first: Pfn,
        /// How many.
        frames: u64,
        /// The owner that the request names, 0 for none.
        owner: u16,
    },
    /// Frames are about to be free.
    FramesFreed {
        /// The first frame.
        first: Pfn,
        /// How many.
        frames: u64,
        /// The owner that the frames are stamped with, 0 for none.
        owner: u16,
    },
    /// An object has been allocated.
    ObjectAllocated {
        /// Where it lies.
        address: VirtAddr,
        /// The size of the cache's objects.
        bytes: u64,
        /// The number of the cache; none for an object of whole frames.
        cache: Option<u16>,
    },
    /// An object is about to be free.
    ObjectFreed {
        /// Where it lies.
        address: VirtAddr,
        /// The size of the cache's objects.
        bytes: u64,
        /// The number of the cache; none for an object of whole frames.
        cache: Option<u16>,
    },
}
