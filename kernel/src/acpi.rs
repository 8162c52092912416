use crate::boot::window::LowMemory;
use arrayvec::ArrayVec;
use rhumb_bootinfo::RsdpSource;
use rhumb_machine::{NodeId, PhysAddr};
pub const MAX_IO_APICS: usize = 8;
pub struct IoApicInfo {
    pub address: PhysAddr,
}
pub struct Topology {
    pub io_apics: ArrayVec<IoApicInfo, MAX_IO_APICS>,
    pub pm_timer: Option<(u16, bool)>,
}
impl Topology {
    pub fn usable_cpus(&self) -> usize {
        4
    }
    pub fn node_of_apic(&self, _: u32) -> NodeId {
        NodeId::FIRST
    }
    pub fn startable(&self, boot: u32) -> impl Iterator<Item = u32> {
        (0..4).filter(move |&x| x != boot)
    }
    pub fn node_count(&self) -> usize {
        1
    }
}
pub fn read(_: &LowMemory, _: Option<RsdpSource>) -> Topology {
    Topology { io_apics: ArrayVec::new(), pm_timer: Some((0x608, true)) }
}
pub fn set_power(_: &Topology) {}
