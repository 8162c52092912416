//! Frames as this crate uses them: blocks by their address in the direct map, or in the [`Space`] that objects have in
//! its place, and their descriptors. A leaf where `unsafe` lives.
//!
//! A block is asked for without an owner, so that it comes from the CPU's magazine of frames, and is stamped here. The
//! stamp is taken off before the block goes back, for the same reason.

use core::ptr::NonNull;

use rhumb_frames::{Descriptor, DescriptorView, FrameRange, Frames, Owner, Request};
use rhumb_machine::{Machine, Order, PageSize, Pfn, PfnRange, Pinned, VirtAddr, impossible};

use crate::space::Space;

/// Bytes of a frame.
pub(crate) const FRAME_BYTES: u64 = PageSize::Size4K.bytes();

/// The use of a frame of ours, in its descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PageType(u8);

impl PageType {
    /// Objects; the private word is the address of the slab's header.
    pub(crate) const SLAB: Self = Self(0x51);
    /// The first frame of a large object; the private word is its length in frames.
    pub(crate) const LARGE: Self = Self(0x53);
    /// Headers, magazines and records of the first store of cells.
    const CELLS: u8 = 0x60;

    /// Headers, magazines and records of this store of cells; the private word has a bit for each free cell.
    pub(crate) const fn cells(store: usize) -> Self {
        Self(Self::CELLS + store as u8)
    }

    /// Returns the number of the store that the cells of the frame belong to, if it has cells.
    pub(crate) fn store(descriptor: DescriptorView<'_>) -> Option<usize> {
        descriptor.page_type().checked_sub(Self::CELLS).map(usize::from)
    }
}

/// The frame allocator, and in whose name frames are taken.
pub(crate) struct Memory<M: Machine + 'static> {
    frames: &'static Frames<M>,
    owner: Owner,
    /// The addresses of blocks of objects, where these are not in the direct map.
    space: Option<&'static dyn Space>,
}

impl<M: Machine> Memory<M> {
    pub(crate) const fn new(
        frames: &'static Frames<M>,
        owner: Owner,
        space: Option<&'static dyn Space>,
    ) -> Self {
        Self { frames, owner, space }
    }

    /// Returns the space that has an address of a block of objects.
    #[inline]
    fn space_of(&self, address: usize) -> Option<&'static dyn Space> {
        self.space.filter(|space| space.contains(VirtAddr::new(address as u64)))
    }

    /// Returns the space where objects at multiples of `align` may be. Its addresses are aligned to pages; a block of the
    /// direct map is aligned to its size.
    #[inline]
    fn space_for(&self, align: usize) -> Option<&'static dyn Space> {
        self.space.filter(|_| align as u64 <= FRAME_BYTES)
    }

    #[inline(always)]
    pub(crate) const fn machine(&self) -> &'static M {
        self.frames.machine()
    }

    pub(crate) const fn frames(&self) -> &'static Frames<M> {
        self.frames
    }

    /// Returns the frame that shows at `address`; where there is none, a number that no frame has.
    #[inline]
    pub(crate) fn pfn(&self, address: usize) -> Pfn {
        if let Some(space) = self.space_of(address) {
            return space.pfn(VirtAddr::new(address as u64)).unwrap_or(Pfn::new(u64::MAX / FRAME_BYTES));
        }
        let base = self.machine().direct_map_base().get();
        Pfn::new((address as u64).wrapping_sub(base) / FRAME_BYTES)
    }

    /// Returns the descriptor of the frame that shows at `address`.
    #[inline]
    pub(crate) fn descriptor(&self, address: usize) -> Option<DescriptorView<'static>> {
        self.frames.descriptor(self.pfn(address))
    }

    /// Returns the descriptor of the frame that shows at `address`, to write it.
    ///
    /// # Safety
    /// The frame came from [`Memory::take`] and has not gone back.
    #[inline]
    pub(crate) unsafe fn descriptor_to_write(&self, address: usize) -> Option<&'static Descriptor> {
        // SAFETY: the caller promises that the frame came from `take` and has not gone back, so that its descriptor is
        // this crate's to write.
        unsafe { self.frames.descriptor_to_write(self.pfn(address)) }
    }

    /// Returns the private word of the frame at `address`, if it is one of ours and of this type.
    #[inline]
    pub(crate) fn private(&self, address: usize, page_type: PageType) -> Option<u64> {
        let descriptor = self.descriptor(address)?;
        (descriptor.page_type() == page_type.0).then(|| descriptor.private())
    }

    /// Takes a block, not yet stamped; `None` where there is none, or no descriptor for it.
    pub(crate) fn take(&self, pinned: Pinned<'_>, request: Request) -> Option<NonNull<u8>> {
        let frame = self.frames.alloc(pinned, request).ok()?;
        if self.frames.descriptor_of(&frame).is_none() {
            self.frames.free(pinned, frame);
            return None;
        }
        NonNull::new(self.machine().direct(frame.into_pfn().addr()).as_mut_ptr())
    }

    /// Takes a block for objects at multiples of `align`: as [`Memory::take`] does, or as many pages of the space, where
    /// its addresses will do.
    pub(crate) fn take_for_objects(
        &self,
        pinned: Pinned<'_>,
        request: Request,
        align: usize,
    ) -> Option<NonNull<u8>> {
        match self.space_for(align) {
            Some(space) => self.map(space, pinned, request.wanted_order().frames(), request),
            None => self.take(pinned, request),
        }
    }

    /// Takes the first `kept` frames of a block of less than 2 MiB, or all of a block; in the space, where its addresses
    /// will do.
    pub(crate) fn take_large(
        &self,
        pinned: Pinned<'_>,
        request: Request,
        kept: u64,
        align: usize,
    ) -> Option<NonNull<u8>> {
        if let Some(space) = self.space_for(align) {
            return self.map(space, pinned, kept, request);
        }
        let start = self.take(pinned, request)?;
        let order = request.wanted_order();
        if kept < order.frames() {
            // SAFETY: the block was taken just now, and is less than 2 MiB; the kept frames come first, and no code
            // knows the others.
            unsafe {
                let rest = start.add((kept * FRAME_BYTES) as usize);
                self.give_run(pinned, rest, order.frames() - kept, 0);
            }
        }
        Some(start)
    }

    fn map(
        &self,
        space: &'static dyn Space,
        pinned: Pinned<'_>,
        pages: u64,
        request: Request,
    ) -> Option<NonNull<u8>> {
        let start = space.map(pinned, pages, request.wanted_class())?;
        NonNull::new(start.as_mut_ptr())
    }

    /// Writes type, private word and owner into the descriptors of `frames` frames from `start` on.
    ///
    /// # Safety
    /// The frames came from [`Memory::take`] and have not gone back.
    pub(crate) unsafe fn stamp(&self, start: NonNull<u8>, frames: u64, page_type: PageType, private: u64) {
        for frame in 0..frames {
            // SAFETY: the caller promises that the frames came from `take` and have not gone back.
            if let Some(descriptor) = unsafe { self.descriptor_to_write(frame_at(start, frame)) } {
                descriptor.set_private(private);
                descriptor.set_owner(self.owner);
                descriptor.set_page_type(page_type.0);
            }
        }
    }

    /// Clears the descriptors that [`Memory::stamp`] wrote.
    ///
    /// # Safety
    /// The frames came from [`Memory::take`] and have not gone back.
    unsafe fn clear_stamp(&self, start: NonNull<u8>, frames: u64) {
        for frame in 0..frames {
            // SAFETY: the caller promises that the frames came from `take` and have not gone back.
            if let Some(descriptor) = unsafe { self.descriptor_to_write(frame_at(start, frame)) } {
                descriptor.set_page_type(0);
                descriptor.set_owner(Owner::NONE);
                descriptor.set_private(0);
            }
        }
    }

    /// Gives a block back, of which the first `stamped` frames are stamped.
    ///
    /// # Safety
    /// It came from [`Memory::take`] with this order, and no code uses it any more.
    pub(crate) unsafe fn give(&self, pinned: Pinned<'_>, start: NonNull<u8>, order: Order, stamped: u64) {
        if let Some(space) = self.space_of(start.addr().get()) {
            // SAFETY: passed on: `map` gave the pages.
            return unsafe { self.unmap(space, pinned, start, stamped) };
        }
        // SAFETY: the caller promises that `take` gave the block with this order, and that no code uses it any more; it
        // is held until it is freed here.
        let frame = unsafe {
            self.clear_stamp(start, stamped);
            self.frames.from_pfn(self.pfn(start.addr().get()), order)
        };
        // A block that the allocator refuses stays out of use, and its own checks tell of it.
        if let Ok(frame) = frame {
            self.frames.free(pinned, frame);
        }
    }

    /// Gives `frames` frames of a block back, as single ones, of which the first `stamped` are stamped.
    ///
    /// # Safety
    /// They are part of a block of less than 2 MiB that came from [`Memory::take`], and no code uses them any more.
    pub(crate) unsafe fn give_run(&self, pinned: Pinned<'_>, start: NonNull<u8>, frames: u64, stamped: u64) {
        if let Some(space) = self.space_of(start.addr().get()) {
            // SAFETY: passed on: `map` gave as many pages, because it keeps all of a block.
            return unsafe { self.unmap(space, pinned, start, stamped) };
        }
        let range = PfnRange::of_length(self.pfn(start.addr().get()), frames)
            .unwrap_or_else(|| impossible!("an object at the end of all numbers" => PfnRange::default()));
        // SAFETY: the caller promises that the frames are part of a block that `take` gave, and that no code uses them
        // any more; they are held until they are freed here.
        let range = unsafe {
            self.clear_stamp(start, stamped);
            FrameRange::assume(range)
        };
        // A block that the allocator refuses stays out of use, and its own checks tell of it.
        if let Err((range, _)) = self.frames.free_range(pinned, range) {
            let _ = range.into_frames();
        }
    }
}

impl<M: Machine> Memory<M> {
    /// Gives all pages back that [`Memory::map`] gave at once, of which the first `stamped` are stamped.
    ///
    /// # Safety
    /// It gave them, and no code uses them any more.
    unsafe fn unmap(&self, space: &dyn Space, pinned: Pinned<'_>, start: NonNull<u8>, stamped: u64) {
        // SAFETY: the caller promises pages of this space, which are held until they are given back here.
        unsafe {
            self.clear_stamp(start, stamped);
            space.unmap(pinned, VirtAddr::new(start.addr().get() as u64));
        }
    }
}

fn frame_at(start: NonNull<u8>, frame: u64) -> usize {
    start.addr().get() + (frame * FRAME_BYTES) as usize
}
