//! Heads, entries and distances that lie.

use super::*;

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
    let long = (1 << 24) + u32::from(length);
    assert!(spoil(7, 1).contains(&format!("an impossible length of {long} bytes")));
    assert_eq!(
        spoil(4, length + 1),
        format!(
            "ACPI: MADT at 0x20000: {} bytes at 0x20000 cannot be read; the table is ignored",
            length + 1
        )
    );
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
    let many: Vec<u8> = (0..1100u32)
        .flat_map(|id| Bytes::default().u8(9).u8(16).u16(0).u32(5000 + id).u32(1).u32(id).0)
        .collect();
    let (topology, findings) = madt_with(&many);
    assert_eq!((topology.cpus.len(), topology.cpus[0].apic_id), (MAX_CPUS, 1));
    assert_eq!(
        findings[0],
        "ACPI: MADT at 0x20000: it has more CPUs than there is room for; 80 of them left out"
    );
    // Slots for CPUs that may be plugged in, before those that can be started: these are kept.
    let listed = |id: u32, flags: u32| Bytes::default().u8(9).u8(16).u16(0).u32(id).u32(flags).u32(id).0;
    let slots = (0..MAX_CPUS as u32 + 70).flat_map(|id| listed(5000 + id, 2));
    let many: Vec<u8> = slots.chain((0..3).flat_map(|id| listed(9000 + id, 1))).collect();
    let (topology, findings) = madt_with(&many);
    assert_eq!((topology.cpus.len(), topology.cpus[0].apic_id), (MAX_CPUS, 1));
    let started: Vec<_> = topology.startable().map(|cpu| cpu.apic_id).filter(|&id| id >= 5000).collect();
    assert_eq!(started, [9000, 9001, 9002]);
    assert_eq!(
        findings[0],
        "ACPI: MADT at 0x20000: it has more CPUs than there is room for; 77 of them left out"
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
