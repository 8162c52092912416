//! The way from a frame number to its [`Descriptor`]; a leaf where `unsafe` lives.

use rhumb_machine::{Machine, Pfn, PfnRange};

use crate::block::{Block, State};
use crate::descriptor::Descriptor;
use crate::frames::Frames;
use crate::words::FRAMES;

impl<M: Machine> Frames<M> {
    /// The descriptor of a frame, to read it; or `None`: the frame is not managed here, the allocator was built without
    /// descriptors, or nobody has written any descriptor of this 2-MiB block yet, so that there is nothing to read.
    ///
    /// A frame whose request named an owner has one. Cost: a search among the pools, no lock.
    pub fn descriptor(&self, pfn: Pfn) -> Option<&Descriptor> {
        let block = self.block_of(pfn)?;
        if !block.described.is_filled() {
            return None;
        }
        // SAFETY: `block_of` found that the block holds memory.
        unsafe { self.descriptors.get(pfn) }
    }

    /// The descriptor of a frame, for its holder to write. The first call for a frame of a 2-MiB block clears the
    /// descriptors of all of it: 6 KiB, once. `None` where the frame is not managed here or there are no descriptors.
    pub fn descriptor_to_write(&self, pfn: Pfn) -> Option<&Descriptor> {
        let block = self.block_of(pfn)?;
        if !block.described.is_filled() {
            self.fill_descriptors(block, pfn)?;
        }
        // SAFETY: `block_of` found that the block holds memory.
        unsafe { self.descriptors.get(pfn) }
    }

    fn block_of(&self, pfn: Pfn) -> Option<&'static Block> {
        let pool = self.depot.pool_of(pfn)?;
        let block = &pool.blocks[pool.offset(pfn) / FRAMES as usize];
        (block.info().state() != State::Absent).then_some(block)
    }

    /// Clears the descriptors of the frames that this block has in its pool: at a pool's ends that may be less than 512.
    #[cold]
    fn fill_descriptors(&self, block: &Block, pfn: Pfn) -> Option<()> {
        let pool = self.depot.pool_of(pfn).filter(|_| !self.descriptors.is_absent())?;
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
