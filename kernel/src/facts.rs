//! The findings of boot, for all code that comes after it: data, filled in once. The memory map alone changes, until
//! there is an allocator.

use core::iter;

use arrayvec::ArrayVec;
use rhumb_bootinfo::firmware::{MAX_IO_APICS, Topology};
use rhumb_bootinfo::{MemoryMap, Options, Protocol};
use rhumb_machine::{CpuId, MAX_NODES, NodeId, PageSize, PhysAddr, PhysRange, VirtAddr, VirtRange};
use rhumb_pagetable::{CacheMode, PageCounts};
use spin::Once;

use crate::cpu::lock::IrqMutex;

/// The first MiB is the firmware's: see [`rhumb_bootinfo::Reservation::FirstMebibyte`].
pub const FIRST_MEBIBYTE_END: PhysAddr = PhysAddr::new(1 << 20);

/// The first MiB.
pub const FIRST_MEBIBYTE: PhysRange = PhysRange::below(FIRST_MEBIBYTE_END);

/// All physical addresses above the first MiB.
pub const ABOVE_FIRST_MEBIBYTE: PhysRange = match PhysRange::new(FIRST_MEBIBYTE_END, PhysAddr::new(u64::MAX))
{
    Some(range) => range,
    None => panic!("addresses do not end in the first MiB"),
};

/// One local APIC page, the I/O APICs, up to three registers that turn the machine off or reset it, a serial port, an
/// event timer, a screen.
pub const MAX_DEVICES: usize = 1 + MAX_IO_APICS + 3 + 1 + 1 + 1;

/// The findings of boot that later code asks for.
pub struct Boot {
    pub loader: Protocol,
    pub options: Options,
    pub topology: Topology,
    pub initial_ram_disk: Option<PhysRange>,
    /// The memory map. Until there is an allocator, all memory that it calls usable is free.
    pub memory: IrqMutex<MemoryMap>,
    pub direct_map: DirectMapFigures,
    pub descriptors: DescriptorFigures,
    /// The largest page that the direct map may use.
    pub largest_page: PageSize,
    /// Frames in page tables.
    pub table_frames: u64,
    /// CPUs that have an area.
    pub cpus: usize,
    /// Where the places of each node's CPUs begin, in memory of that node: see `boot::areas`.
    pub areas: ArrayVec<VirtAddr, MAX_NODES>,
    /// Device registers and where they are mapped.
    pub devices: ArrayVec<Device, MAX_DEVICES>,
}

/// Figures of the direct map at boot.
#[derive(Clone, Copy, Debug, Default)]
pub struct DirectMapFigures {
    pub base: VirtAddr,
    pub pages: PageCounts,
    pub tables: u64,
    pub high_bytes: u64,
    /// How long planning and writing it took, in TSC ticks.
    pub build_ticks: u64,
}

/// Figures of the array at boot.
#[derive(Clone, Copy, Debug, Default)]
pub struct DescriptorFigures {
    pub pages: PageCounts,
    /// Bytes that are not on the node which they describe.
    pub far_bytes: u64,
}

/// Device registers, or video memory, in the kernel map.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    pub name: &'static str,
    pub phys: PhysRange,
    pub virt: VirtAddr,
    pub cache: CacheMode,
}

impl Device {
    /// Returns its addresses in the kernel map.
    pub fn addresses(&self) -> VirtRange {
        VirtRange::of_length(self.virt, self.phys.bytes()).unwrap_or_default()
    }
}

static BOOT: Once<Boot> = Once::new();

/// Returns the findings of boot; `None` until the kernel's tables are loaded.
pub fn boot() -> Option<&'static Boot> {
    BOOT.get()
}

/// Keeps the findings that `find` returns. Once, by boot.
pub fn keep(find: impl FnOnce() -> Boot) -> &'static Boot {
    BOOT.call_once(find)
}

/// Returns the first `cpus` CPUs, each with its node if all CPUs before it start. A CPU past those that the firmware lists
/// is on the first node.
pub fn cpus_with_nodes(topology: &Topology, cpus: usize) -> impl Iterator<Item = (CpuId, NodeId)> {
    let nodes = topology.startable().map(|cpu| cpu.node).chain(iter::repeat(NodeId::FIRST));
    (0..cpus).filter_map(CpuId::new).zip(nodes)
}

impl Boot {
    /// Returns the CPUs that have an area, each with its node if all CPUs before it start.
    pub fn cpus_with_nodes(&self) -> impl Iterator<Item = (CpuId, NodeId)> {
        cpus_with_nodes(&self.topology, self.cpus)
    }

    /// Returns where the kernel map shows a device's register, if boot has mapped its page.
    pub fn mapped(&self, register: PhysAddr) -> Option<VirtAddr> {
        let device = self.devices.iter().find(|device| device.phys.contains(register))?;
        Some(device.virt.plus(register.since(device.phys.start())))
    }
}
