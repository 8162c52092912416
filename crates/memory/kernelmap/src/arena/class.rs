//! Size classes: two levels, as in TLSF. A row for each power of two, divided into 32 columns.
//!
//! ```text
//!   units       0..32    32..64   64..128   128..256  ...   2^40
//!   row             0         1         2          3          36
//!   a column has    1         1         2          4        2^35   sizes
//! ```
//! Sizes below 64 have a class of their own. Above, the sizes of one class differ by less than a 32nd, which bounds what
//! a search that looks at no range can overlook: a free range that is larger than the request by less than that.
//!
//! Why 32: a row's classes are the bits of one word, and the heads of all lists are 9.5 KiB. With 16, a search could
//! overlook a range that is larger than the request by a 16th.

use super::units::MOST_UNITS;

/// Classes of a row.
pub(super) const COLUMNS: usize = 1 << COLUMN_BITS;
const COLUMN_BITS: u32 = 5;

/// Rows: the last one is that of the largest arena.
pub(super) const ROWS: usize = (MOST_UNITS.ilog2() - COLUMN_BITS + 2) as usize;
// A row is a bit of one word.
const _: () = assert!(ROWS <= u64::BITS as usize);

/// A size class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Class {
    pub(super) row: usize,
    pub(super) column: usize,
}

impl Class {
    /// Returns the class that a range of `units` is in.
    #[inline(always)]
    pub(super) const fn of(units: u64) -> Self {
        if units < COLUMNS as u64 {
            return Self { row: 0, column: units as usize };
        }
        let shift = units.ilog2() - COLUMN_BITS;
        Self { row: shift as usize + 1, column: (units >> shift) as usize - COLUMNS }
    }

    /// Returns the first class whose ranges all have `units` or more; `None` where there is none.
    #[inline(always)]
    pub(super) const fn at_least(units: u64) -> Option<Self> {
        let up = if units < COLUMNS as u64 { 0 } else { (1 << (units.ilog2() - COLUMN_BITS)) - 1 };
        let Some(units) = units.checked_add(up) else { return None };
        let class = Self::of(units);
        if class.row < ROWS { Some(class) } else { None }
    }
}
