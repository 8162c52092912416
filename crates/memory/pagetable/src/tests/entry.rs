//! The bits, by the manual.

use rhumb_machine::PageSize;

use super::*;

proptest! {
    #[test]
    fn a_leaf_says_what_it_was_made_of(frame in 0u64..1 << 40, wanted in attributes(), which in 0usize..3) {
        let size = PageSize::DESCENDING[which];
        let start = PhysAddr::new(frame << 12).align_down(size);
        let entry = Entry::leaf(start, size, wanted);
        prop_assert_eq!(entry.page_size(size.level()), Some(size));
        prop_assert_eq!(entry.child(size.level()), None);
        prop_assert_eq!(entry.phys(size), start);
        prop_assert_eq!(entry.attributes(size), Some(wanted));
        prop_assert_eq!(entry.reserved_bits(size.level(), 52), 0);
        // Canonical: what is read out of it makes it again, bit for bit.
        prop_assert_eq!(Entry::leaf(entry.phys(size), size, entry.attributes(size).unwrap()), entry);
    }

    #[test]
    fn splitting_and_merging_a_leaf_gives_its_bits_back(
        frame in 0u64..1 << 22, wanted in attributes(), huge in any::<bool>(),
    ) {
        let size = if huge { PageSize::Size1G } else { PageSize::Size2M };
        let small = size.smaller().unwrap();
        let whole = Entry::leaf(PhysAddr::new(frame << 30), size, wanted);
        let first = Entry::leaf(whole.phys(size), small, whole.attributes(size).unwrap());
        for part in 0..512 {
            let bytes = part * small.bytes();
            let entry = first.advanced(bytes);
            prop_assert_eq!(entry, Entry::leaf(whole.phys(size).plus(bytes), small, wanted));
        }
        prop_assert_eq!(Entry::leaf(first.phys(small), size, first.attributes(small).unwrap()), whole);
    }

    #[test]
    fn reserved_bits_are_those_past_the_width_and_under_a_large_page(phys_bits in 32u32..=52, bit in 12u32..52) {
        let mark = 1u64 << bit;
        let small = Entry::from_bits(bits::PRESENT | mark);
        prop_assert_eq!(small.reserved_bits(1, phys_bits) != 0, bit >= phys_bits);
        for (level, size) in [(2, PageSize::Size2M), (3, PageSize::Size1G)] {
            let large = Entry::from_bits(bits::PRESENT | bits::HUGE | mark);
            let bad = bit >= phys_bits || (13..size.shift()).contains(&bit);
            prop_assert_eq!(large.reserved_bits(level, phys_bits) != 0, bad);
        }
        // An absent entry may hold anything.
        prop_assert_eq!(Entry::from_bits(mark | bits::HUGE).reserved_bits(4, phys_bits), 0);
    }
}

#[test]
fn the_bits_are_where_the_manual_has_them() {
    let kernel = Attributes::kernel(Access::ReadWrite);
    let at = PhysAddr::new(0x4000_0000);
    let leaf = |size, attributes| Entry::leaf(at, size, attributes).bits();
    assert_eq!(leaf(PageSize::Size1G, kernel), 0x8000_0000_4000_01e3);
    assert_eq!(leaf(PageSize::Size4K, kernel), 0x8000_0000_4000_0163);
    assert_eq!(leaf(PageSize::Size4K, Attributes::kernel(Access::ReadOnly)), 0x8000_0000_4000_0121);
    assert_eq!(leaf(PageSize::Size2M, Attributes::kernel(Access::ReadExecute)), 0x0000_0000_4000_01a1);
    assert_eq!(leaf(PageSize::Size4K, Attributes::user(Access::ReadWrite)), 0x8000_0000_4000_0007);
    // Write-combining is slot 6: PAT and PCD. PAT is bit 7 of a small page and bit 12 of a large one.
    let combining = kernel.with_cache(CacheMode::WriteCombining);
    assert_eq!(leaf(PageSize::Size4K, combining), 0x8000_0000_4000_01f3);
    assert_eq!(leaf(PageSize::Size2M, combining), 0x8000_0000_4000_11f3);
    assert_eq!(Entry::table(Pfn::new(5), Privilege::User).bits(), 0x5027);
    assert_eq!(Entry::from_bits(0x7800_0000_0000_0001).key(), Key::new(15));
}

#[test]
fn the_pat_bit_is_no_address_bit_of_a_large_page() {
    let entry = Entry::from_bits(0x0060_1083);
    assert_eq!(entry.phys(PageSize::Size2M), PhysAddr::new(0x60_0000));
    assert_eq!(entry.cache_mode(PageSize::Size2M), CacheMode::WriteBack);
    let entry = Entry::from_bits(0x0060_1083 | bits::PCD);
    assert_eq!(entry.cache_mode(PageSize::Size2M), CacheMode::WriteCombining);
    // Of a small page it is, and bit 7 says nothing about size.
    let entry = Entry::from_bits(0x0060_1083 | bits::PCD);
    assert_eq!(entry.phys(PageSize::Size4K), PhysAddr::new(0x60_1000));
    assert_eq!((entry.page_size(1), entry.child(1)), (Some(PageSize::Size4K), None));
    assert_eq!(entry.cache_mode(PageSize::Size4K), CacheMode::WriteCombining);
}

#[test]
fn the_page_attribute_table_agrees_with_the_modes() {
    assert_eq!(PAT_LAYOUT, 0x0001_0506_0007_0406);
    for slot in 0..8 {
        let mode = CacheMode::of_slot(slot);
        assert_eq!(CacheMode::of_slot(mode.slot()), mode);
    }
}

#[test]
fn levels_cut_addresses_as_the_manual_does() {
    let address = virt(0xffff_8123_4567_89ab);
    let indices = [4, 3, 2, 1].map(|level| Levels::Four.index(address, level));
    assert_eq!(indices, [0x102, 0x8d, 0x2b, 0x78]);
    assert_eq!(Levels::Five.index(virt(0xff12_0000_0000_0000), 5), 0x112);
    assert_eq!(Levels::Four.kernel_half(), virt(0xffff_8000_0000_0000));
    assert_eq!(Levels::Five.kernel_half(), virt(0xff00_0000_0000_0000));
    for (start, bytes, good) in [
        (0x7fff_ffff_f000, 0x1000, true),
        (0x7fff_ffff_f000, 0x2000, false),
        (0xffff_8000_0000_0000, 0x1000, true),
        (0xffff_7fff_ffff_f000, 0x2000, false),
        (0x7fff_ffff_f000, 0xffff_0000_0000_2000, false),
        (0, 0, false),
    ] {
        let range = virt_range(start, bytes);
        assert_eq!(Levels::Four.positions(range).is_some(), good, "{range}");
    }
}
