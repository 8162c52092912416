//! Power-off and reset, in all their forms.

use super::*;

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
