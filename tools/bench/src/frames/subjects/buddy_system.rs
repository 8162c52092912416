//! `buddy_system_allocator`: its frame allocator is a tree of free blocks per order, on the process's heap.

use buddy_system_allocator::LockedFrameAllocator;
use rhumb_machine::{Order, Pfn, Pinned};

use crate::driver::Unfit;
use crate::frames::subject::{FrameSubject, Region};

/// Its own locked version.
pub(super) struct BuddySystem(LockedFrameAllocator);

impl FrameSubject for BuddySystem {
    const NAME: &'static str = "buddy_system_allocator";
    type Held = usize;
    type Storage = ();

    fn storage(_region: &Region) -> Result<(), Unfit> {
        Ok(())
    }

    fn new(region: &Region, (): ()) -> Result<Self, Unfit> {
        let (allocator, frames) = (LockedFrameAllocator::new(), region.frames());
        allocator.lock().add_frame(frames.start().get() as usize, frames.end().get() as usize);
        Ok(Self(allocator))
    }

    /// Its trees grow and shrink with the fragmentation.
    fn metadata_bytes(&self) -> Option<u64> {
        None
    }

    #[inline]
    fn get(&self, _pinned: Pinned<'_>, order: Order) -> Option<usize> {
        self.0.lock().alloc(order.frames() as usize)
    }

    #[inline]
    fn put(&self, _pinned: Pinned<'_>, frame: usize, order: Order) {
        self.0.lock().dealloc(frame, order.frames() as usize);
    }

    #[inline]
    fn first(&self, frame: &usize) -> Pfn {
        Pfn::new(*frame as u64)
    }
}
