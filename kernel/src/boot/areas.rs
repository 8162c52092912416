//! Memory for what belongs to one CPU, sized by the CPUs that there are, each in its CPU's node.
//!
//! ```text
//!   the CPUs of a node, one after the other, in one run of its frames:
//!   | senders of cross-calls, 64 CPUs each | slots of windows | area (PerCpu) | senders ... | slots | area | ...
//! ```
//!
//! The boot CPU's area is in the image, because it is needed before any memory is found; in its place that part is
//! unused.

use core::{array, slice};

use arrayvec::ArrayVec;
use rhumb_bootinfo::{BootFrames, MemoryMap, Reservation};
use rhumb_machine::{CpuId, MAX_NODES, Machine, NodeId, PageSize, PhysAddr, VirtAddr, impossible};
use rhumb_smp::call::Senders;
use rhumb_windows::CpuSlots;

use super::paging::Wanted;
use super::refuse;
use crate::arch::gdt::Descriptors;
use crate::cpu::area::{self, PerCpu};
use crate::cpu::machine::MACHINE;
use crate::cpu::once;
use crate::facts::Boot;
use crate::layout;
use crate::mm;
use crate::platform::logging;

/// Returns the bytes of the place of each CPU, of which there are so many.
fn place_bytes(cpus: usize) -> usize {
    Senders::needed(cpus) * size_of::<Senders>() + size_of::<CpuSlots>() + size_of::<PerCpu>()
}

// One behind the other, each is where its type may be.
const _: () = assert!(align_of::<PerCpu>() == 64 && size_of::<PerCpu>().is_multiple_of(64));
const _: () = assert!(align_of::<Senders>() == 64 && align_of::<CpuSlots>() == 64);

/// Takes frames in the direct map for the CPUs that will be started: for each node in one run, of its memory. Returns
/// where each node's run is.
pub(super) fn reserve(
    map: &mut MemoryMap,
    base: VirtAddr,
    wanted: &Wanted<'_>,
) -> ArrayVec<VirtAddr, MAX_NODES> {
    let mut cpus_of = [0; MAX_NODES];
    wanted.cpus_with_nodes().for_each(|(_, node)| cpus_of[node.index()] += 1);
    let nodes = (0..wanted.topology.node_count()).filter_map(NodeId::new);
    nodes
        .map(|node| {
            let bytes = cpus_of[node.index()] * place_bytes(wanted.cpus);
            if bytes == 0 {
                return VirtAddr::ZERO;
            }
            let frames = bytes.div_ceil(PageSize::Size4K.bytes() as usize) as u64;
            let run = BootFrames::below(map, wanted.limit.unwrap_or(PhysAddr::new(u64::MAX)))
                .take_run_near(wanted.topology, node, frames, 1, Reservation::PerCpu)
                .unwrap_or_else(|error| refuse(error));
            base.plus(run.start().addr().get())
        })
        .collect()
}

/// Gives a CPU its segment descriptors, which boot has mapped for it. Once, on the kernel's tables, before the CPU is set
/// up.
pub fn give_descriptors(area: &PerCpu) {
    let Some(phys) = mm::tables::walk(layout::entry(area.id())).phys() else {
        return impossible!("boot has mapped a page for the descriptors of CPU {}", area.id());
    };
    // SAFETY: the page was taken for this CPU's descriptors, is in the direct map, and no other code knows it.
    let descriptors: &'static Descriptors = unsafe {
        let page = MACHINE.direct(phys).as_mut_ptr::<Descriptors>();
        page.write(Descriptors::new());
        &*page
    };
    once::fill(&area.descriptors, descriptors);
}

/// Fills in the areas of the other CPUs and makes them known, and gives each CPU its inbox and the slots of its windows.
/// Once, on the kernel's tables.
pub fn make(boot: &Boot) {
    let mut next: [Option<VirtAddr>; MAX_NODES] = array::from_fn(|node| boot.areas.get(node).copied());
    for (cpu, node) in boot.cpus_with_nodes() {
        let Some(place) = &mut next[node.index()] else {
            impossible!("boot has taken memory for the CPUs of each node, and none for node {node}");
            continue;
        };
        let senders = Senders::needed(boot.cpus);
        // SAFETY: the frames were reserved for this at boot, are in the direct map, and no other code knows them; each
        // CPU has a place of its own in them. The place is 64-byte aligned, because frames are and sizes are multiples.
        let senders: &'static [Senders] = unsafe {
            let first = place.as_mut_ptr::<Senders>();
            (0..senders).for_each(|index| first.add(index).write(Senders::new()));
            slice::from_raw_parts(first, senders)
        };
        let slots = place.plus(size_of_val(senders) as u64);
        // SAFETY: the place goes on behind the senders with room for the slots, which no other code knows either.
        mm::windows::add_cpu(unsafe {
            let slots = slots.as_mut_ptr::<CpuSlots>();
            slots.write(CpuSlots::new());
            &mut *slots
        });
        let area = if cpu == CpuId::BOOT {
            area::boot()
        } else {
            let place = slots.plus(size_of::<CpuSlots>() as u64);
            // SAFETY: the place goes on behind the slots with room for this.
            let area: &'static PerCpu = unsafe {
                let area = place.as_mut_ptr::<PerCpu>();
                area.write(PerCpu::new(cpu));
                &*area
            };
            logging::attach(cpu, area.log_ring());
            give_descriptors(area);
            area
        };
        area.receive_from(senders);
        // A CPU that others can find has an inbox.
        area::register(area);
        *place = place.plus(place_bytes(boot.cpus) as u64);
    }
}
