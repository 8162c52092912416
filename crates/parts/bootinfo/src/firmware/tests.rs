//! A small machine's tables, whole, cut at every byte, lying, and random.

extern crate std;

use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use rhumb_machine::{MAX_CPUS, MAX_NODES, NodeId, PageSize, PhysAddr, PhysRange};

use super::samples::*;
use super::*;
use crate::fake::{Bytes, FakeMemory};

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
    assert!(size_of::<Topology>() <= 20 << 10, "{} bytes", size_of::<Topology>());
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
fn a_table_with_a_wrong_head_is_named_and_left_out() {
    let spoil = |at: usize, value: u8| {
        let mut bytes = madt();
        bytes[at] = value;
        let (topology, findings) = discover(&with(MADT, bytes));
        assert_eq!((topology.cpus.len(), topology.cpus[0].apic_id), (1, 1));
        assert_eq!(findings[1], "ACPI: there is no valid MADT; going on with one CPU");
        findings[0].clone()
    };
    let length = madt().len() as u8;
    assert_eq!(
        spoil(4, 35),
        "ACPI: MADT at 0x20000: it says an impossible length of 35 bytes; the table is ignored"
    );
    assert!(
        spoil(7, 1).contains("an impossible length of 167772")
            || spoil(7, 1).contains("an impossible length")
    );
    assert_eq!(
        spoil(4, length + 1),
        format!(
            "ACPI: MADT at 0x20000: {} bytes at 0x20000 cannot be read; the table is ignored",
            length + 1
        )
    );
}

/// Cuts a table's memory, and the table itself, at every byte; gives what each cut came to.
fn cut_everywhere(at: u64, whole: &[u8], check: impl Fn(usize, &Topology, &[String])) {
    for length in 0..whole.len() {
        // Memory ends there: the table is left out.
        let (_, findings) = discover(&with(at, whole[..length].to_vec()));
        if length >= 4 {
            assert!(
                findings.iter().any(|finding| finding.contains("cannot be read")),
                "{length}: {findings:?}"
            );
        }
        // The table says itself that it ends there.
        if length >= 36 {
            let mut bytes = whole[..length].to_vec();
            seal(&mut bytes);
            let (topology, findings) = discover(&with(at, bytes));
            check(length, &topology, &findings);
        }
    }
}

#[test]
fn a_madt_cut_at_every_byte() {
    let whole = discover(&machine()).0;
    let bytes = madt();
    // The lengths after which a whole number of entries is there.
    let mut ends = vec![44];
    while *ends.last().unwrap() < bytes.len() {
        let at = *ends.last().unwrap();
        ends.push(at + usize::from(bytes[at + 1]));
    }
    cut_everywhere(MADT, &bytes, |length, topology, findings| {
        let usable: Vec<_> = topology.cpus.iter().filter(|cpu| whole.cpus.contains(cpu)).collect();
        assert!(usable.len() == topology.cpus.len() || length < 60, "{length}: only CPUs that there are");
        assert_eq!(topology.memory, whole.memory, "{length}: nothing else is harmed");
        let says = |text: &str| findings.iter().any(|finding| finding.starts_with(text));
        if length < 44 {
            assert!(says(&format!("ACPI: MADT at 0x20000: it says an impossible length of {length} bytes")));
        } else if ends.contains(&length) {
            assert!(!says("ACPI: MADT"), "{length}: {findings:?}");
        } else {
            let start = ends.iter().rev().find(|&&end| end < length).unwrap();
            assert!(
                says(&format!("ACPI: MADT at 0x20000: the entry at offset {start:#x} says")),
                "{length}: {findings:?}"
            );
        }
    });
}

#[test]
fn an_srat_cut_at_every_byte() {
    let whole = discover(&machine()).0;
    cut_everywhere(SRAT, &srat(), |length, topology, findings| {
        assert_eq!(topology.cpus.len(), whole.cpus.len());
        assert!(
            topology.memory.iter().all(|memory| whole.memory.iter().any(|other| other.range == memory.range))
        );
        assert!(topology.cpus.iter().all(|cpu| cpu.node.index() < topology.node_count()));
        let says = |text: &str| findings.iter().any(|finding| finding.starts_with(text));
        match length {
            ..48 => assert!(
                says("ACPI: SRAT at 0x30000: it says an impossible length of"),
                "{length}: {findings:?}"
            ),
            48 | 64 | 80 | 96 | 120 | 160 | 200 | 240 | 280 => {
                assert!(!says("ACPI: SRAT"), "{length}: {findings:?}")
            }
            _ => assert!(says("ACPI: SRAT at 0x30000: the entry at offset"), "{length}: {findings:?}"),
        }
    });
}

#[test]
fn other_tables_cut_at_every_byte() {
    let slit = slit(2, &[10, 20, 20, 10]);
    cut_everywhere(SLIT, &slit, |length, topology, findings| {
        assert_eq!(topology.distances, Distances::default());
        assert!(findings[0].starts_with("ACPI: SLIT at 0x1000000: it says an impossible length"), "{length}");
    });
    cut_everywhere(FADT, &fadt(), |length, topology, findings| {
        assert_eq!(
            length < 116,
            findings.iter().any(|finding| finding.starts_with("ACPI: FADT")),
            "{length}: {findings:?}"
        );
        assert_eq!(topology.power.off.is_some(), length >= 116);
    });
    cut_everywhere(DSDT, &dsdt(AML_S5), |length, topology, findings| {
        // 36 of header, 16 of noise, and the package up to its second element.
        assert_eq!(topology.power.off.is_some(), length >= 36 + 16 + 11, "{length}: {findings:?}");
    });
}

#[test]
fn entries_that_lie() {
    let madt_with = |entry: &[u8]| {
        let mut bytes = madt();
        bytes.splice(44..44, entry.iter().copied());
        seal(&mut bytes);
        discover(&with(MADT, bytes))
    };
    for (length, text) in [
        (0, "an impossible length of 0 bytes"),
        (1, "an impossible length of 1 bytes"),
        (7, "7 bytes are too few"),
    ] {
        let (_, findings) = madt_with(&[0, length, 0, 0, 0, 0, 0]);
        assert!(findings[0].starts_with("ACPI: MADT at 0x20000: the entry at offset 0x2c"), "{findings:?}");
        assert!(findings[0].contains(text), "{findings:?}");
    }
    let (topology, findings) = madt_with(&local_apic(9, 1, 1).0);
    assert_eq!(topology.cpus.len(), 4, "its entry says another uid");
    assert_eq!(findings, ["ACPI: MADT at 0x20000: APIC id 1 is listed twice; the second entry is ignored"]);
    let (topology, findings) = madt_with(&Bytes::default().u8(2).u8(10).u8(0).u8(5).u32(16).u16(2).0);
    assert_eq!(topology.isa_route(5).gsi, 16);
    assert_eq!(
        findings,
        ["ACPI: MADT at 0x20000: interrupt flags 0x2 have no meaning; the bus's default is used"]
    );
    let many: Vec<u8> = (0..300u32)
        .flat_map(|id| Bytes::default().u8(9).u8(16).u16(0).u32(5000 + id).u32(1).u32(id).0)
        .collect();
    let (topology, findings) = madt_with(&many);
    assert_eq!((topology.cpus.len(), topology.cpus[0].apic_id), (MAX_CPUS, 1));
    assert_eq!(
        findings[0],
        "ACPI: MADT at 0x20000: it has more CPUs than there is room for; 48 of them left out"
    );

    let srat_with = |entries: &[Vec<u8>]| {
        let mut bytes = srat();
        bytes.extend(entries.concat());
        seal(&mut bytes);
        discover(&with(SRAT, bytes))
    };
    let (topology, findings) = srat_with(&[memory_affinity(1, u64::MAX, 2, 1)]);
    assert_eq!(topology.memory.len(), 4);
    assert_eq!(
        findings,
        [
            "ACPI: SRAT at 0x30000: the memory range at 0xffffffffffffffff of 0x2 bytes runs past 2^64; it is ignored"
        ]
    );
    let domains: Vec<_> = (0..70)
        .map(|index| memory_affinity(1000 + index, (8 + u64::from(index)) << 32, 1 << 30, 1))
        .collect();
    let (topology, findings) = srat_with(&domains);
    assert_eq!(topology.node_count(), MAX_NODES);
    assert!(
        findings.contains(
            &"ACPI: no room for proximity domain 1062; it is counted with the first node".to_string()
        )
    );
    assert_eq!(topology.node_of(PhysAddr::new(70 << 32)), NodeId::FIRST);
}

#[test]
fn distances_are_by_domain() {
    let (topology, findings) = discover(&with(SLIT, wide_slit()));
    assert!(findings.is_empty());
    let distance = |from, to| topology.distances.between(node(from), node(to));
    assert_eq!([distance(0, 0), distance(0, 1), distance(1, 0), distance(1, 1)], [10, 21, 22, 10]);
    assert_eq!(distance(0, 2), REMOTE_DISTANCE);
}

#[test]
fn distances_that_lie() {
    for (bytes, text) in [
        (
            slit(u64::MAX, &[10]),
            "ACPI: SLIT at 0x1000000: it says an impossible length of 45 bytes; the table is ignored",
        ),
        (
            slit(1 << 32, &[10]),
            "ACPI: SLIT at 0x1000000: it says an impossible length of 45 bytes; the table is ignored",
        ),
        (
            slit(1, &[9]),
            "ACPI: SLIT at 0x1000000: the distance from domain 0 to 0 is given as 9, which is impossible; the table is ignored",
        ),
    ] {
        let (topology, findings) = discover(&with(SLIT, bytes));
        assert_eq!(topology.distances, Distances::default());
        assert_eq!(findings, [text]);
    }
    // Too small for our second domain; its part for the first is all right.
    let (topology, findings) = discover(&with(SLIT, slit(1, &[10])));
    assert_eq!((topology.distances, findings), (Distances::default(), vec![]));
}

#[test]
fn power_off_in_all_its_forms() {
    let off = |aml: &[u8]| discover(&with(DSDT, dsdt(aml))).0.power.off;
    let types = |a: u16, b: u16| {
        let port = Register::Port;
        Some(PowerOff::Pm1 { a: (port(0x604), a << 10 | 1 << 13), b: Some((port(0x704), b << 10 | 1 << 13)) })
    };
    let name = b"\x08_S5_";
    assert_eq!(off(&[name, &[0x12, 6, 4, 0, 0, 0, 0][..]].concat()), types(0, 0));
    assert_eq!(off(&[b"\x08\\_S5_", &[0x12, 6, 4, 1, 0, 0, 0][..]].concat()), types(1, 0));
    assert_eq!(off(&[name, &[0x12, 0x46, 0, 2, 0x0a, 7, 0x0b, 3, 0][..]].concat()), types(7, 3));
    assert_eq!(off(&[name, &[0x12, 9, 1, 0x0c, 6, 0, 0, 0][..]].concat()), types(6, 6));
    for bad in
        [&[0x12, 6, 4, 0xff, 0][..], &[0x12, 6, 4, 0x0a, 8, 0], &[0x11, 6, 4, 0, 0], &[0x12, 0xc0], &[]]
    {
        let memory = with(DSDT, dsdt(&[name, bad].concat()));
        let (topology, findings) = discover(&memory);
        assert_eq!(topology.power.off, None, "{bad:?}");
        assert_eq!(findings, ["ACPI: DSDT at 0x60000: no package _S5_ says how to power off"]);
        // An SSDT may have it instead.
        let mut memory = memory;
        *memory.piece(SSDT) = table(b"SSDT", 1, AML_S5);
        assert_eq!(discover(&memory).0.power.off, types(5, 1));
    }
    // Hardware-reduced ACPI: one sleep control register.
    let mut bytes = fadt();
    bytes.resize(276, 0);
    bytes[8] = 5;
    bytes[114] |= 1 << 4;
    bytes[244..248].copy_from_slice(&[1, 8, 0, 1]);
    bytes[248..256].copy_from_slice(&0x3c0u64.to_le_bytes());
    seal(&mut bytes);
    let reduced = discover(&with(FADT, bytes)).0.power.off;
    assert_eq!(reduced, Some(PowerOff::SleepControl(Register::Port(0x3c0), 5 << 2 | 1 << 5)));
    // A reset register in PCI configuration space; a control length that does not fit the crate's arithmetic.
    let mut bytes = fadt();
    bytes[116] = 2;
    bytes[89] = 0xff;
    seal(&mut bytes);
    let (topology, findings) = discover(&with(FADT, bytes));
    assert_eq!((topology.power.reset, topology.power.off), (None, types(5, 1)));
    assert_eq!(
        findings,
        ["ACPI: FADT at 0x50000: the reset register is neither in memory nor an I/O port; it is not used"]
    );
}

#[test]
fn a_reset_register_in_configuration_space_and_a_mode_to_turn_on() {
    let mut bytes = fadt();
    bytes[48..52].copy_from_slice(&0xb2u32.to_le_bytes());
    bytes[52] = 0xf1;
    bytes[116] = 2;
    bytes[120..128].copy_from_slice(&(0x1f << 32 | 3 << 16 | 0x44u64).to_le_bytes());
    seal(&mut bytes);
    let power = discover(&with(FADT, bytes.clone())).0.power;
    let pci = Register::Pci { device: 0x1f, function: 3, offset: 0x44 };
    assert_eq!(power.reset.map(|(register, _)| register), Some(pci));
    assert_eq!(power.enable, Some((0xb2, 0xf1)));
    bytes[52] = 0;
    seal(&mut bytes);
    assert_eq!(discover(&with(FADT, bytes)).0.power.enable, None);
}

mod cases;
mod nodes;

/// Checks what must hold of any result.
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn tables_with_random_bytes(
        which in prop::sample::select(vec![RSDP, XSDT, MADT, SRAT, SLIT, FADT, DSDT]),
        noise in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        sealed in any::<bool>(),
    ) {
        let mut memory = machine();
        let bytes = memory.piece(which);
        for (at, byte) in noise {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if sealed && which != RSDP {
            seal(bytes);
        }
        let (topology, findings) = discover(&memory);
        validate(&topology);
        prop_assert!(findings.iter().all(|finding| finding.starts_with("ACPI: ")));
    }

    #[test]
    fn tables_of_random_bytes(
        which in prop::sample::select(vec![*b"XSDT", *b"APIC", *b"SRAT", *b"SLIT", *b"FACP", *b"DSDT"]),
        // Small numbers are the interesting ones: types and lengths.
        content in proptest::collection::vec(prop_oneof![any::<u8>(), 0u8..24], 0..400),
    ) {
        let at = match &which { b"XSDT" => XSDT, b"APIC" => MADT, b"SRAT" => SRAT, b"SLIT" => SLIT, b"FACP" => FADT, _ => DSDT };
        validate(&discover(&with(at, table(&which, 3, &content))).0);
    }
}
