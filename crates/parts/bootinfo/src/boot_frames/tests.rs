//! The order in which frames of a node are taken.

use rhumb_machine::{NodeId, PhysAddr, PhysRange};

use crate::firmware::MemoryAffinity;
use crate::{BootFrames, FirmwareEntry, MemoryMap, Reservation, Topology};

const G: u64 = 1 << 30;

/// RAM of 8 GiB: node 0, node 1, a part of node 1 that may be unplugged, a part that no table names.
fn machine() -> (MemoryMap, Topology) {
    let entry = FirmwareEntry { base: 1 << 20, length: 8 * G - (1 << 20), type_code: 1 };
    let map = MemoryMap::from_firmware([entry]).unwrap().0;
    let mut topology = Topology::single(0);
    topology.domains.push(1);
    for (start, end, node, hot_pluggable) in [(0, 2, 0, false), (2, 4, 1, false), (4, 6, 1, true)] {
        let range = PhysRange::new(PhysAddr::new(start * G), PhysAddr::new(end * G)).unwrap();
        let node = NodeId::new(node).unwrap();
        topology.memory.push(MemoryAffinity { range, domain: 0, node, hot_pluggable });
    }
    (map, topology)
}

#[test]
fn a_nodes_own_memory_comes_first_and_what_may_be_unplugged_last() {
    let (mut map, topology) = machine();
    let all = PhysAddr::new(u64::MAX);
    let mut take = |node: usize, gib: u64, ceiling: PhysAddr| {
        let node = NodeId::new(node).unwrap();
        let run = BootFrames::below(&mut map, ceiling).take_run_near(
            &topology,
            node,
            gib << 18,
            1 << 18,
            Reservation::PerCpu,
        );
        run.ok().map(|run| run.start().addr().get() / G)
    };
    assert_eq!(take(1, 1, all), Some(3));
    assert_eq!(take(0, 1, all), Some(1));
    assert_eq!(take(1, 1, PhysAddr::new(3 * G)), Some(2), "below the ceiling");
    assert_eq!(take(1, 1, all), Some(7), "its own is used up: memory that stays, of any node");
    assert_eq!(take(0, 1, all), Some(6), "the lowest GiB is not whole");
    assert_eq!(take(0, 1, all), Some(5), "in the end what may be unplugged");
    assert_eq!(take(1, 1, all), Some(4));
    assert_eq!(take(1, 1, all), None);
}
