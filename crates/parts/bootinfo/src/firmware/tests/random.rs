//! Random bytes in tables, and tables of random bytes.

use proptest::prelude::*;

use super::*;

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
