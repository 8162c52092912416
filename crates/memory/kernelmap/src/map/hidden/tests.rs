//! Hidden entries come back as they were.

use rhumb_machine::{PageSize, Pfn, PhysAddr};
use rhumb_pagetable::{Access, Attributes, Privilege};

use super::*;

#[test]
fn what_was_hidden_comes_back_bit_for_bit() {
    let leaf = |phys, size, access| Entry::leaf(PhysAddr::new(phys), size, Attributes::kernel(access));
    for entry in [
        leaf(0, PageSize::Size4K, Access::ReadOnly),
        leaf((1 << 52) - 0x1000, PageSize::Size4K, Access::ReadWrite),
        leaf(0x4000_0000, PageSize::Size2M, Access::ReadWrite),
        Entry::table(Pfn::new(0), Privilege::Supervisor),
        Entry::table(Pfn::new(0xf_ffff_ffff), Privilege::Supervisor),
    ] {
        let hidden = hide(entry);
        assert!(!hidden.is_present() && hidden != Entry::EMPTY, "{entry}");
        assert_eq!(revealed(hidden), Some(entry));
        assert_eq!(revealed(entry), None, "a present entry was not hidden");
    }
    assert_eq!(revealed(Entry::EMPTY), None);
}

#[test]
fn a_hidden_entry_names_no_memory() {
    let entry = Entry::leaf(PhysAddr::new(0x1000), PageSize::Size4K, Attributes::kernel(Access::ReadWrite));
    assert_eq!(hide(entry).bits() & bits::ADDRESS, bits::ADDRESS & !0x1000);
}
