//! Firmware tables from any bytes, with the heads and sums that let a parser look further.
#![no_main]

use std::cell::Cell;
use std::collections::BTreeSet;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rhumb_bootinfo::firmware::{MAX_MEMORY_RANGES, MAX_PIECES};
use rhumb_bootinfo::loader::RsdpSource;
use rhumb_bootinfo::{PhysMemory, Topology};
use rhumb_machine::{MAX_NODES, PageSize, PhysAddr, PhysRange};

const SIGNATURES: [&[u8; 4]; 10] =
    [b"APIC", b"SRAT", b"SLIT", b"FACP", b"DSDT", b"SSDT", b"SPCR", b"DBG2", b"DMAR", b"HPET"];
const RSDP: u64 = 0xe_5a20;
const ROOT: u64 = 0x7_0000;
/// Reads that one discovery may make: the BIOS area has 8,192 places for a root pointer, a list some pointers.
const MAX_READS: u64 = 200_000;

#[derive(Arbitrary, Debug)]
struct Table<'a> {
    signature: u8,
    revision: u8,
    is_high: bool,
    is_sealed: bool,
    content: &'a [u8],
}

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    is_old: bool,
    is_pointer_sealed: bool,
    is_root_sealed: bool,
    is_given: bool,
    boot_apic_id: u8,
    tables: Vec<Table<'a>>,
    pointers: Vec<u64>,
}

/// A few pieces, and a count of what was read.
#[derive(Default)]
struct Memory {
    pieces: Vec<(u64, Vec<u8>)>,
    reads: Cell<u64>,
}

impl PhysMemory for Memory {
    fn bytes(&self, range: PhysRange) -> Option<&[u8]> {
        self.reads.set(self.reads.get() + 1);
        assert!(self.reads.get() < MAX_READS, "the search does not end");
        self.pieces.iter().find_map(|(start, bytes)| {
            let whole = PhysRange::of_length(PhysAddr::new(*start), bytes.len() as u64)?;
            let offset = whole.covers(range).then(|| range.start().get() - start)? as usize;
            bytes.get(offset..offset + range.bytes() as usize)
        })
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, &byte| sum.wrapping_add(byte))
}

fn table(signature: &[u8; 4], revision: u8, is_sealed: bool, content: &[u8]) -> Vec<u8> {
    let mut bytes = signature.to_vec();
    bytes.extend((36 + content.len() as u32).to_le_bytes());
    bytes.extend([revision, 0]);
    bytes.resize(36, 0);
    bytes.extend(content);
    if is_sealed {
        bytes[9] = sum(&bytes).wrapping_neg();
    }
    bytes
}

fn root_pointer(input: &Input<'_>) -> Vec<u8> {
    let mut bytes = b"RSD PTR ".to_vec();
    bytes.extend([0; 7]);
    bytes.push(if input.is_old { 0 } else { 2 });
    bytes.extend(if input.is_old { ROOT as u32 } else { 0 }.to_le_bytes());
    bytes.extend(36u32.to_le_bytes());
    bytes.extend(if input.is_old { 0 } else { ROOT }.to_le_bytes());
    bytes.extend([0; 4]);
    if input.is_pointer_sealed {
        bytes[8] = sum(&bytes[..20]).wrapping_neg();
        bytes[32] = sum(&bytes).wrapping_neg();
    }
    bytes
}

fuzz_target!(|input: Input<'_>| {
    let mut memory = Memory::default();
    memory.pieces.push((RSDP, root_pointer(&input)));
    let mut pointers = input.pointers.clone();
    pointers.truncate(100);
    let mut dsdt = 0;
    for (index, given) in input.tables.iter().take(10).enumerate() {
        let at = (1 + index as u64) << 24 | if given.is_high && !input.is_old { 5 << 32 } else { 0 };
        let signature = SIGNATURES[usize::from(given.signature) % SIGNATURES.len()];
        let mut content = given.content.to_vec();
        if signature == b"DSDT" {
            dsdt = at;
        }
        // The pointer to the DSDT, without which no byte of it is looked at.
        if signature == b"FACP" && content.len() >= 8 {
            content[4..8].copy_from_slice(&(dsdt as u32).to_le_bytes());
        }
        memory.pieces.push((at, table(signature, given.revision, given.is_sealed, &content)));
        pointers.push(at);
    }
    let list: Vec<u8> = if input.is_old {
        pointers.iter().flat_map(|&at| (at as u32).to_le_bytes()).collect()
    } else {
        pointers.iter().flat_map(|at| at.to_le_bytes()).collect()
    };
    let name = if input.is_old { b"RSDT" } else { b"XSDT" };
    memory.pieces.push((ROOT, table(name, 1, input.is_root_sealed, &list)));

    let source = input.is_given.then_some(RsdpSource::At(PhysAddr::new(RSDP)));
    let boot = u32::from(input.boot_apic_id);
    let (topology, findings) = Topology::discover(&memory, source, boot);
    findings.iter().for_each(|finding| assert!(finding.to_string().starts_with("ACPI: ")));
    check(&topology, boot);
});

fn check(topology: &Topology, boot: u32) {
    assert_eq!(topology.cpus[0].apic_id, boot);
    let ids: BTreeSet<u32> = topology.cpus.iter().map(|cpu| cpu.apic_id).collect();
    assert!(ids.len() == topology.cpus.len() && !ids.contains(&u32::MAX));
    assert!((1..=MAX_NODES).contains(&topology.node_count()));
    assert!(topology.cpus.iter().all(|cpu| cpu.node.index() < topology.node_count()));
    assert_eq!(topology.startable().next(), topology.cpus.first());
    let chips: BTreeSet<PhysAddr> = topology.io_apics.iter().map(|chip| chip.address).collect();
    assert_eq!(chips.len(), topology.io_apics.len());
    assert!(topology.domains.windows(2).all(|pair| pair[0] < pair[1]));
    for pair in topology.memory.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        assert!(before.range.end() <= after.range.start());
        let says_the_same = (before.domain, before.hot_pluggable) == (after.domain, after.hot_pluggable);
        assert!(!(says_the_same && before.range.end() == after.range.start()), "not joined");
    }
    for memory in &topology.memory {
        assert!(!memory.range.is_empty() && memory.range.is_aligned(PageSize::Size4K));
        assert!(memory.node.index() < topology.node_count());
        assert_eq!(topology.node_of(memory.range.start()), memory.node);
    }
    let all = PhysRange::new(PhysAddr::new(0x1000), PhysAddr::new(1 << 52)).unwrap_or_default();
    let pieces: Vec<_> = topology.pieces(all).collect();
    assert!(pieces.len() <= 1 + 2 * MAX_MEMORY_RANGES && pieces.len() <= MAX_PIECES);
    assert_eq!(pieces.first().map(|piece| piece.0.start()), Some(all.start()));
    assert_eq!(pieces.last().map(|piece| piece.0.end()), Some(all.end()));
    assert!(pieces.windows(2).all(|pair| pair[0].0.end() == pair[1].0.start() && pair[0].1 != pair[1].1));
    for (from, to) in topology.cpus.iter().zip(topology.cpus.iter().rev()) {
        let distance = topology.distances.between(from.node, to.node);
        assert!(distance >= 10 && (distance == 10) == (from.node == to.node));
    }
}
