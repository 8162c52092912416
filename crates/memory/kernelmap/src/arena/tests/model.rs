//! The plain model: which units are whose.

use std::collections::BTreeMap;

use crate::Units;

/// Held ranges by their first unit.
#[derive(Default)]
pub(super) struct Model {
    held: BTreeMap<u64, u64>,
}

impl Model {
    /// A holder was given a range: inside of the span, and its own alone.
    pub(super) fn alloc(&mut self, span: Units, range: Units) {
        assert!(span.start() <= range.start() && range.end() <= span.end(), "{range} is outside of {span}");
        if let Some((&start, &count)) = self.held.range(..range.end()).next_back() {
            assert!(start + count <= range.start(), "{range} overlaps {start:#x} of {count}");
        }
        self.held.insert(range.start(), range.count());
    }

    pub(super) fn free(&mut self, range: Units) {
        assert_eq!(self.held.remove(&range.start()), Some(range.count()), "{range} has no holder");
    }

    pub(super) fn units(&self) -> u64 {
        self.held.values().sum()
    }

    pub(super) fn ranges(&self) -> impl Iterator<Item = Units> + '_ {
        self.held.iter().filter_map(|(&start, &count)| Units::of_length(start, count))
    }

    /// Tells whether a place for the request is free.
    pub(super) fn has_place(&self, span: Units, units: u64, align: u64, offset: u64) -> bool {
        let mut from = span.start();
        let ends = self.held.iter().map(|(&start, &count)| (start, start + count));
        for (start, end) in ends.chain([(span.end(), span.end())]) {
            let place = from + (offset.wrapping_sub(from) & (align - 1));
            if place + units <= start {
                return true;
            }
            from = end;
        }
        false
    }
}
