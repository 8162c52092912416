//! Orders and ranges that tests write as numbers, which are known to be in bounds.

use rhumb_machine::{Order, Pfn, PfnRange, impossible};

/// Returns the order of blocks of 2^`log2` frames, which is no more than 1 GiB.
pub fn order(log2: u8) -> Order {
    Order::new(log2).unwrap_or_else(|| impossible!("{} is no order", log2 => Order::BASE))
}

/// Returns `count` frames from `first` on, all of which memory could have.
pub fn frames_from(first: Pfn, count: u64) -> PfnRange {
    PfnRange::of_length(first, count)
        .unwrap_or_else(|| impossible!("frames from {} on have no end", first => PfnRange::default()))
}
