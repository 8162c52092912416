//! Memory ranges of an SRAT that overlap, end within a frame, or are too many.

use proptest::prelude::*;

use super::*;

/// Reads an SRAT with these memory ranges (domain, base, end, flags).
fn of(ranges: &[(u32, u64, u64, u32)]) -> (Topology, Vec<String>) {
    let entries: Vec<_> = ranges
        .iter()
        .map(|&(domain, base, end, flags)| memory_affinity(domain, base, end - base, flags))
        .collect();
    let content = Bytes::default().u32(1).u64(0).bytes(&entries.concat());
    let mut memory = with(SRAT, table(b"SRAT", 3, &content.0));
    *memory.piece(SLIT) = vec![];
    let (topology, findings) = discover(&memory);
    validate(&topology);
    (topology, findings.into_iter().filter(|finding| finding.contains("SRAT")).collect())
}

fn shown(topology: &Topology) -> Vec<(u64, u64, u32)> {
    let ranges = topology.memory.iter();
    ranges.map(|memory| (memory.range.start().get(), memory.range.end().get(), memory.domain)).collect()
}

const G: u64 = 1 << 30;

#[test]
fn a_border_within_a_frame_is_rounded_and_no_frame_is_lost() {
    let (topology, findings) = of(&[(0, 0, 0x2000_0800, 1), (1, 0x2000_0800, 0x4000_0000, 1)]);
    assert_eq!(shown(&topology), [(0, 0x2000_0000, 0), (0x2000_0000, 0x4000_0000, 1)]);
    assert_eq!(findings, Vec::<String>::new());
    let ram = range(0x10_0000, 0x4000_0000);
    let frames: u64 = topology.pieces(ram).map(|(piece, _)| piece.whole_frames().frames()).sum();
    assert_eq!(frames, ram.whole_frames().frames());
    // A range within one frame is none.
    assert_eq!(shown(&of(&[(0, 0, G, 1), (1, G + 5, G + 9, 1)]).0), [(0, G, 0)]);
}

#[test]
fn overlapping_ranges_of_one_domain_are_joined() {
    let (topology, findings) = of(&[(1, 0, 4 * G, 1), (1, 2 * G, 6 * G, 1), (0, 6 * G, 9 * G, 1)]);
    assert_eq!(shown(&topology), [(0, 6 * G, 1), (6 * G, 9 * G, 0)]);
    assert_eq!(findings, Vec::<String>::new());
    assert_eq!(topology.node_of(PhysAddr::new(5 * G)), node(1));
    // One that covers others and the holes between them; the same again.
    let (topology, findings) =
        of(&[(1, G, 2 * G, 1), (1, 3 * G, 4 * G, 1), (1, 0, 8 * G, 1), (1, 0, 8 * G, 1)]);
    assert_eq!((shown(&topology), findings.len()), (vec![(0, 8 * G, 1)], 0));
    // Pluggable memory stays apart.
    let (topology, findings) = of(&[(1, 0, 4 * G, 1), (1, 2 * G, 6 * G, 3)]);
    assert_eq!((shown(&topology), findings.len()), (vec![(0, 4 * G, 1), (4 * G, 6 * G, 1)], 0));
    assert!(topology.memory[1].hot_pluggable && !topology.memory[0].hot_pluggable);
}

#[test]
fn of_two_domains_only_the_common_part_is_in_doubt() {
    let (topology, findings) = of(&[(0, 0, 4 * G, 1), (1, 3 * G, 6 * G, 1)]);
    assert_eq!(shown(&topology), [(0, 4 * G, 0), (4 * G, 6 * G, 1)]);
    assert_eq!(
        findings,
        [
            "ACPI: SRAT at 0x30000: [0xc0000000, 0x100000000) is given to domain 0 and to domain 1; it is counted to domain 0"
        ]
    );
    let (topology, findings) = of(&[(0, 2 * G, 3 * G, 1), (1, 0, 6 * G, 1)]);
    assert_eq!(shown(&topology), [(0, 2 * G, 1), (2 * G, 3 * G, 0), (3 * G, 6 * G, 1)]);
    assert_eq!(findings.len(), 1);
}

#[test]
fn interleaved_domains_cost_no_memory_however_many_they_are() {
    // 128 ranges with a hole after each: 255 borders within one piece of RAM.
    let ranges: Vec<_> =
        (0..200).map(|index| (index % 8 + 1, 2 * index as u64 * G, (2 * index as u64 + 1) * G, 1)).collect();
    let (topology, findings) = of(&ranges);
    assert_eq!(topology.memory.len(), MAX_MEMORY_RANGES);
    assert_eq!(
        findings,
        ["ACPI: SRAT at 0x30000: it has more memory ranges than there is room for; 72 of them left out"]
    );
    let ram = range(0, 400 * G);
    let pieces: Vec<_> = topology.pieces(ram).collect();
    assert!(pieces.len() <= MAX_PIECES && pieces.len() <= 1 + 2 * MAX_MEMORY_RANGES, "{}", pieces.len());
    assert_eq!(pieces.iter().map(|(piece, _)| piece.bytes()).sum::<u64>(), ram.bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Each frame belongs to the domain that claimed it first, and to the first node where none did.
    #[test]
    fn ranges_agree_with_a_plain_model(
        given in proptest::collection::vec((0u32..3, 0u64..200, 0u64..90, 0u32..2), 0..12),
    ) {
        const QUARTER: u64 = 1024;
        let ranges: Vec<_> = given
            .iter()
            .map(|&(domain, start, length, hot)| (domain, start * QUARTER, (start + length) * QUARTER, 1 + 2 * hot))
            .collect();
        let (topology, _) = of(&ranges);
        for frame in 0..80u64 {
            let claims = |&&(_, start, end, _): &&(u32, u64, u64, u32)| (start / 4096..end / 4096).contains(&frame) && start < end;
            let first = ranges.iter().find(claims).map(|&(domain, ..)| domain);
            let at = PhysAddr::new(frame * 4096);
            let found = topology.memory.iter().find(|memory| memory.range.contains(at)).map(|memory| memory.domain);
            prop_assert_eq!(found, first, "frame {}", frame);
            let node = first.map_or(NodeId::FIRST, |domain| node(topology.domains.binary_search(&domain).unwrap()));
            prop_assert_eq!(topology.node_of(at), node);
        }
        let adjoin = |pair: &[MemoryAffinity]| {
            pair[0].range.end() == pair[1].range.start()
                && (pair[0].domain, pair[0].hot_pluggable) == (pair[1].domain, pair[1].hot_pluggable)
        };
        prop_assert!(!topology.memory.windows(2).any(adjoin), "not joined");
    }
}
