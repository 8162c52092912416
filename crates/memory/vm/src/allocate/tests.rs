//! The count of tables, against a count of the entries that lie across an edge.

use std::collections::BTreeSet;

use rhumb_pagetable::levels::span_bytes;

use super::{MOST_LEVEL, tables_below};

/// Returns the tables that the pages from `first` to `last` need below one entry of `level`, one page at a time.
fn plain(level: u8, first: u64, last: u64) -> u64 {
    let mut tables = BTreeSet::new();
    let is_whole = |below: u8, entry: u64| {
        let (start, span) = (entry * span_bytes(below), span_bytes(below));
        below <= MOST_LEVEL && start >= first && start + (span - 1) <= last
    };
    for page in first / 4096..=last / 4096 {
        for below in (2..=level).rev() {
            let entry = page * 4096 / span_bytes(below);
            if is_whole(below, entry) {
                break;
            }
            tables.insert((below, entry));
        }
    }
    tables.len() as u64
}

#[test]
fn tables_are_counted_as_they_are_needed() {
    let mib2 = span_bytes(2);
    for level in 2..=3 {
        for (start, pages) in [
            (0, 1),
            (4096, 511),
            (0, 512),
            (0, 513),
            (mib2 - 4096, 2),
            (mib2 - 4096, 1026),
            (5 * mib2, 1024),
            (0, 2048),
        ] {
            let last = start + pages * 4096 - 1;
            if last < span_bytes(level) {
                assert_eq!(
                    tables_below(level, start, last),
                    plain(level, start, last),
                    "{level}: {start:#x}, {pages}"
                );
            }
        }
    }
    // Whole GiB, two parts of one, and the tables of five levels above.
    let gib = span_bytes(3);
    assert_eq!(tables_below(3, 0, gib - 1), 0);
    assert_eq!(tables_below(4, 0, 3 * gib - 1), 1);
    assert_eq!(tables_below(4, 4096, 3 * gib - 4097), 1 + 2 + 2);
    assert_eq!(tables_below(5, 0, 2 * span_bytes(4) - 1), 1 + 2);
    assert_eq!(tables_below(5, 4096, 2 * span_bytes(4) - 1), 1 + 2 + 2);
}
