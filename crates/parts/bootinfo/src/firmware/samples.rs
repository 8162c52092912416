//! The tables of a small machine, byte by byte: four CPUs of which one is a slot, two nodes, all that a MADT can say.

extern crate std;

use std::vec;
use std::vec::Vec;

use crate::fake::{Bytes, FakeMemory};

pub(super) const RSDP: u64 = 0xf_5a20;
pub(super) const XSDT: u64 = 0x1_0000;
pub(super) const MADT: u64 = 0x2_0000;
pub(super) const SRAT: u64 = 0x3_0000;
// Room after it: the distances of many domains take much of it.
pub(super) const SLIT: u64 = 0x100_0000;
pub(super) const FADT: u64 = 0x5_0000;
pub(super) const DSDT: u64 = 0x6_0000;
pub(super) const SSDT: u64 = 0x7_0000;

/// Returns a table with this content after its header, its length and checksum right.
pub(super) fn table(signature: &[u8; 4], revision: u8, content: &[u8]) -> Vec<u8> {
    let head = Bytes::default().bytes(signature).u32(36 + content.len() as u32).u8(revision).u8(0);
    let mut bytes = head.bytes(b"RHUMB TESTTABL").u32(1).u32(1).u32(1).bytes(content).0;
    seal(&mut bytes);
    bytes
}

/// Puts a table's length and checksum right after a change.
pub(super) fn seal(bytes: &mut [u8]) {
    let length = bytes.len() as u32;
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    bytes[9] = 0;
    bytes[9] = sum(bytes).wrapping_neg();
}

pub(super) fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

pub(super) fn rsdp(xsdt: u64, rsdt: u32) -> Vec<u8> {
    let mut bytes =
        Bytes::default().bytes(b"RSD PTR ").u8(0).bytes(b"RHUMB ").u8(2).u32(rsdt).u32(36).u64(xsdt).u32(0).0;
    bytes[8] = sum(&bytes[..20]).wrapping_neg();
    bytes[32] = sum(&bytes).wrapping_neg();
    bytes
}

pub(super) fn xsdt() -> Vec<u8> {
    let pointers = [0, FADT, MADT, SRAT, SLIT, SSDT];
    table(b"XSDT", 1, &pointers.map(u64::to_le_bytes).concat())
}

pub(super) fn local_apic(uid: u8, apic_id: u8, flags: u32) -> Bytes {
    Bytes::default().u8(0).u8(8).u8(uid).u8(apic_id).u32(flags)
}

pub(super) fn madt() -> Vec<u8> {
    let head = Bytes::default().u32(0xfee0_0000).u32(1);
    let cpus = [local_apic(0, 0, 1), local_apic(1, 1, 1), local_apic(2, 2, 0), local_apic(3, 3, 2)];
    let cpus: Vec<u8> = cpus.into_iter().flat_map(|bytes| bytes.0).collect();
    let x2apic = Bytes::default().u8(9).u8(16).u16(0).u32(0x1234).u32(1).u32(4);
    let io_apic = Bytes::default().u8(1).u8(12).u8(7).u8(0).u32(0xfec0_0000).u32(0);
    let timer = Bytes::default().u8(2).u8(10).u8(0).u8(0).u32(2).u16(0);
    let sci = Bytes::default().u8(2).u8(10).u8(0).u8(9).u32(9).u16(0xf);
    let nmi = Bytes::default().u8(4).u8(6).u8(0xff).u16(0).u8(1);
    let x2nmi = Bytes::default().u8(10).u8(12).u16(5).u32(4).u8(0).u8(0).u16(0);
    let source = Bytes::default().u8(3).u8(8).u16(0xd).u32(20);
    let over = Bytes::default().u8(5).u8(12).u16(0).u64(0xfee1_0000);
    let unknown = Bytes::default().u8(0x80).u8(3).u8(1);
    let rest = [x2apic, io_apic, timer, sci, nmi, x2nmi, source, over, unknown].map(|bytes| bytes.0).concat();
    table(b"APIC", 3, &head.bytes(&cpus).bytes(&rest).0)
}

pub(super) fn memory_affinity(domain: u32, base: u64, length: u64, flags: u32) -> Vec<u8> {
    Bytes::default().u8(1).u8(40).u32(domain).u16(0).u64(base).u64(length).u32(0).u32(flags).u64(0).0
}

pub(super) fn cpu_affinity(domain: u32, apic_id: u8) -> Vec<u8> {
    let upper = domain.to_le_bytes();
    Bytes::default().u8(0).u8(16).u8(upper[0]).u8(apic_id).u32(1).u8(0).bytes(&upper[1..]).u32(0).0
}

pub(super) fn srat() -> Vec<u8> {
    let x2apic = Bytes::default().u8(2).u8(24).u16(0).u32(0x300).u32(0x1234).u32(1).u32(0).u32(0).0;
    let entries = [
        cpu_affinity(0, 0),
        cpu_affinity(0x300, 1),
        cpu_affinity(77, 200),
        x2apic,
        memory_affinity(0, 0, 0xa_0000, 1),
        memory_affinity(0x300, 0x1_0000_0000, 0x8000_0000, 1),
        memory_affinity(0, 0x10_0000, 0x7ff0_0000, 1),
        memory_affinity(0x300, 0x1_8000_0000, 0x8000_0000, 3),
        memory_affinity(5, 0, u64::MAX, 0),
    ];
    table(b"SRAT", 3, &Bytes::default().u32(1).u64(0).bytes(&entries.concat()).0)
}

pub(super) fn slit(count: u64, distances: &[u8]) -> Vec<u8> {
    table(b"SLIT", 1, &Bytes::default().u64(count).bytes(distances).0)
}

/// Returns a SLIT for domains 0 to 0x300, all others unused.
pub(super) fn wide_slit() -> Vec<u8> {
    let count = 0x301;
    let mut distances = vec![30; count * count];
    (0..count).for_each(|domain| distances[domain * count + domain] = 10);
    distances[0x300] = 21;
    distances[0x300 * count] = 22;
    slit(count as u64, &distances)
}

pub(super) const AML_S5: &[u8] = &[0x08, b'_', b'S', b'5', b'_', 0x12, 0x07, 0x04, 0x0a, 5, 1, 0, 0];

pub(super) fn fadt() -> Vec<u8> {
    let mut bytes = table(b"FACP", 3, &[0; 244 - 36]);
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(40, &(DSDT as u32).to_le_bytes());
    put(64, &0x604u32.to_le_bytes()); // PM1a control
    put(68, &0x704u32.to_le_bytes()); // PM1b control
    put(76, &0x608u32.to_le_bytes()); // PM timer
    put(89, &[2]);
    put(91, &[4]);
    put(112, &(1u32 << 10 | 1 << 8).to_le_bytes()); // reset register, 32-bit timer
    put(116, &[1, 8, 0, 1]);
    put(120, &0xcf9u64.to_le_bytes());
    put(128, &[0x0f]);
    seal(&mut bytes);
    bytes
}

pub(super) fn dsdt(aml: &[u8]) -> Vec<u8> {
    table(b"DSDT", 1, &[b"noise _S5_ noise", aml, b"more"].concat())
}

pub(super) fn machine() -> FakeMemory {
    let mut memory = FakeMemory::default();
    memory.put(RSDP, &rsdp(XSDT, 0));
    memory.put(XSDT, &xsdt()).put(MADT, &madt()).put(SRAT, &srat()).put(SLIT, &slit(1, &[10]));
    memory.put(FADT, &fadt()).put(DSDT, &dsdt(AML_S5)).put(SSDT, &table(b"SSDT", 1, b""));
    memory
}
