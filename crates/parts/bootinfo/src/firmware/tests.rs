//! A small machine's tables, whole, and by every way to their root.
//!
//! | module | tables |
//! |---|---|
//! | [`cases`] | of real firmware that say odd things |
//! | [`cut`] | that end at any byte |
//! | [`lies`] | with lengths, numbers and distances that cannot be |
//! | [`nodes`] | with memory ranges that overlap, end within a frame, or are too many |
//! | [`power`] | that turn the machine off in every way |
//! | [`random`] | with random bytes, or of nothing else |

extern crate std;

use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use rhumb_machine::{MAX_CPUS, MAX_NODES, NodeId, PageSize, PhysAddr, PhysRange};

use super::samples::*;
use super::*;
use crate::fake::{Bytes, FakeMemory};

mod cases;
mod cut;
mod lies;
mod nodes;
mod power;
mod random;

fn discover(memory: &FakeMemory) -> (Topology, Vec<String>) {
    let (topology, findings) = Topology::discover(memory, Some(RsdpSource::At(PhysAddr::new(RSDP))), 1);
    (topology, findings.iter().map(|finding| finding.to_string()).collect())
}

/// Returns the machine with one table replaced.
fn with(at: u64, bytes: Vec<u8>) -> FakeMemory {
    let mut memory = machine();
    *memory.piece(at) = bytes;
    memory
}

fn node(index: usize) -> NodeId {
    NodeId::new(index).unwrap()
}

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), PhysAddr::new(end)).unwrap()
}

/// Asserts the rules that any result keeps.
fn validate(topology: &Topology) {
    assert_eq!(topology.cpus[0].apic_id, 1);
    assert!((1..=MAX_NODES).contains(&topology.node_count()));
    assert!(topology.domains.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(topology.memory.windows(2).all(|pair| pair[0].range.end() <= pair[1].range.start()));
    assert!(topology.memory.iter().all(|memory| memory.node.index() < topology.node_count()));
    assert!(topology.cpus.iter().all(|cpu| cpu.node.index() < topology.node_count()));
    assert!(topology.memory.iter().all(|memory| memory.range.is_aligned(PageSize::Size4K)));
    let all = range(0, 1 << 40);
    let pieces: Vec<_> = topology.pieces(all).collect();
    assert_eq!(pieces.iter().map(|(piece, _)| piece.bytes()).sum::<u64>(), all.bytes());
    assert!(pieces.windows(2).all(|pair| pair[0].0.end() == pair[1].0.start() && pair[0].1 != pair[1].1));
    assert!(pieces.len() <= 1 + 2 * MAX_MEMORY_RANGES);
}

#[test]
fn a_whole_machine() {
    let (topology, findings) = discover(&machine());
    assert_eq!(findings, Vec::<String>::new());
    let cpus: Vec<_> =
        topology.cpus.iter().map(|cpu| (cpu.apic_id, cpu.acpi_uid, cpu.state, cpu.node)).collect();
    assert_eq!(
        cpus,
        [
            (1, 1, CpuState::Enabled, node(1)),
            (0, 0, CpuState::Enabled, node(0)),
            (3, 3, CpuState::OnlineCapable, node(0)),
            (0x1234, 4, CpuState::Enabled, node(1)),
        ]
    );
    assert_eq!(topology.local_apic, PhysAddr::new(0xfee1_0000));
    assert!(topology.has_8259);
    assert_eq!(topology.io_apics[..], [IoApic { id: 7, address: PhysAddr::new(0xfec0_0000), gsi_base: 0 }]);
    let (high, low, edge, level) = (Polarity::ActiveHigh, Polarity::ActiveLow, Trigger::Edge, Trigger::Level);
    assert_eq!(topology.isa_route(0), IsaRoute { irq: 0, gsi: 2, polarity: high, trigger: edge });
    assert_eq!(topology.isa_route(4), IsaRoute { irq: 4, gsi: 4, polarity: high, trigger: edge });
    assert_eq!(topology.isa_route(9), IsaRoute { irq: 9, gsi: 9, polarity: low, trigger: level });
    assert_eq!(
        topology.nmi_lines[..],
        [
            NmiLine { acpi_uid: None, lint: 1, polarity: high, trigger: edge },
            NmiLine { acpi_uid: Some(4), lint: 0, polarity: high, trigger: edge },
        ]
    );
    assert_eq!(topology.nmi_sources[..], [NmiSource { gsi: 20, polarity: high, trigger: level }]);

    assert_eq!(topology.domains[..], [0, 0x300]);
    assert_eq!(topology.memory.len(), 4);
    assert!(topology.memory[3].hot_pluggable && !topology.memory[2].hot_pluggable);
    for (at, index) in [(0, 0), (0x7fff_ffff, 0), (0x1_0000_0000, 1), (0x1_ffff_ffff, 1), (0x2_0000_0000, 0)]
    {
        assert_eq!(topology.node_of(PhysAddr::new(at)), node(index), "{at:#x}");
    }
    let pieces: Vec<_> = topology.pieces(range(0x7000_0000, 0x2_1000_0000)).collect();
    assert_eq!(
        pieces,
        [
            (range(0x7000_0000, 0x1_0000_0000), node(0)),
            (range(0x1_0000_0000, 0x2_0000_0000), node(1)),
            (range(0x2_0000_0000, 0x2_1000_0000), node(0)),
        ]
    );
    assert_eq!(topology.pieces(range(5, 5)).count(), 0);
    assert_eq!(topology.distances, Distances::default());

    let port = Register::Port;
    assert_eq!(topology.power.pm_timer, Some(PmTimer { register: port(0x608), bits: 32 }));
    assert_eq!(topology.power.reset, Some((port(0xcf9), 0x0f)));
    let off =
        PowerOff::Pm1 { a: (port(0x604), 5 << 10 | 1 << 13), b: Some((port(0x704), 1 << 10 | 1 << 13)) };
    assert_eq!(topology.power.off, Some(off));
}

#[test]
fn it_fits_on_a_boot_stack() {
    assert!(size_of::<Topology>() <= 36 << 10, "{} bytes", size_of::<Topology>());
}

#[test]
fn the_root_is_found_by_every_way() {
    let whole = discover(&machine()).0;
    let from = |memory: &FakeMemory, source| Topology::discover(memory, source, 1);
    // No pointer from the loader, a wrong one, a copy; the BIOS area has the right one.
    let copy = RsdpSource::Copy(rsdp(XSDT, 0).try_into().unwrap());
    for source in
        [None, Some(RsdpSource::At(PhysAddr::new(u64::MAX))), Some(RsdpSource::Copy([0; 36])), Some(copy)]
    {
        assert_eq!(from(&machine(), source).0, whole, "{source:?}");
    }
    // Through the EBDA, whose segment is at 0x40e.
    let mut memory = machine();
    memory.piece(RSDP).clear();
    memory.put(0x40e, &0x9fc0u16.to_le_bytes()).put(0x9_fd00, &rsdp(XSDT, 0));
    assert_eq!(from(&memory, None).0, whole);
    // Nothing at all.
    let (topology, findings) = from(&FakeMemory::default(), None);
    assert_eq!(topology, Topology::single(1));
    assert_eq!(
        findings.iter().next().unwrap().to_string(),
        "ACPI: no root table found; going on with one CPU and one node, without power-off"
    );
    // ACPI 1.0: no second half, 32-bit pointers.
    let mut memory = machine();
    let mut old = rsdp(0, XSDT as u32);
    old.truncate(20);
    old[15] = 0;
    old[8] = 0;
    old[8] = sum(&old).wrapping_neg();
    *memory.piece(RSDP) = old;
    let pointers = [FADT, MADT, SRAT, SLIT].map(|at| (at as u32).to_le_bytes()).concat();
    *memory.piece(XSDT) = table(b"RSDT", 1, &pointers);
    assert_eq!(from(&memory, Some(RsdpSource::At(PhysAddr::new(RSDP)))).0, whole);
    // A broken second half; the first one has a list, too.
    let mut memory = machine();
    *memory.piece(RSDP) = rsdp(XSDT, SSDT as u32);
    memory.piece(RSDP)[24] ^= 1;
    *memory.piece(SSDT) = table(b"RSDT", 1, &pointers);
    let (topology, findings) = discover(&memory);
    assert_eq!(topology, whole);
    assert_eq!(
        findings,
        [
            "ACPI: the second half of the root pointer is not valid; going on with the first half where that names a list"
        ]
    );
    // An XSDT that ends in the middle of a pointer.
    let mut cut = xsdt();
    cut.truncate(cut.len() - 3);
    seal(&mut cut);
    let (topology, findings) = discover(&with(XSDT, cut));
    assert_eq!(topology, whole);
    assert_eq!(findings, ["ACPI: XSDT at 0x10000: 5 bytes at its end, too few for one more entry"]);
}

#[test]
fn distances_are_by_domain() {
    let (topology, findings) = discover(&with(SLIT, wide_slit()));
    assert!(findings.is_empty());
    let distance = |from, to| topology.distances.between(node(from), node(to));
    assert_eq!([distance(0, 0), distance(0, 1), distance(1, 0), distance(1, 1)], [10, 21, 22, 10]);
    assert_eq!(distance(0, 2), REMOTE_DISTANCE);
}
