//! The way from a frame to its [`Descriptor`]; a leaf where `unsafe` lives.

use rhumb_machine::{Machine, NodeId, Pfn, PfnRange};

use crate::descriptor::{Descriptor, DescriptorView};
use crate::frames::Frames;
use crate::handle::frame::{Frame, Freeable};
use crate::handle::raw::Brand;
use crate::pool::Pool;
use crate::pool::block::{Block, State};
use crate::pool::words::FRAMES;
use crate::request::Owner;

impl<M: Machine> Frames<M> {
    /// Returns the descriptor of any frame, to read it; or `None`: the frame is not managed here, the allocator was
    /// built without descriptors, or no holder has written a descriptor of this 2-MiB block yet, so that there is
    /// nothing to read.
    ///
    /// A frame whose request named an owner has one. Cost: a search among the pools, no lock.
    #[inline]
    pub fn descriptor(&self, pfn: Pfn) -> Option<DescriptorView<'_>> {
        self.filled_descriptor(pfn).map(DescriptorView::new)
    }

    /// Returns the descriptor of the first frame of a block, for the block's holder to write. The first call for a
    /// frame of a 2-MiB block clears the descriptors of all of it: 6 KiB, once. `None` where there are no descriptors,
    /// or the block is another allocator's.
    ///
    /// The borrow ends before the handle is freed or given up, so that no holder writes after its time:
    /// ```compile_fail,E0505
    /// # use rhumb_frames::{Frame, Frames};
    /// # use rhumb_machine::{Machine, Pinned};
    /// fn late<M: Machine>(frames: &Frames<M>, pinned: Pinned<'_>, frame: Frame) {
    ///     let descriptor = frames.descriptor_of(&frame).expect("descriptors");
    ///     frames.free(pinned, frame);
    ///     descriptor.set_private(1);
    /// }
    /// ```
    /// A frame that is known by its number alone can be read, and not written:
    /// ```compile_fail,E0599
    /// # use rhumb_frames::Frames;
    /// # use rhumb_machine::{Machine, Pfn};
    /// fn others<M: Machine>(frames: &Frames<M>, pfn: Pfn) {
    ///     frames.descriptor(pfn).expect("a descriptor").set_private(1);
    /// }
    /// ```
    /// ```compile_fail,E0133
    /// # use rhumb_frames::Frames;
    /// # use rhumb_machine::{Machine, Pfn};
    /// fn others<M: Machine>(frames: &Frames<M>, pfn: Pfn) {
    ///     frames.descriptor_to_write(pfn).expect("a descriptor").set_private(1);
    /// }
    /// ```
    /// Nor does the holder of a frame that is out of the direct map write its descriptor: the pool that took the frame
    /// out keeps its record there.
    /// ```compile_fail,E0277
    /// # use rhumb_frames::{Frame, Frames, Unmapped};
    /// # use rhumb_machine::Machine;
    /// fn forge<M: Machine>(frames: &Frames<M>, frame: &Frame<Unmapped>) {
    ///     frames.descriptor_of(frame).expect("descriptors").set_private(1);
    /// }
    /// ```
    pub fn descriptor_of<'frame, P: Freeable>(
        &'frame self,
        frame: &'frame Frame<P>,
    ) -> Option<&'frame Descriptor> {
        if frame.brand() != self.brand() {
            return None;
        }
        // SAFETY: the handle proves that the caller holds the block, for as long as the handle is borrowed.
        unsafe { self.descriptor_to_write(frame.pfn()) }
    }

    /// Returns the descriptor of a frame, for its holder to write: as [`Frames::descriptor_of`], for holders that keep
    /// the number of the frame, and for the later frames of a block.
    ///
    /// # Safety
    /// The caller holds the frame as long as it uses the descriptor: it took the frame, and has not freed it yet.
    #[inline]
    pub unsafe fn descriptor_to_write(&self, pfn: Pfn) -> Option<&Descriptor> {
        self.described(pfn)
    }

    /// Returns the descriptors of `frames`, to read them, in ascending order; or `None`: where [`Frames::descriptor`]
    /// returns `None`, and where `frames` are none, or are not all of one pool and one 2-MiB block.
    ///
    /// Cost: one search among the pools for all of them, no lock.
    pub fn descriptors(&self, frames: PfnRange) -> Option<impl ExactSizeIterator<Item = DescriptorView<'_>>> {
        let block = self.block_of_all(frames)?;
        if !block.described.is_filled() {
            return None;
        }
        // SAFETY: `block_of_all` found that they are in one block, and that it holds memory.
        Some(unsafe { self.descriptors.run(frames) }?.iter().map(DescriptorView::new))
    }

    /// Returns the descriptors of `frames`, for their holder to write; or `None`: where there are no descriptors, and
    /// where `frames` are none, or are not all of one pool and one 2-MiB block.
    ///
    /// # Safety
    /// As for [`Frames::descriptor_to_write`]: the caller holds each of `frames` as long as it uses the descriptors.
    pub unsafe fn descriptors_to_write(&self, frames: PfnRange) -> Option<&[Descriptor]> {
        let block = self.block_of_all(frames)?;
        if !block.described.is_filled() {
            self.fill_descriptors(block, frames.start())?;
        }
        // SAFETY: `block_of_all` found that they are in one block, and that it holds memory.
        unsafe { self.descriptors.run(frames) }
    }

    /// Returns the descriptor of a frame, if its block's descriptors are filled in.
    #[inline]
    pub(crate) fn filled_descriptor(&self, pfn: Pfn) -> Option<&Descriptor> {
        let block = self.block_of(pfn)?;
        if !block.described.is_filled() {
            return None;
        }
        // SAFETY: `block_of` found that the block holds memory.
        unsafe { self.descriptors.get(pfn) }
    }

    /// Returns the owner that the descriptor of a frame of `block`, which holds memory, names.
    #[inline]
    pub(crate) fn owner_in(&self, block: &Block, pfn: Pfn) -> Owner {
        if !block.described.is_filled() {
            return Owner::NONE;
        }
        // SAFETY: the block holds memory.
        unsafe { self.descriptors.get(pfn) }.map_or(Owner::NONE, Descriptor::owner)
    }

    /// Returns the descriptor of a frame; its block's are filled in if they were not.
    #[inline]
    pub(crate) fn described(&self, pfn: Pfn) -> Option<&Descriptor> {
        let block = self.block_of(pfn)?;
        if !block.described.is_filled() {
            self.fill_descriptors(block, pfn)?;
        }
        // SAFETY: `block_of` found that the block holds memory.
        unsafe { self.descriptors.get(pfn) }
    }

    /// Returns the number by which handles of this allocator are known ([`Frame::brand`]).
    #[inline]
    pub const fn brand(&self) -> Brand {
        self.zones.brand
    }

    /// Returns the node of a frame; `None` where the frame is not managed here.
    #[inline]
    pub fn node_at(&self, pfn: Pfn) -> Option<NodeId> {
        self.zones.pool_of(pfn).map(|pool| pool.node)
    }

    /// Says whether frames have descriptors at all ([`Frames::with_descriptors`]).
    pub fn has_descriptors(&self) -> bool {
        !self.descriptors.is_absent()
    }

    fn block_of(&self, pfn: Pfn) -> Option<&'static Block> {
        self.zones.pool_of(pfn).and_then(|pool| block_in(pool, pfn))
    }

    /// Returns the block that holds all of `frames`, none of which is another pool's.
    fn block_of_all(&self, frames: PfnRange) -> Option<&'static Block> {
        let pool = self.zones.pool_of(frames.start())?;
        let last = Pfn::new(frames.end().get().checked_sub(1)?);
        let is_one = frames.start() <= last
            && pool.span.contains(last)
            && frames.start().get() / u64::from(FRAMES) == last.get() / u64::from(FRAMES);
        if is_one { block_in(pool, frames.start()) } else { None }
    }

    /// Clears the descriptors of the frames that this block has in its pool: at a pool's ends that may be less than
    /// 512.
    #[cold]
    fn fill_descriptors(&self, block: &Block, pfn: Pfn) -> Option<()> {
        let pool = self.zones.pool_of(pfn).filter(|_| !self.descriptors.is_absent())?;
        let start = pool.block_start(pool.offset(pfn) / FRAMES as usize);
        let frames = PfnRange::of_length(start, FRAMES.into())?.intersection(pool.span);
        let _irq_off = self.machine.irq_off();
        block.described.fill(|| {
            for pfn in frames.iter() {
                // SAFETY: all of it is in a block with memory.
                if let Some(descriptor) = unsafe { self.descriptors.get(pfn) } {
                    descriptor.clear();
                }
            }
        });
        Some(())
    }
}

/// Returns the block of a frame of `pool`, if it holds memory and was ever taken: a frame of any other has no holder.
fn block_in(pool: &'static Pool, pfn: Pfn) -> Option<&'static Block> {
    pool.record(pool.offset(pfn) / FRAMES as usize).filter(|block| block.info().state() != State::Absent)
}
