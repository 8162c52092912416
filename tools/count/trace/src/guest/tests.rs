use std::collections::BTreeMap;

use super::*;

/// Entries by physical address.
struct Memory(BTreeMap<u64, u64>);

impl PhysicalMemory for Memory {
    fn read(&self, physical: u64) -> Option<u64> {
        Some(self.0.get(&physical).copied().unwrap_or(0))
    }
}

#[test]
fn pages_of_each_size_are_found_as_the_manual_has_them() {
    // One root at 0x1000 for 0xffff_8000_...: entry 256 leads to 0x2000. There, entry 0 leads to a directory at 0x3000,
    // and entry 4 maps 1 GiB at 4 GiB. In the directory, entry 0 leads to a table at 0x4000, entry 3 maps 2 MiB.
    let memory = Memory(BTreeMap::from([
        (0x1000 + 256 * 8, 0x2000 | 0x63),
        (0x2000, 0x3000 | 0x63),
        (0x2000 + 4 * 8, 0x1_0000_0000 | 0x1e3 | 1 << 63),
        (0x3000, 0x4000 | 0x63),
        (0x3000 + 3 * 8, 0x60_0000 | 0xe3),
        (0x4000 + 5 * 8, 0x9000 | 0x163),
    ]));
    let mut tables = GuestTables::new(&memory, 0x1018);
    let small = tables.translate(0xffff_8000_0000_5123).unwrap();
    assert_eq!((small.page, small.is_global, small.physical), (PageSize::Size4K, true, 0x9123));
    assert_eq!(small.entries, [0x4028, 0x3000, 0x2000, 0x1800, 0]);
    let large = tables.translate(0xffff_8000_0061_2345).unwrap();
    assert_eq!((large.page, large.is_global, large.physical), (PageSize::Size2M, false, 0x61_2345));
    let largest = tables.translate(0xffff_8001_2345_6789).unwrap();
    assert_eq!((largest.page, largest.is_global, largest.physical), (PageSize::Size1G, true, 0x1_2345_6789));
    for absent in [0, 0xffff_8000_0000_6000, 0xffff_8000_0020_0000, 0xffff_8000_4000_0000] {
        assert_eq!(tables.translate(absent), None, "{absent:#x}");
    }
}
