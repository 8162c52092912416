//! Foreign names, sizes, durations.

use super::*;

#[test]
fn foreign_names_move_no_cursor() {
    assert_eq!(plain("a\u{1b}[2Jb\n\u{7f}"), "a\\u{1b}[2Jb\\u{a}\\u{7f}");
    assert_eq!(plain("gpj\u{202e}exe"), "gpj\\u{202e}exe");
    assert_eq!(plain("a\u{200b}b\u{61c}\u{2028}\u{feff}"), "a\\u{200b}b\\u{61c}\\u{2028}\\u{feff}");
    // A soft hyphen and a tag show nothing, either.
    assert_eq!(plain("va\u{ad}ult\u{e0001}"), "va\\u{ad}ult\\u{e0001}");
    assert_eq!(plain("naïve 🗝 (x)"), "naïve 🗝 (x)");
}

#[test]
fn sizes_and_ages_are_short() {
    assert_eq!(size(0), "0 B");
    assert_eq!((size(32 << 10), even_size(32 << 10)), ("32 KiB".into(), "32.0 KiB".into()));
    assert_eq!(size((1 << 20) + (1 << 19)), "1.5 MiB");
    assert_eq!(age(59.9), "59s");
    assert_eq!(age(61.0), "1m 1s");
    assert_eq!(age(7_260.0), "2h 1m");
    assert_eq!(age(90_000.0), "1d 1h");
    assert_eq!(age(-5.0), "0s", "a clock that was set back");
    assert_eq!((counted(1, "process"), counted(2, "process")), ("1 process".into(), "2 processes".into()));
    assert_eq!((counted(1, "file"), counted(0, "file")), ("1 file".into(), "0 files".into()));
    assert_eq!(cut("abcdef", 4), "abc…");
    assert_eq!(cut("äöü", 3), "äöü");
}

#[test]
fn sentences_are_folded_between_words() {
    assert_eq!(folded("one two three", 8, "", ""), ["one two", "three"]);
    assert_eq!(folded("one two three", 8, "  ", "    "), ["  one", "    two", "    three"]);
    assert_eq!(folded("one", 0, "", ""), ["one"]);
    assert!(folded("", 8, "", "").is_empty());
}
