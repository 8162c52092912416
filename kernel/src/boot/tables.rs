//! Frames for the kernel's own tables, and why these cannot be built.

use core::fmt;

use rhumb_bootinfo::{BootFrames, MemoryMap, OutOfBootFrames, Reservation, Topology};
use rhumb_directmap::{BuildError, DirectMapError};
use rhumb_machine::{Block, NodeId, PageSize, Pfn, PfnRange, PhysAddr, PhysRange, VirtRange};
use rhumb_pagetable::{MapError, OutOfTables, TableSource};
use rhumb_tableguard::{TableStore, Tenure};

use super::scratch::Scratch;

/// The CPUs that start later load the trampoline's root in 32-bit mode: below 4 GiB.
pub(super) const LOW_CEILING: PhysAddr = PhysAddr::new(1 << 32);

/// Returns the end of the memory for tables: all of them stay reachable through the direct map, so below its limit.
pub(super) fn ceiling(limit: Option<PhysAddr>) -> PhysAddr {
    limit.unwrap_or(PhysAddr::new(u64::MAX))
}

/// Returns a block for tables that are to be protected, low enough for each of them.
pub fn take_first_block(
    map: &mut MemoryMap,
    limit: Option<PhysAddr>,
    topology: &Topology,
) -> Result<PfnRange, OutOfBootFrames> {
    let node = topology.cpus.first().map_or(NodeId::FIRST, |boot| boot.node);
    take_block(&mut BootFrames::below(map, ceiling(limit).min(LOW_CEILING)), topology, node)
}

fn take_block(
    frames: &mut BootFrames<'_>,
    topology: &Topology,
    node: NodeId,
) -> Result<PfnRange, OutOfBootFrames> {
    let length = PageSize::Size2M.frames();
    frames.take_run_near(topology, node, length, length, Reservation::PageTables)
}

/// Frames for tables, zeroed as they are taken and counted: where they are to be protected, from whole blocks.
pub(super) struct Tables<'a, 'map> {
    pub(super) frames: &'a mut BootFrames<'map>,
    pub(super) topology: &'a Topology,
    /// The node that uses most what is taken now.
    pub(super) node: NodeId,
    scratch: &'a Scratch,
    taken: Taken,
}

/// The frames that tables were given.
pub(super) struct Taken {
    /// How many there are.
    pub(super) frames: u64,
    /// The blocks that they came from, where tables are to be protected.
    pub(super) store: TableStore,
}

impl Taken {
    /// None so far.
    pub(super) const NONE: Self = Self { frames: 0, store: TableStore::new() };
}

impl<'a, 'map> Tables<'a, 'map> {
    /// Returns a source that takes `frames`, near `node`, after those that were `taken` before.
    pub(super) fn new(
        frames: &'a mut BootFrames<'map>,
        topology: &'a Topology,
        node: NodeId,
        scratch: &'a Scratch,
        taken: Taken,
    ) -> Self {
        Self { frames, topology, node, scratch, taken }
    }

    /// Returns the frames of all RAM, also past the end of the direct map: for memory that has a map of its own.
    pub(super) fn anywhere(&mut self) -> BootFrames<'_> {
        self.frames.elsewhere(PhysRange::below(PhysAddr::new(u64::MAX)))
    }

    /// Returns what was taken.
    pub(super) fn finish(self) -> Taken {
        self.taken
    }

    /// Puts a block into the store: tables come from there from now on.
    pub(super) fn add_block(&mut self, block: PfnRange) {
        block.iter().for_each(|frame| self.scratch.zero(frame));
        let block = Block::around(block.start(), PageSize::Size2M);
        self.taken.store.add(&mut self.scratch.tables(), block, Tenure::Stays);
    }
}

// SAFETY: each frame is taken from the memory map or from the store, which give a frame once, and was zeroed.
unsafe impl TableSource for Tables<'_, '_> {
    fn take_zeroed_table(&mut self) -> Result<Pfn, OutOfTables> {
        let mut memory = self.scratch.tables();
        let frame = if self.taken.store.blocks() == 0 {
            let run = self.frames.take_run_near(self.topology, self.node, 1, 1, Reservation::PageTables);
            let frame = run.map_err(|_| OutOfTables)?.start();
            self.scratch.zero(frame);
            frame
        } else {
            if self.taken.store.free() == 0 {
                let block = take_block(self.frames, self.topology, self.node).map_err(|_| OutOfTables)?;
                self.add_block(block);
            }
            self.taken.store.take(&mut memory).ok_or(OutOfTables)?
        };
        self.taken.frames += 1;
        Ok(frame)
    }

    /// Does nothing, because boot frames cannot be given back. Only a mapping that fails gives any, and the kernel
    /// stops then.
    unsafe fn give_back(&mut self, _table: Pfn) {}
}

/// Why the tables cannot be built. The kernel cannot go on then.
#[derive(Debug)]
pub enum PagingError {
    Plan(DirectMapError),
    Build(BuildError),
    Map(MapError),
    Memory(OutOfBootFrames),
    Tables(OutOfTables),
    Descriptors(NoDescriptors),
}

impl fmt::Display for PagingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(error) => error.fmt(f),
            Self::Build(error) => error.fmt(f),
            Self::Map(error) => error.fmt(f),
            Self::Memory(error) => error.fmt(f),
            Self::Tables(error) => error.fmt(f),
            Self::Descriptors(error) => error.fmt(f),
        }
    }
}

impl From<DirectMapError> for PagingError {
    fn from(error: DirectMapError) -> Self {
        Self::Plan(error)
    }
}

impl From<BuildError> for PagingError {
    fn from(error: BuildError) -> Self {
        Self::Build(error)
    }
}

impl From<MapError> for PagingError {
    fn from(error: MapError) -> Self {
        Self::Map(error)
    }
}

impl From<OutOfBootFrames> for PagingError {
    fn from(error: OutOfBootFrames) -> Self {
        Self::Memory(error)
    }
}

impl From<OutOfTables> for PagingError {
    fn from(error: OutOfTables) -> Self {
        Self::Tables(error)
    }
}

impl From<NoDescriptors> for PagingError {
    fn from(error: NoDescriptors) -> Self {
        Self::Descriptors(error)
    }
}

/// The memory of the descriptors cannot be had.
#[derive(Debug)]
pub struct NoDescriptors {
    pub(super) wanted: VirtRange,
    pub(super) cause: OutOfBootFrames,
}

impl fmt::Display for NoDescriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the frame descriptors take a 341st of RAM, and not even single frames are free for those at {} ({})",
            self.wanted, self.cause
        )
    }
}
