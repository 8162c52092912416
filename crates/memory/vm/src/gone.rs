//! [`Gone`]: frames and tables that no entry refers to any more, and that wait for their flush (I6).

use arrayvec::ArrayVec;
use rhumb_machine::Pfn;
use rhumb_pagetable::flush::Waiting;

use crate::hint::Hint;
use crate::word::Word;

/// Pages that wait at most for one flush. A flush that drops more than 32 pages drops everything, so that longer lists
/// would only save flushes of everything, at the ends of a range where it is no whole tables.
const MOST_PAGES: usize = 64;
/// Tables that wait at most for one flush: 128 MiB of addresses.
const MOST_TABLES: usize = 64;

/// The right to add to a flush. Only this crate has it.
#[derive(Clone, Copy, Debug)]
pub struct GoneKey(pub(crate) ());

/// The memory that comes out by a flush: frames of pages, and tables.
#[derive(Debug, Default)]
pub struct Gone {
    /// The words that mapped pages of 4 KiB.
    pub(crate) pages: ArrayVec<Word, MOST_PAGES>,
    pub(crate) tables: ArrayVec<GoneTable, MOST_TABLES>,
}

/// A table that no entry refers to. Its pages, and the tables below it, are gone, too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GoneTable(u64);

impl GoneTable {
    const LEVEL_BITS: u32 = 3;
    const HINT_SHIFT: u32 = 56;

    pub(crate) const fn new(table: Pfn, level: u8, hint: Hint) -> Self {
        Self((hint.0 as u64) << Self::HINT_SHIFT | table.get() << Self::LEVEL_BITS | level as u64)
    }

    pub(crate) const fn hint(self) -> Hint {
        Hint((self.0 >> Self::HINT_SHIFT) as u8)
    }

    pub(crate) const fn table(self) -> Pfn {
        Pfn::new((self.0 & ((1 << Self::HINT_SHIFT) - 1)) >> Self::LEVEL_BITS)
    }

    pub(crate) const fn level(self) -> u8 {
        (self.0 & ((1 << Self::LEVEL_BITS) - 1)) as u8
    }
}

impl Waiting for Gone {
    type Key = GoneKey;
}

impl Gone {
    pub(crate) fn is_full(&self) -> bool {
        self.pages.is_full() || self.tables.is_full()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pages.is_empty() && self.tables.is_empty()
    }
}
