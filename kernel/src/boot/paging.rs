//! Building the kernel's own tables: direct map, image, stacks, devices, windows, frame descriptors, and the tree that
//! other CPUs start on.
//!
//! All of it happens on the boot tables, with frames from the boot allocator and before anything else exists. The
//! number of tables is known beforehand, and they lie in one run where one is free. Nothing in these trees is writable
//! and executable, by any alias (invariant I4): what the image or the trampoline executes is read-only in the direct
//! map.

use crate::facts::DirectMapFigures;
use arrayvec::ArrayVec;
use core::fmt;

use rhumb_bootinfo::{BootFrames, MemoryMap, OutOfBootFrames, Reservation, Topology};
use rhumb_directmap::{BuildError, DirectMapError, Plan, PlanRequest};
use rhumb_machine::{Block, CpuId, NodeId, PageSize, Pfn, PfnRange, PhysAddr, PhysRange, VirtAddr};
use rhumb_pagetable::{
    Access, Attributes, CacheMode, EmptyTables, Entry, Levels, MapError, Mapper, Mapping, OutOfTables, Root,
    Scope, TableMemory, TableSource,
};
use rhumb_tableguard::{TableStore, Tenure};

use super::descriptors;
use super::descriptors::NoDescriptors;
use super::scratch::Scratch;
use crate::arch::features::features;
use crate::cpu::clock;
use crate::facts::DescriptorFigures;
use crate::layout;
use crate::layout::{Stack, image};

/// Text, read-only data, trampoline: three, with room for the executable pool's first piece.
pub const MAX_READ_ONLY: usize = 4;

/// The trees that are to be built.
pub struct Wanted<'a> {
    pub levels: Levels,
    pub largest: PageSize,
    pub limit: Option<PhysAddr>,
    /// CPUs that may be started, this one included.
    pub cpus: usize,
    /// Page of the trampoline code, if other CPUs are to be started.
    pub trampoline: Option<PhysRange>,
    /// Where the first tables are to lie, if tables are to be protected: from [`take_first_block`].
    pub first_block: Option<PfnRange>,
    /// Device registers: each gets the next place among the devices.
    pub devices: &'a [PhysRange],
    /// Whose memory is whose.
    pub topology: &'a Topology,
    /// The largest page that the frame descriptors may use.
    pub largest_for_descriptors: PageSize,
}

impl Wanted<'_> {
    /// Returns the node of the CPU that will have this number, if all CPUs before it start.
    pub fn node_of(&self, cpu: usize) -> NodeId {
        self.topology.startable().nth(cpu).map_or(NodeId::FIRST, |cpu| cpu.node)
    }
}

/// The trees that were built.
pub struct Built {
    pub root: Root,
    /// The tree that other CPUs start on.
    pub trampoline_root: Option<Root>,
    pub direct_map: DirectMapFigures,
    pub descriptors: DescriptorFigures,
    pub table_frames: u64,
    /// The blocks that tables were taken from, where they are to be protected.
    pub store: TableStore,
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

/// The CPUs that start later load the trampoline's root in 32-bit mode: below 4 GiB.
const LOW_CEILING: PhysAddr = PhysAddr::new(1 << 32);

/// Returns the end of the memory for tables: all of them stay reachable through the direct map, so below its limit.
fn ceiling(limit: Option<PhysAddr>) -> PhysAddr {
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
    node: NodeId,
    scratch: &'a Scratch,
    taken: u64,
    store: TableStore,
}

impl Tables<'_, '_> {
    fn add_block(&mut self, block: PfnRange) {
        block.iter().for_each(|frame| self.scratch.zero(frame));
        let block = Block::around(block.start(), PageSize::Size2M);
        self.store.add(&mut self.scratch.tables(), block, Tenure::Stays);
    }
}

// SAFETY: each frame is taken from the memory map or from the store, which give a frame once, and was zeroed.
unsafe impl TableSource for Tables<'_, '_> {
    fn take_zeroed_table(&mut self) -> Result<Pfn, OutOfTables> {
        let mut memory = self.scratch.tables();
        let frame = if self.store.blocks() == 0 {
            let run = self.frames.take_run_near(self.topology, self.node, 1, 1, Reservation::PageTables);
            let frame = run.map_err(|_| OutOfTables)?.start();
            self.scratch.zero(frame);
            frame
        } else {
            if self.store.free() == 0 {
                let block = take_block(self.frames, self.topology, self.node).map_err(|_| OutOfTables)?;
                self.add_block(block);
            }
            self.store.take(&mut memory).ok_or(OutOfTables)?
        };
        self.taken += 1;
        Ok(frame)
    }

    /// Boot frames cannot be given back. Only a mapping that fails gives any, and the kernel stops then.
    unsafe fn give_back(&mut self, _table: Pfn) {}
}

/// Builds everything.
pub fn build(map: &mut MemoryMap, scratch: &Scratch, wanted: &Wanted<'_>) -> Result<Built, PagingError> {
    let ram: ArrayVec<PhysRange, { rhumb_bootinfo::memory_map::MAX_REGIONS }> = map.ram().collect();
    let mut read_only = ArrayVec::<PhysRange, MAX_READ_ONLY>::new();
    read_only.extend([image::physical(image::text()), image::physical(image::rodata())]);
    read_only.extend(wanted.trampoline);
    read_only.sort_unstable_by_key(|range| range.start());
    let base = match wanted.levels {
        Levels::Four => layout::DIRECT_MAP_4,
        Levels::Five => layout::DIRECT_MAP_5,
    };
    let before = clock::ticks();
    let plan = Plan::new(&PlanRequest {
        base,
        levels: wanted.levels,
        ram: ram.iter().copied(),
        read_only: &read_only,
        largest: wanted.largest,
        limit: wanted.limit,
    })?;

    let ceiling = ceiling(wanted.limit);
    let tree = |table| Root::new(table, wanted.levels).with_phys_bits(u32::from(features().physical_bits));
    let mut low_frames = BootFrames::below(map, ceiling.min(LOW_CEILING));
    let (topology, node) = (wanted.topology, wanted.node_of(0));
    let mut source =
        Tables { frames: &mut low_frames, topology, node, scratch, taken: 0, store: TableStore::new() };
    if let Some(block) = wanted.first_block {
        source.add_block(block);
    }
    let trampoline_root = match wanted.trampoline {
        Some(_) => Some(tree(source.take_zeroed_table()?)),
        None => None,
    };
    let Tables { taken, store, .. } = source;
    let mut frames = BootFrames::below(map, ceiling);
    let mut source = Tables { frames: &mut frames, topology, node, scratch, taken, store };
    let root = tree(source.take_zeroed_table()?);

    let mut memory = scratch.tables();
    plan.build(root, &mut memory, &mut source)?;
    let build_ticks = clock::ticks() - before;
    let mut mapper = Mapper::new(root, &mut memory);
    map_image(&mut mapper, &mut source)?;
    map_stacks(&mut mapper, &mut source, wanted)?;
    map_devices(&mut mapper, &mut source, wanted.devices)?;
    prepare_windows(&mut mapper, &mut source, wanted)?;
    source.node = node;
    let largest = wanted.largest_for_descriptors;
    let descriptors = descriptors::map(&mut mapper, &mut source, &ram, largest)?;
    if let (Some(trampoline_root), Some(page)) = (trampoline_root, wanted.trampoline) {
        build_trampoline(&mut memory, &mut source, root, trampoline_root, page)?;
    }
    let Tables { taken: table_frames, store, .. } = source;

    let direct_map = DirectMapFigures {
        base,
        pages: plan.pages(),
        tables: plan.tables(),
        high_bytes: plan.high_bytes(),
        build_ticks,
    };
    Ok(Built { root, trampoline_root, direct_map, descriptors, table_frames, store })
}

/// Text read-only and executable, read-only data, data: each on its own 2-MiB pages.
fn map_image<M: TableMemory>(
    mapper: &mut Mapper<'_, M>,
    source: &mut Tables<'_, '_>,
) -> Result<(), PagingError> {
    for (segment, access) in [
        (image::text(), Access::ReadExecute),
        (image::rodata(), Access::ReadOnly),
        (image::data(), Access::ReadWrite),
    ] {
        let mapping = Mapping {
            virt: segment.start(),
            phys: image::physical(segment),
            attributes: Attributes::kernel(access),
            largest: PageSize::Size2M,
        };
        mapper.map(&mapping, source)?;
    }
    Ok(())
}

/// Each CPU's stacks, of its node's memory, with the page below each left out.
fn map_stacks<M: TableMemory>(
    mapper: &mut Mapper<'_, M>,
    source: &mut Tables<'_, '_>,
    wanted: &Wanted<'_>,
) -> Result<(), PagingError> {
    for cpu in (0..wanted.cpus).filter_map(CpuId::new) {
        source.node = wanted.node_of(cpu.index());
        for stack in Stack::ALL {
            let range = stack.range(cpu);
            let frames = range.bytes() / PageSize::Size4K.bytes();
            let frames =
                source.frames.take_run_near(source.topology, source.node, frames, 1, Reservation::PerCpu)?;
            let mapping = Mapping {
                virt: range.start(),
                phys: frames.addrs(),
                attributes: Attributes::kernel(Access::ReadWrite),
                largest: PageSize::Size4K,
            };
            mapper.map(&mapping, source)?;
        }
    }
    Ok(())
}

/// A table for each CPU's windows, of its node's memory, all entries clear: a page is mapped there and removed again,
/// and the table stays. Nothing has used these addresses, so nothing is flushed.
fn prepare_windows<M: TableMemory>(
    mapper: &mut Mapper<'_, M>,
    source: &mut Tables<'_, '_>,
    wanted: &Wanted<'_>,
) -> Result<(), PagingError> {
    for cpu in (0..wanted.cpus).filter_map(CpuId::new) {
        source.node = wanted.node_of(cpu.index());
        let page = layout::range(layout::windows(cpu).start(), PageSize::Size4K.bytes());
        let mapping = Mapping {
            virt: page.start(),
            phys: PhysRange::of_length(image::physical(image::data()).start(), page.bytes())
                .unwrap_or_default(),
            attributes: Attributes::kernel(Access::ReadWrite),
            largest: PageSize::Size4K,
        };
        mapper.map(&mapping, source)?;
        let _ = mapper.unmap(page, EmptyTables::Keep)?;
    }
    Ok(())
}

/// Device registers, one after the other, uncached.
fn map_devices<M: TableMemory>(
    mapper: &mut Mapper<'_, M>,
    source: &mut Tables<'_, '_>,
    devices: &[PhysRange],
) -> Result<(), PagingError> {
    for (virt, &phys) in device_places(devices).zip(devices) {
        let attributes = Attributes::kernel(Access::ReadWrite).with_cache(CacheMode::UncachedStrong);
        mapper.map(&Mapping { virt, phys, attributes, largest: PageSize::Size4K }, source)?;
    }
    Ok(())
}

/// Returns where each of `devices` is mapped: one after the other, with an absent page between, so that no overrun of
/// one reaches the next.
pub fn device_places(devices: &[PhysRange]) -> impl Iterator<Item = VirtAddr> {
    devices.iter().scan(layout::DEVICES, |next, device| {
        let place = *next;
        *next = next.plus(device.bytes() + PageSize::Size4K.bytes());
        Some(place)
    })
}

/// The kernel's upper half, and the trampoline's page executable at its physical address.
fn build_trampoline<M: TableMemory>(
    memory: &mut M,
    source: &mut Tables<'_, '_>,
    root: Root,
    trampoline_root: Root,
    page: PhysRange,
) -> Result<(), PagingError> {
    for index in rhumb_pagetable::ENTRIES / 2..rhumb_pagetable::ENTRIES {
        let entry: Entry = memory.read(root.table, index);
        memory.write(trampoline_root.table, index, entry);
    }
    let attributes = Attributes { scope: Scope::AddressSpace, ..Attributes::kernel(Access::ReadExecute) };
    let virt = VirtAddr::new(page.start().get());
    Mapper::new(trampoline_root, memory)
        .map(&Mapping { virt, phys: page, attributes, largest: PageSize::Size4K }, source)?;
    Ok(())
}
