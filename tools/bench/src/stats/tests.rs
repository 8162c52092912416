//! Summaries, percentiles and shuffles of few numbers.

use super::*;

#[test]
fn summaries() {
    assert_eq!(Summary::of(&[]), None);
    assert_eq!(Summary::of(&[3.0, 1.0, 2.0]), Some(Summary { median: 2.0, low: 1.0, high: 3.0 }));
    assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
    assert_eq!(median(&mut []), 0.0);
}

#[test]
fn percentiles() {
    let sorted: Vec<u32> = (0..1000).collect();
    assert_eq!([500, 990, 999, 1000].map(|p| percentile(&sorted, p)), [500, 990, 999, 999]);
    assert_eq!(percentile(&[], 500), 0);
}

#[test]
fn a_shuffle_keeps_what_is_there() {
    let mut items: Vec<usize> = (0..1000).collect();
    Random::new(1).shuffle(&mut items);
    assert!(!items.is_sorted());
    items.sort_unstable();
    assert_eq!(items, (0..1000).collect::<Vec<_>>());
    assert_eq!(Random::new(1).below(0), 0);
}
