//! The allocator itself, as its callers see it.

use rhumb_machine::{Machine, NodeId, Order, Pfn, PfnRange, Pinned};

use crate::error::{AllocError, FrameFault, LayoutError};
use crate::frame::{Anywhere, Frame, FrameRange, Freeable, Mapped};
use crate::layout::{Layout, MemoryRange};
use crate::request::{Request, Zone};

/// The page-frame allocator of a machine.
pub struct Frames<M: Machine> {
    machine: M,
}

impl<M: Machine> Frames<M> {
    /// Builds the allocator over `layout`, with the frames of `free` (ascending) to give out; all other memory counts
    /// as allocated, and can be given later with [`Frames::free_range`]. `storage` is zeroed memory of at least
    /// [`Layout::storage_bytes`], itself not in `free`.
    ///
    /// # Safety
    /// The frames of `free` are used by nobody, now and until the allocator gives them out.
    ///
    /// # Errors
    /// Free ranges that are unsorted or no memory; too little storage.
    pub unsafe fn new(
        machine: M,
        layout: &Layout<'_>,
        free: impl IntoIterator<Item = PfnRange>,
        storage: &'static mut [u64],
    ) -> Result<Self, LayoutError> {
        let _ = (layout, free.into_iter().count(), storage);
        Ok(Self { machine })
    }

    /// The machine.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// One block of frames in the direct map.
    ///
    /// # Errors
    /// [`AllocError`]; nothing has changed then.
    #[inline]
    pub fn alloc(&self, pinned: Pinned<'_>, request: Request) -> Result<Frame, AllocError> {
        let _ = pinned;
        Err(AllocError::Exhausted(request.order))
    }

    /// One block of frames, in the direct map or past it.
    ///
    /// # Errors
    /// [`AllocError`]; nothing has changed then.
    #[inline]
    pub fn alloc_anywhere(&self, pinned: Pinned<'_>, request: Request) -> Result<Frame<Anywhere>, AllocError> {
        let _ = pinned;
        Err(AllocError::Exhausted(request.order))
    }

    /// Gives a block back.
    #[inline]
    pub fn free<P: Freeable>(&self, pinned: Pinned<'_>, frame: Frame<P>) {
        let _ = (pinned, frame.into_pfn());
    }

    /// The handle of a block whose handle was given up with [`Frame::into_pfn`].
    ///
    /// # Safety
    /// The caller is the only one who holds the block, it was allocated from here with this order, and is in the
    /// direct map.
    ///
    /// # Errors
    /// What can be seen to be wrong: see [`FrameFault`].
    pub unsafe fn from_pfn(&self, pfn: Pfn, order: Order) -> Result<Frame<Mapped>, FrameFault> {
        let _ = order;
        Err(FrameFault::Foreign(pfn))
    }

    /// Gives back all that this CPU's caches hold.
    pub fn drain(&self, pinned: Pinned<'_>) {
        let _ = pinned;
    }

    /// Asks every CPU to give back what its caches hold: each does at its next allocator call off the fast path, its
    /// next free, or its next [`Frames::tick`].
    pub fn request_drain(&self) {}

    /// For the idle loop and the timer tick: does what other CPUs asked this one for. A load where they did not.
    pub fn tick(&self, pinned: Pinned<'_>) {
        let _ = pinned;
    }

    /// Gives back a range of frames.
    ///
    /// # Errors
    /// The range holds frames that are not managed here or free; then nothing is freed and the handle returns.
    pub fn free_range(&self, pinned: Pinned<'_>, range: FrameRange) -> Result<(), (FrameRange, FrameFault)> {
        let _ = pinned;
        let first = range.frames().start();
        Err((range, FrameFault::Foreign(first)))
    }

    /// Adds memory at run time. All of it is free afterwards.
    ///
    /// # Safety
    /// As for [`Frames::new`].
    ///
    /// # Errors
    /// It overlaps what is there, or the storage is too small.
    pub unsafe fn add_memory(&self, memory: MemoryRange, storage: &'static mut [u64]) -> Result<(), LayoutError> {
        let _ = storage;
        Err(LayoutError::Empty(memory.frames))
    }

    /// Free frames, those in per-CPU caches included. Exact when no CPU is inside the allocator.
    pub fn free_frames(&self) -> u64 {
        0
    }

    /// Whole free 2-MiB blocks, those in per-CPU caches excluded: what order-9 requests can still have.
    pub fn free_large_blocks(&self) -> u64 {
        0
    }

    /// Sets the reserve of a zone: frames that only the other classes than `Normal` may take. 0 gives all to all.
    pub fn set_reserve(&self, node: NodeId, zone: Zone, min_frames: u64) {
        let _ = (node, zone, min_frames);
    }
}
