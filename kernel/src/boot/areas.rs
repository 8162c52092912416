//! The areas of the other CPUs: memory for them, each in its CPU's node.

use arrayvec::ArrayVec;
use rhumb_bootinfo::{BootFrames, MemoryMap, Reservation};
use rhumb_machine::{CpuId, MAX_CPUS, NodeId, PageSize, PhysAddr, VirtAddr};

use super::paging::Wanted;
use super::refuse;
use crate::cpu::area::{self, PerCpu};
use crate::facts::Boot;
use crate::platform::logging;

/// Takes frames in the direct map for the areas of the CPUs that will be started: for each node in one run, of its
/// memory. Returns where each area is.
pub(super) fn reserve(
    map: &mut MemoryMap,
    base: VirtAddr,
    wanted: &Wanted<'_>,
) -> ArrayVec<VirtAddr, MAX_CPUS> {
    let nodes = || (0..wanted.cpus).map(|cpu| wanted.node_of(cpu));
    let mut areas: ArrayVec<_, MAX_CPUS> = (0..wanted.cpus).map(|_| VirtAddr::ZERO).collect();
    for node in (0..wanted.topology.node_count()).filter_map(NodeId::new) {
        let others = || (1..).zip(nodes().skip(1)).filter(|&(_, of)| of == node).map(|(cpu, _)| cpu);
        let bytes = others().count() * size_of::<PerCpu>();
        if bytes == 0 {
            continue;
        }
        let frames = bytes.div_ceil(PageSize::Size4K.bytes() as usize) as u64;
        let run = BootFrames::below(map, wanted.limit.unwrap_or(PhysAddr::new(u64::MAX)))
            .take_run_near(wanted.topology, node, frames, 1, Reservation::PerCpu)
            .unwrap_or_else(|error| refuse(error));
        let first = base.plus(run.start().addr().get());
        for (place, cpu) in others().enumerate() {
            areas[cpu] = first.plus((place * size_of::<PerCpu>()) as u64);
        }
    }
    areas
}

/// Fills in the areas of the other CPUs and makes them known. Once, on the kernel's tables.
pub fn make(boot: &Boot) {
    for cpu in (1..boot.cpus).filter_map(CpuId::new) {
        let Some(&place) = boot.areas.get(cpu.index()) else { continue };
        // SAFETY: the frames were reserved for this at boot, are in the direct map, and no other code knows them. The
        // direct map is 4-KiB aligned there and the area's size is a multiple of its alignment.
        let area: &'static PerCpu = unsafe {
            let area = place.as_mut_ptr::<PerCpu>();
            area.write(PerCpu::new(cpu));
            &*area
        };
        logging::attach(cpu, area.log_ring());
        area::register(area);
    }
}
