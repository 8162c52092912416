use procfs::FromBufRead;
use procfs::process::MemoryMaps;

use super::*;

const SPAN: Range<u64> = 0x7f00_0000_0000..0x7f00_8000_0000;
const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

fn got(text: &str) -> Result<Got, Unknown> {
    Got::among(&MemoryMaps::from_buf_read(text.as_bytes()).unwrap().0, SPAN)
}

/// A huge page of 1 GiB, as Linux 6.18 shows it, between two mappings that are not asked for.
const HUGETLB_1G: &str = "\
7efffffff000-7f0000000000 rw-p 00000000 00:00 0 
Size:                  4 kB
KernelPageSize:        4 kB
MMUPageSize:           4 kB
Rss:                   4 kB
AnonHugePages:         0 kB
Private_Hugetlb:       0 kB
VmFlags: rd wr mr mw me ac sd 
7f0000000000-7f0040000000 rw-p 00000000 00:0e 10245                      /anon_hugepage (deleted)
Size:            1048576 kB
KernelPageSize:  1048576 kB
MMUPageSize:     1048576 kB
Rss:                   0 kB
Pss:                   0 kB
Pss_Dirty:             0 kB
Shared_Clean:          0 kB
Shared_Dirty:          0 kB
Private_Clean:         0 kB
Private_Dirty:         0 kB
Referenced:            0 kB
Anonymous:             0 kB
KSM:                   0 kB
LazyFree:              0 kB
AnonHugePages:         0 kB
ShmemPmdMapped:        0 kB
FilePmdMapped:         0 kB
Shared_Hugetlb:        0 kB
Private_Hugetlb: 1048576 kB
Swap:                  0 kB
SwapPss:               0 kB
Locked:                0 kB
THPeligible:           0
VmFlags: rd wr mr mw me de ht sd 
7f0080000000-7f00c0000000 ---p 00000000 00:00 0 
Size:            1048576 kB
KernelPageSize:        4 kB
MMUPageSize:           4 kB
Rss:                   0 kB
AnonHugePages:         0 kB
Private_Hugetlb:       0 kB
VmFlags: mr mw me nr sd 
";

/// 32 MiB with three blocks in transparent huge pages, as Linux 4.14 shows them: without the newer fields.
const THP_4_14: &str = "\
7f0000000000-7f0002000000 rw-p 00000000 00:00 0 
Size:              32768 kB
Rss:                8192 kB
Pss:                8192 kB
Shared_Clean:          0 kB
Shared_Dirty:          0 kB
Private_Clean:         0 kB
Private_Dirty:      8192 kB
Referenced:         8192 kB
Anonymous:          8192 kB
LazyFree:              0 kB
AnonHugePages:      6144 kB
ShmemPmdMapped:        0 kB
Shared_Hugetlb:        0 kB
Private_Hugetlb:       0 kB
Swap:                  0 kB
SwapPss:               0 kB
KernelPageSize:        4 kB
MMUPageSize:           4 kB
Locked:                0 kB
VmFlags: rd wr mr mw me nr hg sd 
";

/// Huge pages of 2 MiB beside a block of ordinary pages, as Linux 5.10 shows them.
const MIXED_5_10: &str = "\
7f0000000000-7f0000400000 rw-p 00000000 00:0f 4711                       /anon_hugepage (deleted)
Size:               4096 kB
KernelPageSize:     2048 kB
MMUPageSize:        2048 kB
Rss:                   0 kB
AnonHugePages:         0 kB
ShmemPmdMapped:        0 kB
FilePmdMapped:         0 kB
Shared_Hugetlb:        0 kB
Private_Hugetlb:    4096 kB
Swap:                  0 kB
THPeligible:    0
VmFlags: rd wr mr mw me de ht sd 
7f0000400000-7f0000600000 rw-p 00000000 00:00 0 
Size:               2048 kB
KernelPageSize:        4 kB
MMUPageSize:           4 kB
Rss:                2048 kB
AnonHugePages:         0 kB
ShmemPmdMapped:        0 kB
FilePmdMapped:         0 kB
Shared_Hugetlb:        0 kB
Private_Hugetlb:       0 kB
Swap:                  0 kB
THPeligible:    0
VmFlags: rd wr mr mw me ac sd nh 
";

#[test]
fn reads_the_samples_of_several_kernels() {
    assert_eq!(got(HUGETLB_1G).unwrap(), Got { gib_bytes: GIB, ..Got::default() });
    let thp = Got { mib_bytes: 6 * MIB, kib_bytes: 2 * MIB, other_bytes: 24 * MIB, gib_bytes: 0 };
    assert_eq!(got(THP_4_14).unwrap(), thp);
    assert_eq!(thp.to_string(), "6 MiB in pages of 2 MiB, 2 MiB in pages of 4 KiB, 24 MiB otherwise");
    let mixed = Got { mib_bytes: 4 * MIB, kib_bytes: 2 * MIB, ..Got::default() };
    assert_eq!(got(MIXED_5_10).unwrap(), mixed);
}

#[test]
fn a_kernel_that_does_not_count_huge_pages_is_an_error() {
    let without = THP_4_14.replace("AnonHugePages:      6144 kB\n", "");
    assert!(matches!(got(&without), Err(Unknown::NoHuge)));
    assert_eq!(got("").unwrap(), Got::default());
    assert_eq!(Got::default().to_string(), "nothing");
}
