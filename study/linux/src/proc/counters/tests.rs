//! Fields of several kernels, with and without each of them.

use super::*;

/// Linux 4.18 on a server: no counters of splits.
const MEMINFO_4_18: &str = "\
MemTotal:       131756880 kB
MemAvailable:   127233392 kB
PageTables:         9236 kB
HugePages_Total:       0
Hugepagesize:       2048 kB
DirectMap4k:      309060 kB
DirectMap2M:     7888896 kB
DirectMap1G:    127926272 kB
";

/// Linux 6.18 in a virtual machine.
const MEMINFO_6_18: &str = "\
MemTotal:       24683656 kB
DirectMap4k:       28672 kB
DirectMap2M:     3117056 kB
DirectMap1G:    24117248 kB
";

const VMSTAT_6_5: &str = "\
nr_free_pages 5243911
pgdemote_direct 0
direct_map_level2_splits 41
direct_map_level3_splits 3
nr_unstable 0
";

const VMSTAT_6_18: &str = "\
swpout_zero 0
direct_map_level2_splits 4
direct_map_level3_splits 1
direct_map_level2_collapses 2
direct_map_level3_collapses 0
nr_unstable 0
";

#[test]
fn the_map_is_read_by_size() {
    let map = DirectMap::parse(MEMINFO_4_18);
    assert_eq!(map.small, Some(309_060 << 10));
    assert_eq!(map.gib_1, Some(127_926_272 << 10));
    assert_eq!(map.mib_4, None);
    assert_eq!(map.total(), (309_060 + 7_888_896 + 127_926_272) << 10);
    assert_eq!(DirectMap::parse(MEMINFO_6_18).by_size().count(), 3);
    assert!((DirectMap::parse(MEMINFO_6_18).small_share().expect("a share") - 0.001_051).abs() < 1e-5);
}

#[test]
fn each_field_may_be_missing() {
    for gone in ["DirectMap4k", "DirectMap2M", "DirectMap1G"] {
        let text: String =
            MEMINFO_6_18.lines().filter(|line| !line.starts_with(gone)).map(|l| format!("{l}\n")).collect();
        let map = DirectMap::parse(&text);
        assert_eq!(map.by_size().count(), 2, "without {gone}");
        assert_eq!(map.small.is_none(), gone == "DirectMap4k");
    }
    assert_eq!(DirectMap::parse(""), DirectMap::default());
    assert_eq!(DirectMap::parse("").small_share(), None);
    let old = DirectMap::parse("DirectMap4k:       10232 kB\nDirectMap4M:      897024 kB\n");
    assert_eq!((old.mib_2, old.mib_4), (None, Some(897_024 << 10)));
}

#[test]
fn hostile_numbers_are_no_numbers() {
    for value in ["18446744073709551615 kB", "-1 kB", "x kB", "12", "12 MB", ""] {
        assert_eq!(DirectMap::parse(&format!("DirectMap4k: {value}\n")).small, None, "{value}");
    }
}

#[test]
fn splits_are_read_with_and_without_merges() {
    let old = Splits::parse(VMSTAT_6_5);
    assert_eq!((old.level2_splits, old.level3_splits, old.level2_collapses), (Some(41), Some(3), None));
    assert_eq!(old.table_bytes(), Some(44 * 4096));
    let new = Splits::parse(VMSTAT_6_18);
    assert_eq!(new.splits(), Some(5));
    assert_eq!(new.table_bytes(), Some(3 * 4096));
    assert_eq!(Splits::parse("nr_free_pages 1\n"), Splits::default());
    assert_eq!(Splits::default().splits(), None);
}

#[test]
fn boots_map_is_todays_without_the_splits() {
    let boot = at_boot(&DirectMap::parse(MEMINFO_6_18), &Splits::parse(VMSTAT_6_18)).expect("counters");
    assert_eq!(boot.small, Some((28_672 << 10) - 2 * MIB_2), "4 splits less 2 merges");
    assert_eq!(boot.mib_2, Some((3_117_056 << 10) + 2 * MIB_2 - GIB_1));
    assert_eq!(boot.gib_1, Some((24_117_248 << 10) + GIB_1));
    assert_eq!(boot.total(), DirectMap::parse(MEMINFO_6_18).total());
    assert_eq!(at_boot(&DirectMap::parse(MEMINFO_4_18), &Splits::default()), None);
}
