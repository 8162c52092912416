//! Expectations that are met, and those that are not.

use super::{at_least, kib, lines, nearly, no_text, text, width};
use crate::machine::MemorySize;

const OUTPUT: &str =
    "MemTotal:        1000 kB\nDirectMap4k:       24 kB\nDirectMap2M:     2048 kB\ncpu 0\ncpu 1\n";

#[test]
fn satisfied() {
    let wanted = [
        text("memtotal"),
        no_text("panic"),
        lines(2, "CPU"),
        at_least(1, "CPU"),
        kib(&["DirectMap4k", "DirectMap2M"], 2072..=2072),
        width(24),
    ];
    wanted.iter().for_each(|expect| assert_eq!(expect.complaint(OUTPUT), None));
}

#[test]
fn complaints_name_what_is_wrong() {
    let complaint = |expect: super::Expect| expect.complaint(OUTPUT).expect("a complaint");
    assert!(complaint(text("MemFree")).contains("MemFree"));
    assert!(complaint(no_text("cpu 1")).contains("must not"));
    assert!(complaint(lines(3, "cpu")).starts_with("2 lines"));
    assert!(complaint(at_least(3, "cpu")).ends_with("3 or more"));
    assert!(complaint(kib(&["MemTotal"], 0..=999)).contains("1000 kB, not within 0..=999"));
    assert!(complaint(kib(&["DirectMap1G"], 0..=0)).contains("expected a line"));
    assert!(complaint(width(23)).starts_with("wider than 23 columns: MemTotal"));
}

#[test]
fn nearly_all() {
    assert_eq!(nearly(MemorySize::mib(100), 10, 2), 90_112..=102_400);
}
