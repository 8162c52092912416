//! [`Hint`]: the parts of a table that may have words, in the entry that refers to the table.
//!
//! A fork and the end of a map look at each word of each table, and most tables of a small program have few. So an entry
//! that refers to a table has a bit for each 64 entries of the table: it is set before one of them is, and cleared with
//! the whole table. CPUs ignore the bits.
//!
//! The holder of the lane writes them: an entry that refers to a table is no word, so that no fault changes it. Entries
//! at levels where two lanes meet, or that are the space's, have none: each part of their tables is looked at.

use core::ops::Range;

use rhumb_pagetable::{ENTRIES, Entry};

/// Entries of a table that one bit covers.
const PART: usize = ENTRIES / 8;
/// Where the bits are in an entry that refers to a table.
const SHIFT: u32 = 52;

/// The parts of a table that may have words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hint(pub(crate) u8);

impl Hint {
    pub(crate) const ALL: Self = Self(u8::MAX);

    /// Returns the hint for `count` entries from `index` on.
    pub(crate) const fn for_entries(index: usize, count: usize) -> Self {
        let (first, last) = (index / PART, (index + count - 1) / PART);
        Self((u8::MAX << first) & (u8::MAX >> (7 - last)))
    }

    /// Returns the hint in an entry that refers to a table.
    pub(crate) const fn of(entry: Entry) -> Self {
        Self((entry.bits() >> SHIFT) as u8)
    }

    /// Returns the entry with these parts, too.
    pub(crate) const fn added_to(self, entry: Entry) -> Entry {
        Entry::from_bits(entry.bits() | (self.0 as u64) << SHIFT)
    }

    /// Returns the entries that may have words, in ascending order.
    pub(crate) fn ranges(self) -> impl Iterator<Item = Range<usize>> {
        (0..8).filter(move |part| self.0 & 1 << part != 0).map(|part| part * PART..(part + 1) * PART)
    }
}

#[cfg(test)]
mod tests;
