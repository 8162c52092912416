//! The page-frame allocator takes over from the boot-time memory map.
//!
//! Its own storage is the last thing that boot takes, of each node's memory for the records of that node; then every
//! frame that the map still calls free is the allocator's, and the loader's information is given back, since all of it has
//! been copied; the RAM disk is kept. From here on the memory map only says what is RAM.

use core::fmt;

use arrayvec::ArrayVec;
use rhumb_bootinfo::firmware::MAX_PIECES;
use rhumb_bootinfo::memory_map::{MAX_REGIONS, MAX_RESERVATIONS, Reserved};
use rhumb_bootinfo::{BootFrames, OutOfBootFrames, Reservation, Topology};
use rhumb_frames::{FrameRange, Frames, Layout, LayoutError, MemoryRange};
use rhumb_machine::{
    MAX_CPUS, MAX_NODES, Machine, NodeId, PageSize, Pfn, PfnRange, PhysAddr, PhysRange, impossible,
};
use rhumb_monitor::Human;
use spin::Once;

use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::{kasan, once};
use crate::facts::{ABOVE_FIRST_MEBIBYTE, Boot};
use crate::layout;

/// Ranges of free RAM.
const MAX_FREE: usize = MAX_REGIONS + MAX_RESERVATIONS;
/// Past any physical address: the direct map has no limit.
const NO_LIMIT: Pfn = Pfn::new(1 << 40);

static FRAMES: Once<Frames<KernelMachine>> = Once::new();

/// Returns the allocator; `None` before [`take_over`].
pub fn frames() -> Option<&'static Frames<KernelMachine>> {
    FRAMES.get()
}

/// Why there is no allocator.
#[derive(Debug)]
pub enum TakeOverError {
    TooManyRanges,
    Storage(OutOfBootFrames),
    Layout(LayoutError),
}

impl fmt::Display for TakeOverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyRanges => write!(f, "RAM is in more than {MAX_PIECES} pieces"),
            Self::Storage(error) => error.fmt(f),
            Self::Layout(error) => error.fmt(f),
        }
    }
}

impl From<OutOfBootFrames> for TakeOverError {
    fn from(error: OutOfBootFrames) -> Self {
        Self::Storage(error)
    }
}

impl From<LayoutError> for TakeOverError {
    fn from(error: LayoutError) -> Self {
        Self::Layout(error)
    }
}

/// Builds the allocator over all RAM. Once, at boot, before other CPUs allocate. Never inlined, because its lists take
/// tens of KiB of stack, which the object caches need next.
#[inline(never)]
pub fn take_over(boot: &'static Boot) -> Result<&'static Frames<KernelMachine>, TakeOverError> {
    let mut map = boot.memory.lock();
    let mut memory = ArrayVec::<MemoryRange, MAX_PIECES>::new();
    for ram in map.ram() {
        for (piece, node) in boot.topology.pieces(ram) {
            let frames = piece.whole_frames();
            if !frames.is_empty() {
                memory.try_push(MemoryRange { frames, node }).map_err(|_| TakeOverError::TooManyRanges)?;
            }
        }
    }
    let distances = distance_table(boot);
    let limit = boot.options.direct_map_limit_bytes.map_or(NO_LIMIT, |bytes| PhysAddr::new(bytes).pfn());
    let cpu_nodes: ArrayVec<NodeId, MAX_CPUS> =
        boot.topology.startable().map(|cpu| cpu.node).take(boot.cpus).collect();
    let layout = Layout::new(&memory, boot.cpus, limit)?
        .nodes(boot.topology.node_count())
        .distances(&distances)
        .cpu_nodes(&cpu_nodes);

    if layout.misplaced_frames() > 0 {
        log::warn!(
            "memory is in too many pieces to keep the nodes apart: {} counts to another node than its own",
            Human(layout.misplaced_frames() * PageSize::Size4K.bytes())
        );
    }

    let mut lent = [const { None }; MAX_NODES];
    let mut source = BootFrames::below(&mut map, limit.min(NO_LIMIT).addr());
    for node in (0..MAX_NODES).filter_map(NodeId::new) {
        let bytes = layout.storage_bytes_of(node);
        if bytes > 0 {
            lent[node.index()] = Some(take_storage(&mut source, &boot.topology, node, bytes)?);
        }
    }
    let free: ArrayVec<PfnRange, MAX_FREE> = map.usable().map(|range| range.whole_frames()).collect();
    // SAFETY: memory that the map calls usable is not taken, and from here on no code takes from the map; all of it
    // below the limit is in the direct map.
    let frames = unsafe {
        Frames::new_near(MACHINE, &layout, free.iter().copied(), |node, _| lent[node.index()].take())
    }?;
    // SAFETY: boot mapped the descriptors of all RAM, in whole blocks, to frames that it reserved for them.
    let frames = unsafe { frames.with_descriptors(layout::DESCRIPTORS) };
    let frames = once::fill(&FRAMES, frames);
    kasan::start(&MACHINE, &free);
    Ok(frames)
}

/// Takes memory of a node for the allocator's records.
fn take_storage(
    source: &mut BootFrames<'_>,
    topology: &Topology,
    node: NodeId,
    bytes: usize,
) -> Result<&'static mut [u64], OutOfBootFrames> {
    let frames = (bytes as u64).div_ceil(PageSize::Size4K.bytes());
    let run = source.take_run_near(topology, node, frames, 1, Reservation::FrameMetadata)?;
    let start = MACHINE.direct(run.start().addr()).as_mut_ptr::<u64>();
    let words = (run.frames() * PageSize::Size4K.bytes()) as usize / size_of::<u64>();
    // SAFETY: the frames were just taken for this, are in the direct map (below its limit), and no other code knows
    // them; any bits are a word.
    Ok(unsafe { core::slice::from_raw_parts_mut(start, words) })
}

/// Distances of the nodes, row by row.
fn distance_table(boot: &Boot) -> [u8; MAX_NODES * MAX_NODES] {
    let mut table = [0; MAX_NODES * MAX_NODES];
    for (index, distance) in table.iter_mut().enumerate() {
        if let (Some(from), Some(to)) = (NodeId::new(index / MAX_NODES), NodeId::new(index % MAX_NODES)) {
            *distance = boot.topology.distances.between(from, to);
        }
    }
    table
}

/// Returns the frames of `taken` that boot took to read them, and gives back: none of the first MiB, which is the
/// firmware's.
pub(super) fn boot_data(taken: &Reserved) -> Option<PhysRange> {
    Some(taken.range.intersection(ABOVE_FIRST_MEBIBYTE))
        .filter(|range| !range.is_empty() && is_boot_data(taken.why))
}

const fn is_boot_data(why: Reservation) -> bool {
    matches!(why, Reservation::BootLoaderData | Reservation::CommandLine)
}

/// Returns what boot took the frame for and keeps it; `None` where the allocator has it.
pub fn taken_at_boot(boot: &Boot, pfn: Pfn) -> Option<Reservation> {
    let map = boot.memory.lock();
    let taken = map.reservations().iter().find(|taken| taken.range.contains(pfn.addr()))?;
    (!boot_data(taken).is_some_and(|given_back| given_back.contains(pfn.addr()))).then_some(taken.why)
}

/// Gives back the loader's information and the command line, which have been copied. Returns how many frames that were.
pub fn give_back_boot_data(boot: &Boot) -> u64 {
    let Some(frames) = frames() else { return impossible!("the allocator has taken over" => 0) };
    let taken: ArrayVec<PfnRange, MAX_RESERVATIONS> = {
        let map = boot.memory.lock();
        map.reservations().iter().filter_map(boot_data).map(PhysRange::whole_frames).collect()
    };
    let mut given = 0;
    for range in taken {
        let guard = MACHINE.pin();
        // SAFETY: the frames held the loader's data, which no code reads any more, and the allocator was built with
        // them in use.
        let handle = unsafe { FrameRange::assume(range) };
        match frames.free_range(guard.pinned(), handle) {
            Ok(()) => given += range.frames(),
            Err((handle, fault)) => {
                log::warn!("boot data at {range} stays taken: {fault}");
                let _ = handle.into_frames();
            }
        }
    }
    given
}
