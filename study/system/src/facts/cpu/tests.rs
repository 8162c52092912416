use raw_cpuid::CpuIdResult;

use super::*;

/// One recorded answer: leaf, subleaf, and EAX to EDX.
type Answer = (u32, u32, [u32; 4]);

/// Returns the translation caches of a CPU that was recorded.
fn recorded(answers: &[Answer]) -> Vec<Tlb> {
    let reader = |leaf: u32, subleaf: u32| {
        let found = answers.iter().find(|answer| (answer.0, answer.1) == (leaf, subleaf));
        let [eax, ebx, ecx, edx] = found.map_or([0; 4], |answer| answer.2);
        CpuIdResult { eax, ebx, ecx, edx }
    };
    tlbs(&CpuId::with_cpuid_fn(reader))
}

/// A cache as the tests compare it: level, kind, sizes in KiB, entries, ways.
type Short = (u32, TlbKind, Vec<u64>, u32, Option<u32>);

fn short(tlbs: &[Tlb]) -> Vec<Short> {
    tlbs.iter()
        .map(|tlb| {
            let sizes = tlb.page_bytes.iter().map(|bytes| bytes >> 10).collect();
            (tlb.level, tlb.kind, sizes, tlb.entries, tlb.ways)
        })
        .collect()
}

/// An Intel Core i7-12700K, whose caches for stores are apart, as on all CPUs since Ice Lake.
const ALDER_LAKE: [Answer; 10] = [
    (0, 0, [0x20, 0x756e_6547, 0x6c65_746e, 0x4965_6e69]),
    (0x18, 0, [8, 0, 0, 0]),
    (0x18, 1, [0, 0x0008_0001, 0x20, 0x4022]),
    (0x18, 2, [0, 0x0008_0006, 4, 0x4022]),
    (0x18, 3, [0, 0x0010_000f, 1, 0x4125]),
    (0x18, 4, [0, 0x0004_0001, 0x10, 0x4024]),
    (0x18, 5, [0, 0x0004_0006, 8, 0x4024]),
    (0x18, 6, [0, 0x0008_0008, 1, 0x4124]),
    (0x18, 7, [0, 0x0008_0007, 0x80, 0x4043]),
    (0x18, 8, [0, 0x0008_0009, 0x80, 0x4043]),
];

#[test]
fn an_intel_cpu_keeps_loads_and_stores_apart() {
    let any = vec![4, 2 << 10, 4 << 10, 1 << 20];
    assert_eq!(
        short(&recorded(&ALDER_LAKE)),
        [
            (1, TlbKind::Code, vec![4], 256, Some(8)),
            (1, TlbKind::Code, vec![2 << 10, 4 << 10], 32, Some(8)),
            (1, TlbKind::Stores, any, 16, None),
            (1, TlbKind::Loads, vec![4], 64, Some(4)),
            (1, TlbKind::Loads, vec![2 << 10, 4 << 10], 32, Some(4)),
            (1, TlbKind::Loads, vec![1 << 20], 8, None),
            (2, TlbKind::Shared, vec![4, 2 << 10, 4 << 10], 1024, Some(8)),
            (2, TlbKind::Shared, vec![4, 1 << 20], 1024, Some(8)),
        ]
    );
}

/// An AMD Ryzen of the family Zen 2 (Matisse).
const MATISSE: [Answer; 5] = [
    (0, 0, [0x10, 0x6874_7541, 0x444d_4163, 0x6974_6e65]),
    (0x8000_0000, 0, [0x8000_0020, 0x6874_7541, 0x444d_4163, 0x6974_6e65]),
    (0x8000_0005, 0, [0xff40_ff40, 0xff40_ff40, 0x2008_0140, 0x2008_0140]),
    (0x8000_0006, 0, [0x4800_6400, 0x6800_6400, 0x0200_6140, 0x0100_9140]),
    (0x8000_0019, 0, [0xf040_f040, 0, 0, 0]),
];

#[test]
fn an_amd_cpu_lists_each_size_by_itself() {
    let tlbs = recorded(&MATISSE);
    assert!(tlbs.iter().all(|tlb| tlb.source.starts_with("CPUID function 8000_")));
    assert_eq!(
        short(&tlbs),
        [
            (1, TlbKind::Data, vec![4], 64, None),
            (1, TlbKind::Data, vec![2 << 10], 64, None),
            (1, TlbKind::Code, vec![4], 64, None),
            (1, TlbKind::Code, vec![2 << 10], 64, None),
            (2, TlbKind::Data, vec![4], 2048, Some(8)),
            (2, TlbKind::Data, vec![2 << 10], 2048, Some(4)),
            (2, TlbKind::Code, vec![4], 1024, Some(8)),
            (2, TlbKind::Code, vec![2 << 10], 1024, Some(8)),
            (1, TlbKind::Data, vec![1 << 20], 64, None),
            (1, TlbKind::Code, vec![1 << 20], 64, None),
        ]
    );
}

#[test]
fn a_cpu_that_describes_nothing_has_an_empty_list() {
    assert_eq!(recorded(&ALDER_LAKE[..1]), []);
    assert_eq!(recorded(&MATISSE[..1]), []);
}
