//! The memory that an allocator is built for: ranges, their nodes, the direct map's limit, how many CPUs.
//!
//! A [`Layout`] is checked when it is made; after that, building the allocator can fail only on its storage and on
//! free ranges that are no memory.

use rhumb_machine::{MAX_CPUS, MAX_NODES, NodeId, Pfn, PfnRange};

use crate::error::LayoutError;

/// A range of memory and the node that it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryRange {
    /// The frames.
    pub frames: PfnRange,
    /// Their node.
    pub node: NodeId,
}

/// A machine's memory, checked.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'memory> {
    pub(crate) memory: &'memory [MemoryRange],
    pub(crate) direct_limit: Pfn,
    pub(crate) cpus: usize,
    pub(crate) distances: Option<&'memory [u8]>,
}

impl<'memory> Layout<'memory> {
    /// `memory`, ascending and without overlap, on a machine of `cpus` CPUs whose direct map ends at `direct_limit`.
    ///
    /// # Errors
    /// Names the first range that is empty, unsorted, overlapping, or past 2^40 frames; or the CPUs.
    pub fn new(memory: &'memory [MemoryRange], cpus: usize, direct_limit: Pfn) -> Result<Self, LayoutError> {
        if memory.is_empty() {
            return Err(LayoutError::NoMemory);
        }
        if cpus == 0 || cpus > MAX_CPUS {
            return Err(LayoutError::TooManyCpus(cpus));
        }
        for (index, range) in memory.iter().enumerate() {
            check_range(range.frames)?;
            if let Some(next) = memory.get(index + 1)
                && next.frames.start() < range.frames.end()
            {
                return Err(LayoutError::Overlap(range.frames, next.frames));
            }
        }
        Ok(Self { memory, direct_limit, cpus, distances: None })
    }

    /// Distances between nodes, row by row as the SLIT has them: `table[from * MAX_NODES + to]` of `MAX_NODES` rows.
    /// Without them, a node is near to itself and equally far from all others.
    #[must_use]
    pub const fn distances(self, table: &'memory [u8]) -> Self {
        Self { distances: Some(table), ..self }
    }

    pub(crate) fn distance(&self, from: usize, to: usize) -> u8 {
        let given = self.distances.and_then(|table| table.get(from * MAX_NODES + to).copied());
        given.unwrap_or(if from == to { 10 } else { 20 })
    }
}

pub(crate) fn check_range(range: PfnRange) -> Result<(), LayoutError> {
    if range.is_empty() {
        return Err(LayoutError::Empty(range));
    }
    if range.end().get() > 1 << 40 {
        return Err(LayoutError::PastLimit(range.end()));
    }
    Ok(())
}

impl Layout<'_> {
    /// Bytes of zeroed storage that [`crate::Frames::new`] needs for this memory: about 0.16 byte a frame, and 30 KiB
    /// a CPU.
    pub fn storage_bytes(&self) -> usize {
        let frames: u64 = self.memory.iter().map(|range| range.frames.frames()).sum();
        (frames / 6) as usize + self.cpus * 65536
    }
}
