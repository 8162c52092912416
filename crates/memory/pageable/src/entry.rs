//! The state of a page, in the entry that maps it: no other table knows a page of pageable memory.
//!
//! ```text
//!   state      bit 63  58..52   51..12            10    3..1   0
//!   untouched    1      0       all ones          mark   1     0
//!   busy         1      0       all ones          mark   2     0     one CPU moves the page in or out
//!   out          1      slot    slot, inverted    mark   3     0
//!   present      NX     pins    frame             mark   -     1     a leaf, with the bits that CPUs know
//! ```
//!
//! The address of an absent entry is inverted, so that it names no memory that there is: a CPU with the L1 terminal
//! fault reads, on speculation, the cached memory that a non-present entry names.
//!
//! **Other absent entries of the kernel map** are none of these. An entry that waits for a flush has no mark, and the
//! entry of a guard that remembers a record has bit 63 clear, because a record's address, which is inverted there, is
//! one of the kernel's.

use rhumb_machine::{PageSize, Pfn};
use rhumb_pagetable::{Access, Attributes, Entry, bits};

use crate::store::Slot;

/// Marks the entries of pageable pages, present or not. No CPU looks at it, and no other entry of a level-1 table has it.
const MARK: u64 = 1 << 10;
/// Set in absent entries of pageable pages.
const ABSENT: u64 = MARK | 1 << 63;

const TAG_SHIFT: u32 = 1;
const TAG: u64 = 7 << TAG_SHIFT;
const UNTOUCHED: u64 = 1 << TAG_SHIFT;
const BUSY: u64 = 2 << TAG_SHIFT;
const OUT: u64 = 3 << TAG_SHIFT;

/// Bits 58..52, which CPUs ignore: the upper bits of a slot, or the pins of a page.
const UPPER_SHIFT: u32 = 52;
const UPPER: u64 = 0x7f << UPPER_SHIFT;
const ADDRESS_SHIFT: u32 = 12;
const ADDRESS_BITS: u32 = 40;

/// The most pins that a page can have at a time.
pub(crate) const MOST_PINS: u64 = UPPER >> UPPER_SHIFT;

/// The state of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// The entry is no pageable page's.
    Foreign,
    /// Nothing was written yet: it reads as zeroes.
    Untouched,
    /// A CPU moves it.
    Busy,
    /// The store has its contents.
    Out(Slot),
    /// It is in memory.
    Present(Present),
}

/// A page in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Present {
    pub(crate) pfn: Pfn,
    pub(crate) pins: u64,
    /// Whether a CPU has used it since the bit was cleared.
    pub(crate) was_used: bool,
}

impl State {
    pub(crate) const fn of(entry: Entry) -> Self {
        let word = entry.bits();
        if entry.is_present() {
            if word & MARK == 0 {
                return Self::Foreign;
            }
            return Self::Present(Present {
                pfn: entry.phys(PageSize::Size4K).pfn(),
                pins: (word & UPPER) >> UPPER_SHIFT,
                was_used: word & bits::ACCESSED != 0,
            });
        }
        if word & ABSENT != ABSENT {
            return Self::Foreign;
        }
        match word & TAG {
            UNTOUCHED => Self::Untouched,
            BUSY => Self::Busy,
            OUT => {
                let low = (!word & bits::ADDRESS) >> ADDRESS_SHIFT;
                Self::Out(Slot::from_bits((word & UPPER) >> UPPER_SHIFT << ADDRESS_BITS | low))
            }
            _ => Self::Foreign,
        }
    }

    pub(crate) const fn entry(self) -> Entry {
        Entry::from_bits(match self {
            Self::Foreign => 0,
            Self::Untouched => ABSENT | bits::ADDRESS | UNTOUCHED,
            Self::Busy => ABSENT | bits::ADDRESS | BUSY,
            Self::Out(slot) => {
                let low = !(slot.bits() << ADDRESS_SHIFT) & bits::ADDRESS;
                ABSENT | (slot.bits() >> ADDRESS_BITS << UPPER_SHIFT) & UPPER | low | OUT
            }
            Self::Present(Present { pfn, pins, was_used }) => {
                let used = if was_used { bits::ACCESSED } else { 0 };
                plain(pfn).bits() & !bits::ACCESSED | used | MARK | pins << UPPER_SHIFT & UPPER
            }
        })
    }
}

/// Returns the leaf of a page that is pageable no longer, and goes the way of all pages of the kernel map.
///
/// DIRTY is set in each leaf: contents that leave memory are always written to the store, which keeps none of a page
/// that is present, so that no page's writes have to be noticed.
pub(crate) const fn plain(pfn: Pfn) -> Entry {
    Entry::leaf(pfn.addr(), PageSize::Size4K, Attributes::kernel(Access::ReadWrite))
}

#[cfg(test)]
mod tests;
