//! Memory for the array of frame descriptors: where there is RAM, of the node that it describes, in the largest pages
//! that fit.
//!
//! A 341st of RAM. Nothing of it is written here: the frame allocator clears the descriptors of a 2-MiB block when it
//! first uses one. A run of pages ends where the node changes and where memory ends. The middle of a run is in the
//! largest pages, its ends are in smaller ones. Where no such piece of memory is free in one run, halves are tried,
//! then smaller pages.

use rhumb_bootinfo::{FrameArray, OutOfBootFrames, Reservation};
use rhumb_frames::Descriptor;
use rhumb_machine::{NodeId, PageSize, PfnRange, PhysRange, VirtAddr, VirtRange, impossible};
use rhumb_pagetable::{Access, Attributes, Mapper, Mapping, TableMemory};

use super::tables::{NoDescriptors, PagingError, Tables};
use crate::facts::DescriptorFigures;
use crate::layout;

/// The array: see `layout`. The allocator clears it in groups of 2-MiB blocks.
pub const ARRAY: FrameArray = FrameArray {
    base: layout::DESCRIPTORS,
    element_bytes: size_of::<Descriptor>() as u64,
    group_frames: PageSize::Size2M.frames(),
};

// Any frame that a page-table entry can name has its place.
const _: () = assert!(ARRAY.element_bytes << (52 - 12) <= layout::DESCRIPTORS_BYTES);

/// Maps the array for all `ram`, in pages of `largest` at most.
pub(super) fn map<M: TableMemory>(
    mapper: &mut Mapper<'_, M>,
    source: &mut Tables<'_, '_>,
    ram: &[PhysRange],
    largest: PageSize,
) -> Result<DescriptorFigures, PagingError> {
    let topology = source.topology;
    let mut array = Array { mapper, source, figures: DescriptorFigures::default() };
    let pieces = ram.iter().flat_map(|&range| topology.pieces(range));
    for run in ARRAY.runs(pieces) {
        array.map_run(run.virt, run.node, largest)?;
    }
    Ok(array.figures)
}

/// Returns the addresses from `start` to `end`, both in one range and in this order.
fn piece(start: VirtAddr, end: VirtAddr) -> VirtRange {
    let piece = VirtRange::new(start, end);
    piece.unwrap_or_else(|| impossible!("a piece ends at {}, before {}", end, start => VirtRange::default()))
}

struct Array<'a, 'tables, 'frames, 'map, M: TableMemory> {
    mapper: &'a mut Mapper<'tables, M>,
    source: &'a mut Tables<'frames, 'map>,
    figures: DescriptorFigures,
}

impl<M: TableMemory> Array<'_, '_, '_, '_, M> {
    /// Maps `virt`: its whole pages of `size` first, then what is left at both ends in smaller ones.
    fn map_run(&mut self, virt: VirtRange, node: NodeId, size: PageSize) -> Result<(), PagingError> {
        let Some(smaller) = size.smaller() else { return self.map_pages(virt, node, size) };
        let inner = virt.align_inward(size);
        if inner.is_empty() {
            return self.map_run(virt, node, smaller);
        }
        self.map_pages(inner, node, size)?;
        for (start, end) in [(virt.start(), inner.start()), (inner.end(), virt.end())] {
            let end = piece(start, end);
            if !end.is_empty() {
                self.map_run(end, node, smaller)?;
            }
        }
        Ok(())
    }

    /// Maps `virt`, which is whole pages of `size`.
    fn map_pages(&mut self, virt: VirtRange, node: NodeId, size: PageSize) -> Result<(), PagingError> {
        let frames = virt.bytes() / PageSize::Size4K.bytes();
        match (self.take(frames, node, size), size.smaller()) {
            (Ok(run), _) => self.map_frames(virt, run, size),
            (Err(_), _) if virt.bytes() > size.bytes() => {
                let half = (frames / size.frames()).div_ceil(2) * size.bytes();
                for part in [(virt.start(), virt.start().plus(half)), (virt.start().plus(half), virt.end())] {
                    self.map_pages(piece(part.0, part.1), node, size)?;
                }
                Ok(())
            }
            (Err(_), Some(smaller)) => self.map_pages(virt, node, smaller),
            (Err(cause), None) => Err(NoDescriptors { wanted: virt, cause }.into()),
        }
    }

    /// Takes frames in a row, near `node`: past the end of the direct map, too, because the array is a map of its own.
    fn take(&mut self, frames: u64, node: NodeId, size: PageSize) -> Result<PfnRange, OutOfBootFrames> {
        let topology = self.source.topology;
        let why = Reservation::FrameDescriptors;
        let run = self.source.anywhere().take_run_near(topology, node, frames, size.frames(), why)?;
        if topology.node_of(run.start().addr()) != node {
            self.figures.far_bytes += frames * PageSize::Size4K.bytes();
        }
        Ok(run)
    }

    fn map_frames(&mut self, virt: VirtRange, run: PfnRange, size: PageSize) -> Result<(), PagingError> {
        let mapping = Mapping {
            virt: virt.start(),
            phys: run.addrs(),
            attributes: Attributes::kernel(Access::ReadWrite),
            largest: size,
        };
        self.figures.pages.add_all(self.mapper.map(&mapping, self.source)?.pages);
        Ok(())
    }
}
