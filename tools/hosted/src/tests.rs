//! By theme; and what the themes share: short names for CPUs, nodes and ranges, and a small machine.

mod cpus;
mod memory;
mod native;
#[cfg(feature = "interrupts")]
mod points;
#[cfg(rhumb_tsan)]
mod races;
mod storms;

use rhumb_machine::{CpuId, NodeId, PhysAddr, PhysRange};

use crate::{HostedMachine, LargePages};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), PhysAddr::new(end)).unwrap()
}

fn cpu(index: usize) -> CpuId {
    CpuId::new(index).unwrap()
}

fn node(index: usize) -> NodeId {
    NodeId::new(index).unwrap()
}

/// Returns the counts of a checked build.
fn depth(guards: u32) -> Option<u32> {
    cfg!(debug_assertions).then_some(guards)
}

fn small(cpus: usize) -> HostedMachine {
    HostedMachine::builder().cpus(cpus).ram_bytes(16 * MIB).large_pages(LargePages::Never).build().unwrap()
}
