//! Tables cut at every byte.

use super::*;

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
