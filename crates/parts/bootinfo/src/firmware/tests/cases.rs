//! Tables of real firmware that say odd things: wrong checksums, ids that are none, entries that are listed twice.

use super::*;
use crate::serial::{SerialInterrupt, SerialPort, SerialRegisters};

/// Returns the machine with these entries put before the MADT's others.
fn with_entries(entries: &[u8]) -> (Topology, Vec<String>) {
    let mut bytes = madt();
    bytes.splice(44..44, entries.iter().copied());
    seal(&mut bytes);
    discover(&with(MADT, bytes))
}

fn x2apic(uid: u32, apic_id: u32, flags: u32) -> Vec<u8> {
    Bytes::default().u8(9).u8(16).u16(0).u32(apic_id).u32(flags).u32(uid).0
}

fn io_apic(id: u8, address: u32, gsi_base: u32) -> Vec<u8> {
    Bytes::default().u8(1).u8(12).u8(id).u8(0).u32(address).u32(gsi_base).0
}

#[test]
fn an_id_that_addresses_every_cpu_is_no_cpu() {
    let (topology, findings) =
        with_entries(&[local_apic(7, 0xff, 1).0, x2apic(8, u32::MAX, 1), x2apic(9, 0xff, 1)].concat());
    let ids: Vec<_> = topology.cpus.iter().map(|cpu| cpu.apic_id).collect();
    assert_eq!(ids, [1, 0xff, 0, 3, 0x1234], "as an x2APIC id, 0xff is one of many");
    let text = "addresses every CPU and cannot be that of one; the entry is ignored";
    assert_eq!(
        findings,
        [
            format!("ACPI: MADT at 0x20000: APIC id 0xff {text}"),
            format!("ACPI: MADT at 0x20000: APIC id 0xffffffff {text}"),
        ]
    );
    // Slots without a CPU are listed in just this way, and mean nothing.
    let (topology, findings) = with_entries(&[local_apic(7, 0xff, 0).0, x2apic(8, u32::MAX, 0)].concat());
    assert_eq!((topology.cpus.len(), findings.len()), (4, 0));
}

#[test]
fn a_cpu_in_both_forms_is_one_cpu_and_no_finding() {
    let both: Vec<u8> =
        (10..74).flat_map(|id| [local_apic(id, id, 1).0, x2apic(id.into(), id.into(), 1)].concat()).collect();
    let (topology, findings) = with_entries(&both);
    assert_eq!((topology.cpus.len(), findings.len()), (64 + 4, 0));
    // With other uids each is a finding; a damaged SRAT is named among them all the same.
    let both: Vec<u8> =
        (10..74).flat_map(|id| [local_apic(id, id, 1).0, x2apic(500, id.into(), 1)].concat()).collect();
    let mut memory = machine();
    let bytes = memory.piece(MADT);
    bytes.splice(44..44, both);
    seal(bytes);
    memory.piece(SRAT).truncate(40);
    let (topology, findings) = Topology::discover(&memory, Some(RsdpSource::At(PhysAddr::new(RSDP))), 1);
    assert_eq!((topology.cpus.len(), findings.total(), findings.omitted()), (64 + 4, 65, 53));
    let last = findings.iter().last().unwrap().to_string();
    assert!(last.starts_with("ACPI: SRAT at 0x30000: ") && last.contains("cannot be read"), "{last}");
}

#[test]
fn an_io_apic_listed_twice_is_one() {
    let (topology, findings) = with_entries(&io_apic(8, 0xfec0_0000, 24));
    assert_eq!(topology.io_apics[..], [IoApic { id: 8, address: PhysAddr::new(0xfec0_0000), gsi_base: 24 }]);
    assert_eq!(
        findings,
        ["ACPI: MADT at 0x20000: the I/O APIC at 0xfec00000 is listed twice; the second entry is ignored"]
    );
    let (topology, findings) = with_entries(&io_apic(7, 0xfec0_0000, 0));
    assert_eq!((topology.io_apics.len(), findings.len()), (1, 0), "and the same twice is no finding");
    let many: Vec<u8> =
        (1..40).flat_map(|index| io_apic(index, 0xfe00_0000 + 4096 * u32::from(index), 0)).collect();
    let (topology, findings) = with_entries(&many);
    assert_eq!((topology.io_apics.len(), findings.len()), (40, 0), "large machines have that many");
}

#[test]
fn a_wrong_checksum_costs_nothing() {
    let whole = discover(&machine()).0;
    for (at, name) in
        [(XSDT, "XSDT"), (MADT, "MADT"), (SRAT, "SRAT"), (SLIT, "SLIT"), (FADT, "FADT"), (DSDT, "DSDT")]
    {
        let mut memory = machine();
        memory.piece(at)[9] ^= 1;
        let (topology, findings) = discover(&memory);
        assert_eq!(topology, whole, "{name}");
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(
            findings[0].starts_with(&format!("ACPI: {name} at {at:#x}: its checksum is wrong")),
            "{findings:?}"
        );
        assert!(findings[0].ends_with("the table is used all the same"), "{findings:?}");
    }
    // Of two tables of one name the one with the right checksum counts.
    let mut memory = machine();
    let spare = 0x9_0000;
    memory.put(spare, &madt());
    memory.piece(MADT)[44 + 3] = 77;
    let pointers = [FADT, MADT, spare, SRAT, SLIT];
    *memory.piece(XSDT) = table(b"XSDT", 1, &pointers.map(u64::to_le_bytes).concat());
    assert_eq!(discover(&memory), (whole.clone(), vec![]));
    // A root pointer whose checksum is wrong is used where there is no other.
    let mut memory = machine();
    memory.piece(RSDP)[8] ^= 1;
    let (topology, findings) = discover(&memory);
    assert_eq!((topology, findings.len()), (whole, 3), "the second half's sum covers the first");
    assert_eq!(
        findings[2],
        "ACPI: the BIOS area has no root pointer; using the boot loader's, whose checksum is wrong"
    );
}

#[test]
fn a_damaged_second_half_is_used_where_the_first_names_no_list() {
    let mut memory = machine();
    memory.piece(RSDP)[32] ^= 1;
    let (topology, findings) = discover(&memory);
    assert_eq!(topology, discover(&machine()).0);
    assert!(
        findings[0].starts_with("ACPI: the second half of the root pointer is not valid"),
        "{findings:?}"
    );
}

#[test]
fn a_table_out_of_reach_is_named() {
    let mut memory = machine();
    let pointers = [0x12_3456_7000, FADT, MADT, SRAT, SLIT];
    *memory.piece(XSDT) = table(b"XSDT", 1, &pointers.map(u64::to_le_bytes).concat());
    let (topology, findings) = discover(&memory);
    assert_eq!(topology, discover(&machine()).0);
    assert_eq!(findings, ["ACPI: a table is ignored: 36 bytes at 0x1234567000 cannot be read"]);
}

/// Returns the machine with one more table.
fn with_table(bytes: &[u8]) -> (Topology, Vec<String>) {
    let mut memory = machine();
    let at = 0x9_0000;
    memory.put(at, bytes);
    let pointers = [at, FADT, MADT, SRAT, SLIT];
    *memory.piece(XSDT) = table(b"XSDT", 1, &pointers.map(u64::to_le_bytes).concat());
    discover(&memory)
}

fn address(space: u8, width: u8, access: u8, at: u64) -> Bytes {
    Bytes::default().u8(space).u8(width).u8(0).u8(access).u64(at)
}

fn spcr(interface: u8, address: &Bytes, kinds: u8, irq: u8, gsi: u32, baud: u8) -> Vec<u8> {
    let head = Bytes::default().u8(interface).u8(0).u16(0).bytes(&address.0);
    let tail = [0; 21];
    table(b"SPCR", 2, &head.u8(kinds).u8(irq).u32(gsi).u8(baud).bytes(&tail).0)
}

#[test]
fn the_firmwares_console() {
    assert_eq!(discover(&machine()).0.console, None);
    use SerialInterrupt::{Global, Isa};
    use SerialRegisters::{Bytes as InBytes, Ports, Words};
    let at = PhysAddr::new(0xfe03_4000);
    for (bytes, registers, interrupt, baud) in [
        (spcr(0, &address(1, 8, 1, 0x2f8), 3, 3, 3, 7), Ports(0x2f8), Some(Global(3)), Some(115_200)),
        (spcr(1, &address(1, 8, 0, 0x3e8), 1, 4, 0, 3), Ports(0x3e8), Some(Isa(4)), Some(9600)),
        (spcr(0x12, &address(0, 8, 1, at.get()), 8, 4, 0, 0), InBytes(at), None, None),
        (spcr(0x12, &address(0, 32, 3, at.get()), 2, 0, 40, 6), Words(at), Some(Global(40)), Some(57_600)),
    ] {
        let (topology, findings) = with_table(&bytes);
        assert_eq!(topology.console, Some(SerialPort { registers, interrupt, baud }));
        assert_eq!(findings, Vec::<String>::new());
    }
    for (bytes, text) in [
        (
            spcr(3, &address(0, 32, 3, 0x900_0000), 8, 0, 33, 7),
            "the console's interface 0x3 is no 16550; it is not used",
        ),
        (
            spcr(0, &address(1, 8, 1, 0xfff9), 0, 0, 0, 0),
            "the console is neither in memory nor an I/O port; it is not used",
        ),
        (
            spcr(0, &address(7, 8, 1, 0x3f8), 0, 0, 0, 0),
            "the console is neither in memory nor an I/O port; it is not used",
        ),
        (table(b"SPCR", 2, &[0; 43]), "it says an impossible length of 79 bytes; the table is ignored"),
    ] {
        let (topology, findings) = with_table(&bytes);
        assert_eq!((topology.console, findings), (None, vec![format!("ACPI: SPCR at 0x90000: {text}")]));
    }
    let (topology, findings) = with_table(&spcr(0, &address(1, 8, 1, 0), 3, 4, 4, 7));
    assert_eq!((topology.console, findings.len()), (None, 0), "no console: turned off in the setup menu");
}

fn debug_port(kind: u16, subtype: u16, address: &Bytes) -> Vec<u8> {
    let head = Bytes::default().u8(0).u16(34).u8(1).u16(0).u16(0).u16(0).u16(0);
    head.u16(kind).u16(subtype).u16(0).u16(22).u16(0).bytes(&address.0).0
}

#[test]
fn a_debug_port_where_there_is_no_console() {
    let usb = debug_port(0x8002, 0, &address(0, 0, 0, 0xfed0_0000));
    let serial = debug_port(0x8000, 0, &address(1, 8, 1, 0x2f8));
    let dbg2 =
        |count: u32, devices: &[u8]| table(b"DBG2", 0, &Bytes::default().u32(44).u32(count).bytes(devices).0);
    let devices = [usb.clone(), serial].concat();
    let (topology, findings) = with_table(&dbg2(2, &devices));
    let com2 = SerialPort { interrupt: Some(SerialInterrupt::Isa(3)), ..SerialPort::COM1 };
    assert_eq!(topology.console, Some(SerialPort { registers: SerialRegisters::Ports(0x2f8), ..com2 }));
    assert_eq!(findings, Vec::<String>::new());
    assert_eq!(with_table(&dbg2(1, &devices)).0.console, None, "as many as it says");
    // A count without end, a length of 0, a length past the end.
    let (topology, findings) = with_table(&dbg2(u32::MAX, &usb));
    assert_eq!(topology.console, None);
    assert!(
        findings[0].contains("the entry at offset 0x4e says an impossible length of 0 bytes"),
        "{findings:?}"
    );
    for length in [0u16, 21, 35, u16::MAX] {
        let mut device = usb.clone();
        device[1..3].copy_from_slice(&length.to_le_bytes());
        let (_, findings) = with_table(&dbg2(1, &device));
        assert!(
            findings[0].contains("the entry at offset 0x2c says an impossible length of"),
            "{length}: {findings:?}"
        );
    }
}

#[test]
fn firmware_that_cannot_live_with_x2apics_says_so() {
    let dmar = |flags: u8| table(b"DMAR", 1, &Bytes::default().u8(38).u8(flags).bytes(&[0; 10]).0);
    for (flags, interrupts, x2apic_opt_out) in
        [(0, false, false), (1, true, false), (3, true, true), (2, false, false)]
    {
        let (topology, findings) = with_table(&dmar(flags));
        assert_eq!(topology.remapping, Some(Remapping { interrupts, x2apic_opt_out }));
        assert_eq!(findings, Vec::<String>::new());
    }
    let (topology, findings) = with_table(&table(b"DMAR", 1, &[38]));
    assert_eq!((topology.remapping, findings.len()), (None, 1));
}

#[test]
fn the_event_timer_is_used_where_its_registers_can_be() {
    let hpet = |space: u8, at: u64| {
        let head = Bytes::default().u32(0x8086_a201).u8(space).u8(64).u8(0).u8(0).u64(at);
        table(b"HPET", 1, &head.u8(0).u16(100).u8(0).0)
    };
    let (topology, findings) = with_table(&hpet(0, 0xfed0_0000));
    assert_eq!((topology.hpet, findings.len()), (Some(PhysAddr::new(0xfed0_0000)), 0));
    let (topology, findings) = with_table(&hpet(0, 0));
    assert_eq!((topology.hpet, findings.len()), (None, 0), "there is none");
    // In I/O space, at an odd address, across the end of its page, past the end of physical memory.
    for (space, at) in [(1, 0xfed0_0000), (0, 0xfed0_0004), (0, 0xfed0_0f08), (0, 1 << 52), (0, u64::MAX)] {
        let (topology, findings) = with_table(&hpet(space, at));
        assert_eq!((topology.hpet, findings.len()), (None, 1), "{at:#x}");
        assert!(findings[0].contains("event timer"), "{findings:?}");
    }
    for length in 0..20 {
        let (topology, findings) = with_table(&table(b"HPET", 1, &hpet(0, 0xfed0_0000)[36..36 + length]));
        assert_eq!((topology.hpet, findings.len()), (None, 1), "{length} bytes");
    }
}

#[test]
fn the_boot_cpu_can_be_started_whatever_is_said_of_it() {
    // The boot CPU (id 1) is listed as a slot that may be filled later.
    let mut bytes = madt();
    bytes[44 + 8 + 4] = 2;
    seal(&mut bytes);
    let topology = discover(&with(MADT, bytes)).0;
    let ids: Vec<_> = topology.startable().map(|cpu| cpu.apic_id).collect();
    assert_eq!(ids, [1, 0, 0x1234]);
    let lints =
        |at: usize| topology.nmi_lines_of(&topology.cpus[at]).map(|line| line.lint).collect::<Vec<_>>();
    assert_eq!((lints(0), lints(3)), (vec![1], vec![1, 0]), "one for all, one for uid 4 alone");
}

/// As many CPUs as there is room for, on as many nodes: their numbers are past those of xAPICs, with gaps between the
/// sockets, and tables list them in opposite orders.
#[test]
fn the_most_cpus_and_nodes() {
    let sockets = MAX_NODES as u32;
    let of_socket = |socket: u32| (0..MAX_CPUS as u32 / sockets).map(move |core| 1 + socket * 0x400 + core);
    let ids = || (0..sockets).flat_map(of_socket);
    let local = |id| Bytes::default().u8(9).u8(16).u16(0).u32(id).u32(1).u32(5000 + id).0;
    let lint = |id: u32| {
        Bytes::default().u8(10).u8(12).u16(0b1101).u32(5000 + id).u8((id % 2) as u8).bytes(&[0; 3]).0
    };
    let entries = ids().flat_map(|id| [local(id), lint(id)].concat());
    let madt = table(b"APIC", 5, &[vec![0; 8], entries.collect()].concat());
    let near = |id: u32| Bytes::default().u8(2).u8(24).u16(0).u32(7 * (id / 0x400)).u32(id).u32(1).u64(0).0;
    let near = ids().collect::<Vec<_>>().into_iter().rev().flat_map(near);
    let memory =
        (0..sockets).flat_map(|socket| memory_affinity(7 * socket, u64::from(socket) << 40, 1 << 40, 1));
    let srat = table(b"SRAT", 3, &[vec![0; 12], near.collect(), memory.collect()].concat());
    let mut memory = machine();
    *memory.piece(MADT) = madt;
    *memory.piece(SRAT) = srat;
    let (topology, findings) = discover(&memory);
    assert_eq!(findings, Vec::<String>::new());
    assert_eq!((topology.startable().count(), topology.node_count()), (MAX_CPUS, MAX_NODES));
    for (cpu, id) in topology.cpus.iter().zip(ids()) {
        assert_eq!((cpu.apic_id, cpu.acpi_uid, cpu.node), (id, 5000 + id, node(id as usize / 0x400)));
        let lints = topology.nmi_lines_of(cpu).map(|line| u32::from(line.lint)).collect::<Vec<_>>();
        assert_eq!(lints, [id % 2]);
    }
    for (at, index) in [(0, 0), (1 << 40, 1), ((64 << 40) - 1, 63)] {
        assert_eq!(topology.node_of(PhysAddr::new(at)), node(index), "{at:#x}");
    }
    validate(&topology);
}
