//! An array over all frame numbers, of which only the elements of RAM need memory.
//!
//! ```text
//! physical   |RAM|  hole  |      RAM, node 0      |  RAM, node 1  |          elements of 12 bytes:
//! array      |##|.........|#######################|###############|          a 341st of the size
//!             page           4K .. 2M .. 2M .. 4K   4K .. 2M .. 4K
//! ```
//! Elements come in groups (the frame allocator clears those of a 2-MiB block at once), and a group is there whole or
//! not at all. Where two nodes meet in a page, the lower one provides it.
//!
//! This says which pages; their memory comes from [`crate::BootFrames`], and mapping them is the kernel's.

use rhumb_machine::{NodeId, PageSize, PhysRange, VirtAddr, VirtRange};

/// An array with one element for each frame.
#[derive(Clone, Copy, Debug)]
pub struct FrameArray {
    /// The address of the element of frame 0: on a page's boundary.
    pub base: VirtAddr,
    /// Bytes of an element.
    pub element_bytes: u64,
    /// Frames whose elements come together: a power of two.
    pub group_frames: u64,
}

/// 4-KiB pages of the array that adjoin and should have memory of one node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArrayRun {
    /// The pages.
    pub virt: VirtRange,
    /// The node of the frames that they describe.
    pub node: NodeId,
}

impl FrameArray {
    /// Returns the pages that the elements of `ram` need, ascending and disjoint. `ram` is ascending and disjoint, too.
    pub fn runs<I>(self, ram: I) -> impl Iterator<Item = ArrayRun>
    where
        I: IntoIterator<Item = (PhysRange, NodeId)>,
    {
        let mut runs = self.pieces(ram.into_iter()).peekable();
        core::iter::from_fn(move || {
            let mut run = runs.next()?;
            let adjoins = |run: &ArrayRun, next: &ArrayRun| {
                next.node == run.node && next.virt.start() == run.virt.end()
            };
            while let Some(next) = runs.next_if(|next| adjoins(&run, next)) {
                run.virt = VirtRange::new(run.virt.start(), next.virt.end())?;
            }
            Some(run)
        })
    }

    /// Returns the pages of each piece, less those that an earlier one has.
    fn pieces(self, ram: impl Iterator<Item = (PhysRange, NodeId)>) -> impl Iterator<Item = ArrayRun> {
        let mut done = self.base;
        ram.filter_map(move |(piece, node)| {
            let frames = piece.whole_frames();
            let first = frames.start().get() & !(self.group_frames - 1);
            let end = frames.end().get().checked_next_multiple_of(self.group_frames)?;
            let at = |frame: u64| {
                Some(VirtAddr::new(self.base.get().checked_add(frame.checked_mul(self.element_bytes)?)?))
            };
            let pages = VirtRange::new(at(first)?, at(end)?)?.align_outward(PageSize::Size4K)?;
            let virt = VirtRange::new(pages.start().max(done), pages.end())?;
            if frames.is_empty() || virt.is_empty() {
                return None;
            }
            done = virt.end();
            Some(ArrayRun { virt, node })
        })
    }
}

#[cfg(test)]
mod tests;
