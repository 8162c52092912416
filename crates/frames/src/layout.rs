//! The memory that an allocator is built for: ranges, their nodes, the direct map's limit, how many CPUs.
//!
//! A [`Layout`] is checked when it is made; after that, building the allocator can fail only on its storage and on
//! free ranges that are no memory.

use rhumb_machine::{MAX_CPUS, MAX_NODES, NodeId, Pfn, PfnRange};

use crate::block::Block;
use crate::cache::CpuCache;
use crate::depot::MAX_POOLS;
use crate::error::LayoutError;
use crate::pool::{Arrays, Pool};
use crate::request::Zone;
use crate::storage::{LINE_BYTES, Storage, Zeroable, bytes_for};
use crate::sync::{AtomicU8, AtomicU64};
use crate::tree::{self, BitTree};
use crate::words::WORDS;

// SAFETY: made of integers and atomic integers.
unsafe impl Zeroable for Block {}
// SAFETY: made of atomic integers and atomic booleans.
unsafe impl Zeroable for CpuCache {}

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
    pub(crate) nodes: usize,
    distances: Option<&'memory [u8]>,
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
        let nodes = memory.iter().map(|range| range.node.index() + 1).max().unwrap_or(1);
        Ok(Self { memory, direct_limit, cpus, nodes, distances: None })
    }

    /// For a machine of `nodes` nodes, some of which have no memory yet. Never fewer than the memory names.
    #[must_use]
    pub fn nodes(self, nodes: usize) -> Self {
        Self { nodes: nodes.clamp(self.nodes, MAX_NODES), ..self }
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

/// A stretch of one node in one zone that becomes one pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) span: PfnRange,
    pub(crate) node: NodeId,
    pub(crate) zone: Zone,
}

impl Piece {
    fn blocks(&self) -> usize {
        Pool::blocks_of(self.span)
    }

    /// Words of the tree of whole blocks.
    pub(crate) fn tree_words(&self) -> usize {
        tree::storage_words(self.blocks() + Pool::skew_of(self.span))
    }

    /// Bytes of storage for this pool.
    fn bytes(&self) -> usize {
        bytes_for::<Pool>(1)
            + bytes_for::<AtomicU64>(self.blocks() * WORDS)
            + bytes_for::<Block>(self.blocks())
            + bytes_for::<AtomicU64>(self.tree_words())
    }

    /// Cuts the pool's arrays.
    pub(crate) fn arrays(&self, storage: &mut Storage) -> Result<Arrays, LayoutError> {
        let bound = self.blocks() + Pool::skew_of(self.span);
        Ok(Arrays {
            words: storage.zeroed(self.blocks() * WORDS)?,
            blocks: storage.zeroed(self.blocks())?,
            whole: BitTree::new(bound, storage.zeroed(self.tree_words())?),
        })
    }
}

/// A hole of this many frames, 1 GiB, is worth a pool of its own behind it: its records would take 40 KiB.
const HOLE_FRAMES: u64 = 1 << 18;

/// Calls `each` for every piece of `memory`, ascending: cut at zone limits and between nodes, joined over small holes.
pub(crate) fn for_each_piece<E>(
    memory: &[MemoryRange],
    direct_limit: Pfn,
    mut each: impl FnMut(Piece) -> Result<(), E>,
) -> Result<(), E> {
    let mut open: Option<Piece> = None;
    for range in memory {
        let mut rest = range.frames;
        for zone in Zone::ALL {
            let cut = rest.end().min(zone.end(direct_limit)).max(rest.start());
            let (Some(span), Some(above)) =
                (PfnRange::new(rest.start(), cut), PfnRange::new(cut, rest.end()))
            else {
                continue;
            };
            rest = above;
            if span.is_empty() {
                continue;
            }
            let new = Piece { span, node: range.node, zone };
            open = match open {
                Some(old) if old.node == new.node && old.zone == zone && is_near(old.span, span) => {
                    Some(Piece { span: PfnRange::new(old.span.start(), span.end()).unwrap_or(span), ..old })
                }
                Some(old) => {
                    each(old)?;
                    Some(new)
                }
                None => Some(new),
            };
        }
    }
    open.map_or(Ok(()), each)
}

fn is_near(before: PfnRange, after: PfnRange) -> bool {
    after.start().since(before.end()) < HOLE_FRAMES
}

impl Layout<'_> {
    /// Bytes of zeroed storage that [`crate::Frames::new`] needs for this memory: 0.157 byte a frame, and 33 KiB a CPU,
    /// of which only what is used is ever touched.
    pub fn storage_bytes(&self) -> usize {
        // Finding pieces cannot fail where the closure does not.
        let (mut bytes, mut has_high) = (LINE_BYTES, 0);
        let _ = for_each_piece(self.memory, self.direct_limit, |piece| {
            bytes += piece.bytes();
            has_high |= usize::from(piece.zone == Zone::High);
            Ok::<(), LayoutError>(())
        });
        bytes
            + bytes_for::<CpuCache>(self.cpus * (1 + has_high))
            + bytes_for::<AtomicU8>(self.nodes * MAX_POOLS)
            + bytes_for::<AtomicU8>(self.nodes * MAX_NODES)
    }

    /// Bytes of zeroed storage that [`crate::Frames::add_memory`] needs for `memory`.
    pub fn added_bytes(&self, memory: MemoryRange) -> usize {
        added_bytes(memory, self.direct_limit)
    }
}

pub(crate) fn added_bytes(memory: MemoryRange, direct_limit: Pfn) -> usize {
    let mut bytes = LINE_BYTES;
    let _ = for_each_piece(&[memory], direct_limit, |piece| {
        bytes += piece.bytes();
        Ok::<(), LayoutError>(())
    });
    bytes
}
