//! Maps as they are shown.

use super::{lines, load, run};
use crate::context::{Context, Field};

#[test]
fn a_histogram_has_bars() {
    let object = load(
        "map sizes histogram key=owner entries=4
         program size
            ldxdw r3, [r1+size]
            ldxdw r7, [r1+owner]
            stxdw [r10-8], r7
            lddw r1, @sizes
            mov r2, r10
            add r2, -8
            call map_add
            exit",
    )
    .expect("it passes");
    assert_eq!(lines(&object, 0), ["@sizes: nothing yet"]);
    for size in [1, 1, 1, 1, 1, 3, 3, 9, 1023, 1024] {
        assert_eq!(run(&object, &Context::EMPTY.with(Field::Owner, 6).with(Field::Size, size)), Ok(0));
    }
    let bar = |label: &str, count: usize, length: usize| {
        std::format!("{label:<16} {count:>8} |{}{}|", "@".repeat(length), " ".repeat(50 - length))
    };
    let expected = [
        "@sizes[6]:".into(),
        bar("[1]", 5, 50),
        bar("[2, 4)", 2, 20),
        bar("[4, 8)", 0, 0),
        bar("[8, 16)", 1, 10),
        bar("[16, 32)", 0, 0),
        bar("[32, 64)", 0, 0),
        bar("[64, 128)", 0, 0),
        bar("[128, 256)", 0, 0),
        bar("[256, 512)", 0, 0),
        bar("[512, 1K)", 1, 10),
        bar("[1K, 2K)", 1, 10),
    ];
    assert_eq!(lines(&object, 0), expected);
    // On a terminal of 80 columns.
    assert!(lines(&object, 0).iter().all(|line| line.len() <= 80));
}

#[test]
fn the_ends_of_the_numbers_have_names() {
    let object = load(
        "map sizes histogram key=owner entries=1
         program size
            ldxdw r3, [r1+size]
            stdw [r10-8], 0
            lddw r1, @sizes
            mov r2, r10
            add r2, -8
            call map_add
            exit",
    )
    .expect("it passes");
    assert_eq!(run(&object, &Context::EMPTY.with(Field::Size, u64::MAX)), Ok(0));
    assert!(lines(&object, 0)[1].starts_with("[8E, 16E)  "));
    assert_eq!(run(&object, &Context::EMPTY), Ok(0));
    assert!(lines(&object, 0)[1].starts_with("[0]     "));
}
