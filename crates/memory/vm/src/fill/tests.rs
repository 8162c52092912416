//! The count of tables, against a count of the entries that lie across an edge.

use std::collections::BTreeSet;
use std::vec::Vec;

use rhumb_pagetable::levels::span_bytes;

use super::{Missing, Words};

const PAGE: u64 = 4096;

/// Returns the tables that the pages from `first` to `last` need below one entry of `level`, one page at a time.
fn plain(level: u8, (first, last): (u64, u64), words: Words) -> BTreeSet<(u8, u64)> {
    let mut tables = BTreeSet::new();
    let is_whole = |below: u8, entry: u64| {
        let (start, span) = (entry * span_bytes(below), span_bytes(below));
        below <= words.most_level() && start >= first && start + (span - 1) <= last
    };
    for page in first / PAGE..=last / PAGE {
        for below in (2..=level).rev() {
            let entry = page * PAGE / span_bytes(below);
            if is_whole(below, entry) {
                break;
            }
            tables.insert((below, entry));
        }
    }
    tables
}

/// Returns how many tables parts of so many pages, one behind the other, take below an empty entry of `level`.
fn counted(level: u8, start: u64, parts: &[(u64, Words)]) -> u64 {
    let mut missing = Missing::default();
    let mut first = start;
    for &(pages, words) in parts {
        missing.add(level, (first, first + (pages * PAGE - 1)), words);
        first += pages * PAGE;
    }
    missing.tables
}

#[test]
fn tables_are_counted_as_they_are_needed() {
    let mib2 = span_bytes(2);
    let starts = [0, PAGE, mib2 - PAGE, 5 * mib2, 5 * mib2 + 7 * PAGE];
    let kinds = [Words::Fresh, Words::OfPages];
    let lengths = [1, 2, 505, 511, 512, 513, 1024, 1026];
    let parts: Vec<_> = kinds.iter().flat_map(|&kind| lengths.map(|pages| (pages, kind))).collect();
    for start in starts {
        for one in &parts {
            for two in &parts {
                for three in [(1, Words::OfPages), (600, Words::Fresh)] {
                    let all = [*one, *two, three];
                    let mut tables = BTreeSet::new();
                    let mut first = start;
                    for (pages, words) in all {
                        tables.extend(plain(3, (first, first + pages * PAGE - 1), words));
                        first += pages * PAGE;
                    }
                    assert_eq!(counted(3, start, &all), tables.len() as u64, "{start:#x}: {all:?}");
                }
            }
        }
    }
}

#[test]
fn whole_entries_take_no_table() {
    // Whole GiB, two parts of one, and the tables of five levels above.
    let gib = span_bytes(3);
    let fresh = |level: u8, first: u64, last: u64| {
        let mut missing = Missing::default();
        missing.add(level, (first, last), Words::Fresh);
        missing.tables
    };
    assert_eq!(fresh(3, 0, gib - 1), 0);
    assert_eq!(fresh(4, 0, 3 * gib - 1), 1);
    assert_eq!(fresh(4, 4096, 3 * gib - 4097), 1 + 2 + 2);
    assert_eq!(fresh(5, 0, 2 * span_bytes(4) - 1), 1 + 2);
    assert_eq!(fresh(5, 4096, 2 * span_bytes(4) - 1), 1 + 2 + 2);
    // The last addresses of all, whose end is no address.
    assert_eq!(fresh(4, u64::MAX - (gib - 1), u64::MAX), 1);
    // Each page of a device has a word, also in a whole GiB.
    assert_eq!(counted(3, 0, &[(gib / PAGE, Words::OfPages)]), 1 + 512);
    assert_eq!(counted(4, 0, &[(gib / PAGE, Words::OfPages)]), 1 + 1 + 512);
}
