//! The kernel's own listing, recorded and cut.

use super::*;

/// Linux 6.1 with 4 GiB, shortened.
const LISTING: &str = "\
---[ User Space ]---
0x0000000000000000-0x0000008000000000         512G                               pgd
---[ Kernel Space ]---
0xffff800000000000-0xffff888000000000        8704G                               pgd
---[ LDT remap ]---
0xffff880000000000-0xffff888000000000         512G                               pgd
---[ Low Kernel Mapping ]---
0xffff888000000000-0xffff888000099000         612K     RW                 GLB NX pte
0xffff888000099000-0xffff88800009a000           4K     ro                 GLB NX pte
0xffff88800009a000-0xffff88800009c000           8K                               pte
0xffff88800009c000-0xffff888000200000        1424K     RW                 GLB NX pte
0xffff888000200000-0xffff888040000000        1022M     RW         PSE     GLB NX pmd
0xffff888040000000-0xffff888140000000           4G     RW         PSE     GLB NX pud
0xffff888140000000-0xffff890000000000         507G                               pud
---[ vmalloc() Area ]---
0xffffc90000000000-0xffffc90000004000          16K     RW                 GLB NX pte
";

fn extent(start: u64, bytes: u64, page_bytes: Option<u64>) -> Extent {
    Extent { start: Some(start), bytes, page_bytes }
}

#[test]
fn the_direct_map_is_read_by_place() {
    let listing = direct_map(LISTING.as_bytes()).expect("readable").expect("a direct map");
    assert_eq!(
        listing.extents,
        [
            extent(0, 0x9a000, Some(KIB_4)),
            extent(0x9a000, 0x2000, None),
            extent(0x9c000, 0x164000, Some(KIB_4)),
            extent(0x20_0000, GIB_1 - MIB_2, Some(MIB_2)),
            extent(GIB_1, 4 * GIB_1, Some(GIB_1)),
        ]
    );
    assert!(!listing.is_cut);
}

#[test]
fn a_listing_without_the_map_gives_nothing() {
    for text in [
        "",
        "---[ User Space ]---\n",
        "---[ Low Kernel Mapping ]---\n",
        "---[ Low Kernel Mapping ]---\nrubbish - x\n",
    ] {
        assert_eq!(direct_map(text.as_bytes()).expect("readable"), None, "{text}");
    }
}
