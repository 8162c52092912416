//! The memory that an allocator is built for: ranges, their nodes, the direct map's limit, how many CPUs.
//!
//! A [`Layout`] is checked when it is made; after that, building the allocator can fail only on its storage and on
//! free ranges that are no memory.
//!
//! Memory is cut into pieces of one node in one zone. Where there are more pieces than pools, the layout joins them
//! over larger holes, and then small pieces with their neighbours of other nodes: a map that says nonsense costs
//! knowledge of nodes, and no memory ([`Layout::misplaced_frames`]).

use rhumb_machine::{MAX_CPUS, MAX_NODES, NodeId, Pfn, PfnRange};

use crate::cache::CpuCache;
use crate::error::LayoutError;
use crate::pool::bins::Bins;
use crate::pool::block::Block;
use crate::pool::tree::{self, WholeBlocks};
use crate::pool::words::WORDS;
use crate::pool::{Arrays, Pool};
use crate::request::{Mobility, Zone};
use crate::zones::storage::{AnyBytes, LINE_BYTES, Storage, Table, Zeroable, bytes_for};
use crate::zones::{FIRST_POOLS, MAX_POOLS};
use rhumb_sync::Keepers;
use rhumb_sync::atomic::{AtomicU8, AtomicU64};

// SAFETY: made of atomic integers.
unsafe impl Zeroable for Block {}
// SAFETY: made of atomic integers, each of which has a value for every bit pattern.
unsafe impl AnyBytes for Block {}
// SAFETY: made of atomic integers and atomic booleans.
unsafe impl Zeroable for CpuCache {}
// SAFETY: made of atomic integers.
unsafe impl Zeroable for Bins {}

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
    cpu_nodes: &'memory [NodeId],
    /// A hole of this many frames ends a piece.
    hole: u64,
    /// A piece of fewer frames is joined with the next one, whatever that one's node.
    least: u64,
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
        let mut layout = Self { cpus, nodes, ..Self::of(memory, direct_limit) };
        while layout.pieces() > FIRST_POOLS {
            // A wide hole costs storage: past 8 GiB, nodes are given up at the same rate.
            if layout.hole >= WIDEST_HOLE_FRAMES {
                layout.least = layout.least.max(HOLE_FRAMES / 1024) * 2;
            }
            if layout.hole < WIDEST_HOLE_FRAMES || layout.least > layout.hole {
                layout.hole *= 2;
            }
        }
        Ok(layout)
    }

    /// Makes the layout for one CPU, and checks and joins nothing.
    pub(crate) const fn of(memory: &'memory [MemoryRange], direct_limit: Pfn) -> Self {
        Self {
            memory,
            direct_limit,
            cpus: 1,
            nodes: 1,
            distances: None,
            cpu_nodes: &[],
            hole: HOLE_FRAMES,
            least: 0,
        }
    }

    fn pieces(&self) -> usize {
        let mut count = 0;
        self.for_each_piece(|_| count += 1);
        count
    }

    /// Frames that are managed as another node's than they are, because there are too many pieces of memory to keep
    /// all apart. 0 for all but absurd maps.
    pub fn misplaced_frames(&self) -> u64 {
        let mut misplaced = 0;
        self.for_each_piece(|piece| {
            let others = self.memory.iter().filter(|range| range.node != piece.node);
            misplaced += others.map(|range| range.frames.intersection(piece.span).frames()).sum::<u64>();
        });
        misplaced
    }

    /// Makes room for `nodes` nodes, some of which have no memory yet; never for fewer than the memory names.
    #[must_use]
    pub fn nodes(self, nodes: usize) -> Self {
        Self { nodes: nodes.clamp(self.nodes, MAX_NODES), ..self }
    }

    /// Sets the distances between nodes, row by row as the SLIT has them: `table[from * MAX_NODES + to]` of `MAX_NODES`
    /// rows. Without them, a node is near to itself and equally far from all others.
    #[must_use]
    pub const fn distances(self, table: &'memory [u8]) -> Self {
        Self { distances: Some(table), ..self }
    }

    /// Sets the node of each CPU, so that what a CPU keeps lies in memory of its node. The first node with memory is the
    /// node of CPUs of which nothing is said.
    #[must_use]
    pub const fn cpu_nodes(self, nodes: &'memory [NodeId]) -> Self {
        Self { cpu_nodes: nodes, ..self }
    }

    /// Returns the node in whose memory the cache of this CPU lies.
    pub(crate) fn node_of(&self, cpu: usize) -> NodeId {
        self.cpu_nodes.get(cpu).copied().filter(|node| node.index() < self.nodes).unwrap_or(self.first_node())
    }

    /// Returns the node in whose memory the tables of all nodes lie.
    pub(crate) fn first_node(&self) -> NodeId {
        self.memory.first().map_or(NodeId::FIRST, |range| range.node)
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

    /// Returns how many words the tree of whole blocks has.
    pub(crate) fn tree_words(&self) -> usize {
        tree::whole_words(self.blocks() + Pool::skew_of(self.span))
    }

    /// Returns how many bytes of storage this pool takes.
    fn bytes(&self) -> usize {
        bytes_for::<Pool>(1)
            + bytes_for::<AtomicU64>(self.blocks() * WORDS)
            + bytes_for::<Block>(self.blocks())
            + bytes_for::<AtomicU64>(Pool::cleared_words(self.span))
            + bytes_for::<Bins>(Mobility::COUNT)
            + bytes_for::<AtomicU64>(self.tree_words())
    }

    /// Cuts the pool's arrays.
    pub(crate) fn arrays(&self, storage: &mut Storage) -> Result<Arrays, LayoutError> {
        let bound = self.blocks() + Pool::skew_of(self.span);
        Ok(Arrays {
            words: storage.untouched(self.blocks() * WORDS)?,
            blocks: storage.untouched(self.blocks())?,
            cleared: storage.zeroed(Pool::cleared_words(self.span))?,
            whole: WholeBlocks::new(bound, storage.zeroed(self.tree_words())?),
            bins: storage.zeroed(Mobility::COUNT)?,
        })
    }
}

/// A hole of this many frames, 1 GiB, is worth a pool of its own behind it: its records would take 40 KiB.
const HOLE_FRAMES: u64 = 1 << 18;

/// The widest hole, 8 GiB, that is joined over before nodes are given up: its records take 320 KiB.
const WIDEST_HOLE_FRAMES: u64 = 1 << 21;

impl Layout<'_> {
    /// Calls `each` for every piece of memory, ascending: cut at zone limits and between nodes, joined over small
    /// holes.
    pub(crate) fn for_each_piece(&self, mut each: impl FnMut(Piece)) {
        let mut open: Option<Piece> = None;
        for range in self.memory {
            let mut rest = range.frames;
            for zone in Zone::ALL {
                let cut = rest.end().min(zone.end(self.direct_limit)).max(rest.start());
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
                open = Some(match open {
                    None => new,
                    Some(old) => self.join(old, new).unwrap_or_else(|| {
                        each(old);
                        new
                    }),
                });
            }
        }
        if let Some(last) = open {
            each(last);
        }
    }

    /// Joins both pieces, if they belong together, to one of the larger one's node.
    fn join(&self, old: Piece, new: Piece) -> Option<Piece> {
        let is_near = new.span.start().since(old.span.end()) < self.hole;
        let is_small = old.span.frames() < self.least;
        if !is_near || old.zone != new.zone || (old.node != new.node && !is_small) {
            return None;
        }
        let node = if new.span.frames() > old.span.frames() { new.node } else { old.node };
        Some(Piece { span: PfnRange::new(old.span.start(), new.span.end())?, node, ..old })
    }

    /// Returns how many bytes of storage [`crate::Frames::new`] needs for this memory: 0.157 byte for each frame and 33
    /// KiB for each CPU. Building touches the CPUs' part, and of the frames' a 500th where all are free.
    pub fn storage_bytes(&self) -> usize {
        (0..MAX_NODES).filter_map(NodeId::new).map(|node| self.storage_bytes_of(node)).sum()
    }

    /// Returns how many of these are best of the memory of `node`: those of its pools and of its CPUs' caches.
    pub fn storage_bytes_of(&self, node: NodeId) -> usize {
        let mut bytes = if node == self.first_node() { self.common_bytes() } else { 0 };
        let cpus = (0..self.cpus).filter(|&cpu| self.node_of(cpu) == node).count();
        bytes += cpus * bytes_for::<CpuCache>(1);
        self.for_each_piece(|piece| bytes += if piece.node == node { piece.bytes() } else { 0 });
        if bytes == 0 { 0 } else { bytes + LINE_BYTES }
    }

    /// Returns how many bytes the tables of all nodes take.
    fn common_bytes(&self) -> usize {
        bytes_for::<&CpuCache>(self.cpus)
            + 2 * bytes_for::<AtomicU64>(Keepers::words(self.cpus))
            + bytes_for::<Table<Pool, MAX_POOLS>>(1)
            + bytes_for::<AtomicU64>(MAX_POOLS)
            + 2 * bytes_for::<AtomicU8>(self.nodes * MAX_POOLS)
            + bytes_for::<AtomicU8>(self.nodes * MAX_NODES)
    }

    /// Returns how many bytes of storage [`crate::Frames::add_memory`] needs for `memory`.
    pub fn added_bytes(&self, memory: MemoryRange) -> usize {
        Layout::of(&[memory], self.direct_limit).piece_bytes()
    }

    /// Returns how many bytes the pools take, and aligning the storage may take.
    pub(crate) fn piece_bytes(&self) -> usize {
        let mut bytes = LINE_BYTES;
        self.for_each_piece(|piece| bytes += piece.bytes());
        bytes
    }
}
