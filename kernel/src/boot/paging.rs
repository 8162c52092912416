//! Building the kernel's own tables: direct map, image, stacks, devices, windows, long mappings, frame descriptors, and the tree that
//! other CPUs start on.
//!
//! All of it happens on the boot tables, with frames from the boot allocator and before anything else exists. The
//! number of tables is known beforehand, and they lie in one run where one is free. Nothing in these trees is writable
//! and executable, by any alias (invariant I4): what the image or the trampoline executes is read-only in the direct
//! map.

use arrayvec::ArrayVec;
use rhumb_bootinfo::{BootFrames, MemoryMap, Reservation, Topology};
use rhumb_directmap::{Plan, PlanRequest};
use rhumb_machine::{Block, CpuId, NodeId, PageSize, PfnRange, PhysAddr, PhysRange, VirtAddr};
use rhumb_pagetable::{
    Access, Attributes, EmptyTables, Entry, Levels, Mapper, Mapping, Privilege, Root, Scope, TableMemory,
    TableSource,
};
use rhumb_tableguard::TableStore;

use super::descriptors;
use super::scratch::Scratch;
use super::tables::{LOW_CEILING, PagingError, Tables, Taken, ceiling};
use crate::arch::features::features;
use crate::cpu::clock;
use crate::facts::{self, DescriptorFigures, Device, DirectMapFigures};
use crate::layout::{self, Stack, image};
use crate::mm::kernel_half::KernelHalf;

/// Text, read-only data, trampoline.
pub const MAX_READ_ONLY: usize = 3;

/// The trees that are to be built.
pub struct Wanted<'a> {
    pub levels: Levels,
    pub largest: PageSize,
    pub limit: Option<PhysAddr>,
    /// CPUs that may be started, this one included.
    pub cpus: usize,
    /// Page of the trampoline code, if other CPUs are to be started.
    pub trampoline: Option<PhysRange>,
    /// Where the first tables are to lie, if tables are to be protected: from [`super::tables::take_first_block`].
    pub first_block: Option<PfnRange>,
    /// Where the boot CPU's stacks begin, in the order of [`Stack::ALL`].
    pub stacks: [VirtAddr; Stack::ALL.len()],
    /// Device registers and video memory, each with its addresses.
    pub devices: &'a [Device],
    /// Whose memory is whose.
    pub topology: &'a Topology,
    /// The largest page that the kernel's text may use.
    pub largest_for_text: PageSize,
    /// The largest page that the frame descriptors may use.
    pub largest_for_descriptors: PageSize,
}

impl Wanted<'_> {
    /// Returns the CPUs that may be started, each with its node if all CPUs before it start.
    pub fn cpus_with_nodes(&self) -> impl Iterator<Item = (CpuId, NodeId)> {
        facts::cpus_with_nodes(self.topology, self.cpus)
    }

    /// Returns the node of the boot CPU.
    fn boot_node(&self) -> NodeId {
        self.topology.cpus.first().map_or(NodeId::FIRST, |cpu| cpu.node)
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
    /// The root's entries of the kernel's half, which never change.
    pub kernel_half: KernelHalf,
    /// The blocks that tables were taken from, where they are to be protected.
    pub store: TableStore,
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
    let (topology, node) = (wanted.topology, wanted.boot_node());
    let mut source = Tables::new(&mut low_frames, topology, node, scratch, Taken::NONE);
    if let Some(block) = wanted.first_block {
        source.add_block(block);
    }
    let trampoline_root = match wanted.trampoline {
        Some(_) => Some(tree(source.take_zeroed_table()?)),
        None => None,
    };
    let taken = source.finish();
    let mut frames = BootFrames::below(map, ceiling);
    let mut source = Tables::new(&mut frames, topology, node, scratch, taken);
    let root = tree(source.take_zeroed_table()?);

    let mut memory = scratch.tables();
    plan.build(root, &mut memory, &mut source)?;
    let build_ticks = clock::ticks() - before;
    let mut mapper = Mapper::new(root, &mut memory);
    map_image(&mut mapper, &mut source, wanted.largest_for_text)?;
    map_stacks(&mut mapper, &mut source, wanted)?;
    map_devices(&mut mapper, &mut source, wanted.devices)?;
    map_descriptors(&mut mapper, &mut source, wanted)?;
    prepare_windows(&mut mapper, &mut source, wanted)?;
    source.node = node;
    prepare_table(&mut mapper, &mut source, layout::CODE, PageSize::Size2M)?;
    if plan.high_bytes() > 0 {
        prepare_table(&mut mapper, &mut source, layout::LONG_MAPPINGS, PageSize::Size4K)?;
    }
    let largest = wanted.largest_for_descriptors;
    let descriptors = descriptors::map(&mut mapper, &mut source, &ram, largest)?;
    source.node = node;
    let kernel_half = complete_kernel_half(&mut memory, &mut source, root)?;
    if let (Some(trampoline_root), Some(page)) = (trampoline_root, wanted.trampoline) {
        build_trampoline(&mut memory, &mut source, root, trampoline_root, page)?;
    }
    let Taken { frames: table_frames, store } = source.finish();

    let direct_map = DirectMapFigures {
        base,
        pages: plan.pages(),
        tables: plan.tables(),
        high_bytes: plan.high_bytes(),
        build_ticks,
    };
    Ok(Built { root, trampoline_root, direct_map, descriptors, table_frames, kernel_half, store })
}

/// Maps text read-only and executable, read-only data, and data: each on its own 2-MiB pages, unless text is to have
/// smaller ones.
fn map_image<M: TableMemory>(
    mapper: &mut Mapper<'_, M>,
    source: &mut Tables<'_, '_>,
    largest_for_text: PageSize,
) -> Result<(), PagingError> {
    for (segment, access, largest) in [
        (image::text(), Access::ReadExecute, largest_for_text),
        (image::rodata(), Access::ReadOnly, PageSize::Size2M),
        (image::data(), Access::ReadWrite, PageSize::Size2M),
    ] {
        let mapping = Mapping {
            virt: segment.start(),
            phys: image::physical(segment),
            attributes: Attributes::kernel(access),
            largest,
        };
        mapper.map(&mapping, source)?;
    }
    Ok(())
}

/// Maps the boot CPU's stacks, of its node's memory, with the page below each left out. The memory may lie past the end
/// of the direct map, because the stacks have addresses of their own.
fn map_stacks<M: TableMemory>(
    mapper: &mut Mapper<'_, M>,
    source: &mut Tables<'_, '_>,
    wanted: &Wanted<'_>,
) -> Result<(), PagingError> {
    let node = source.node;
    for (stack, &virt) in Stack::ALL.iter().zip(&wanted.stacks) {
        let frames = stack.bytes() / PageSize::Size4K.bytes();
        let frames =
            source.anywhere().take_run_near(wanted.topology, node, frames, 1, Reservation::PerCpu)?;
        let mapping = Mapping {
            virt,
            phys: frames.addrs(),
            attributes: Attributes::kernel(Access::ReadWrite),
            largest: PageSize::Size4K,
        };
        mapper.map(&mapping, source)?;
    }
    Ok(())
}

/// Maps a page for the segment descriptors of each CPU, of its node's memory, read-only. The kernel writes there through
/// the direct map.
fn map_descriptors<M: TableMemory>(
    mapper: &mut Mapper<'_, M>,
    source: &mut Tables<'_, '_>,
    wanted: &Wanted<'_>,
) -> Result<(), PagingError> {
    for node in (0..wanted.topology.node_count()).filter_map(NodeId::new) {
        let its_cpus = || wanted.cpus_with_nodes().filter(|&(_, of)| of == node).map(|(cpu, _)| cpu);
        let count = its_cpus().count() as u64;
        if count == 0 {
            continue;
        }
        let run = source.frames.take_run_near(wanted.topology, node, count, 1, Reservation::PerCpu)?;
        for (cpu, frame) in its_cpus().zip(run.iter()) {
            let mapping = Mapping {
                virt: layout::entry(cpu),
                phys: Block::around(frame, PageSize::Size4K).frames().addrs(),
                attributes: Attributes::kernel(Access::ReadOnly),
                largest: PageSize::Size4K,
            };
            mapper.map(&mapping, source)?;
        }
    }
    Ok(())
}

/// Makes a table for each CPU's windows, of its node's memory, all entries clear.
fn prepare_windows<M: TableMemory>(
    mapper: &mut Mapper<'_, M>,
    source: &mut Tables<'_, '_>,
    wanted: &Wanted<'_>,
) -> Result<(), PagingError> {
    for (cpu, node) in wanted.cpus_with_nodes() {
        source.node = node;
        prepare_table(mapper, source, layout::windows(cpu).start(), PageSize::Size4K)?;
    }
    Ok(())
}

/// Makes the table for pages of `size` at `at`, all entries clear: a page is mapped there and removed again, and the table
/// stays. Nothing has used these addresses, so nothing is flushed.
fn prepare_table<M: TableMemory>(
    mapper: &mut Mapper<'_, M>,
    source: &mut Tables<'_, '_>,
    at: VirtAddr,
    size: PageSize,
) -> Result<(), PagingError> {
    let page = layout::range(at, size.bytes());
    let any_frame = image::physical(image::data()).start().pfn();
    let mapping = Mapping {
        virt: page.start(),
        phys: Block::around(any_frame, size).frames().addrs(),
        attributes: Attributes::kernel(Access::ReadWrite),
        largest: size,
    };
    mapper.map(&mapping, source)?;
    let _ = mapper.unmap(page, EmptyTables::Keep)?;
    Ok(())
}

/// Maps device registers and video memory, each with its cache mode, never write-back.
fn map_devices<M: TableMemory>(
    mapper: &mut Mapper<'_, M>,
    source: &mut Tables<'_, '_>,
    devices: &[Device],
) -> Result<(), PagingError> {
    for &Device { phys, virt, cache, .. } in devices {
        let attributes = Attributes::kernel(Access::ReadWrite).with_cache(cache);
        mapper.map(&Mapping { virt, phys, attributes, largest: PageSize::Size2M }, source)?;
    }
    Ok(())
}

/// Makes a table for each entry of the root that the kernel map may need later, and returns the entries of the kernel's
/// half. All else there is mapped already, or stays absent. So roots that copy these entries always have the kernel's
/// half whole.
fn complete_kernel_half<M: TableMemory>(
    memory: &mut M,
    source: &mut Tables<'_, '_>,
    root: Root,
) -> Result<KernelHalf, PagingError> {
    let index = |address| root.levels.index(address, root.levels.top());
    let last = layout::KERNEL_MAP.plus(layout::KERNEL_MAP_BYTES - 1);
    for index in index(layout::KERNEL_MAP)..=index(last) {
        if memory.read(root.table, index) == Entry::EMPTY {
            let table = source.take_zeroed_table()?;
            memory.write(root.table, index, Entry::table(table, Privilege::Supervisor));
        }
    }
    Ok(core::array::from_fn(|index| memory.read(root.table, rhumb_pagetable::ENTRIES / 2 + index)))
}

/// Builds the trampoline's tree: the kernel's upper half, and the trampoline's page executable at its physical address.
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
