//! Hints name each entry that is used, and come back from an entry.

use std::vec::Vec;

use rhumb_machine::Pfn;
use rhumb_pagetable::{ENTRIES, Entry, Privilege};

use super::Hint;

#[test]
fn hints_have_all_entries_that_are_used() {
    for (index, count) in [(0, 1), (63, 1), (63, 2), (64, 64), (0, 512), (511, 1), (100, 300), (448, 64)] {
        let hint = Hint::for_entries(index, count);
        let named: Vec<usize> = hint.ranges().flatten().collect();
        assert!((index..index + count).all(|entry| named.contains(&entry)));
        // No part is named in vain.
        assert!(hint.ranges().all(|part| part.clone().any(|entry| (index..index + count).contains(&entry))));
    }
    assert_eq!(Hint::ALL.ranges().flatten().count(), ENTRIES);
}

#[test]
fn hints_change_nothing_that_a_cpu_reads() {
    let entry = Entry::table(Pfn::new(0x12_3456), Privilege::User);
    let hinted = Hint::for_entries(70, 1).added_to(Hint::for_entries(511, 1).added_to(entry));
    assert_eq!((hinted.child(2), hinted.permissions()), (entry.child(2), entry.permissions()));
    assert_eq!((Hint::of(entry), Hint::of(hinted)), (Hint(0), Hint(0b1000_0010)));
}
