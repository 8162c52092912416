//! Hidden entries: an entry that is not present, and holds what it was until the flush.
//!
//! When an area is given back, its entries become absent at once, so that a use of it faults on every CPU that has not
//! cached the translation. Its frames and tables wait for the flush (I6), and the table remembers them, so that no list
//! of them is needed: the entry keeps its bits, but PRESENT, which is clear, and the address, each bit of which is
//! inverted. A CPU with the L1 terminal fault reads, on speculation, the cached memory that a non-present entry names;
//! the inverted address names none that there is.

use rhumb_pagetable::{Entry, bits};

/// Returns the hidden form of an entry that is present.
pub(super) const fn hide(entry: Entry) -> Entry {
    Entry::from_bits((entry.bits() ^ bits::ADDRESS) & !bits::PRESENT)
}

/// Returns the entry that was hidden; `None` where the entry is present, or holds nothing.
pub(super) const fn revealed(entry: Entry) -> Option<Entry> {
    if entry.is_present() || entry.bits() == 0 {
        return None;
    }
    Some(Entry::from_bits((entry.bits() ^ bits::ADDRESS) | bits::PRESENT))
}

#[cfg(test)]
mod tests;
