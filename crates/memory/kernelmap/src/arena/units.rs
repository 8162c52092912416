//! [`Units`]: a half-open range of units; [`Fit`]: the range that a request asks for.

use core::fmt;
use core::num::NonZeroU64;

use super::error::ArenaError;

/// The most units that an arena has.
pub const MOST_UNITS: u64 = 1 << 40;

/// A half-open range of units.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Units {
    start: u64,
    count: u64,
}

impl Units {
    /// No units.
    pub(crate) const NONE: Self = Self { start: 0, count: 0 };

    /// Returns the range of `count` units from `start` on; `None` where it would pass the last number there is.
    #[inline]
    pub const fn of_length(start: u64, count: u64) -> Option<Self> {
        match start.checked_add(count) {
            Some(_) => Some(Self { start, count }),
            None => None,
        }
    }

    /// Returns the first unit.
    #[inline]
    pub const fn start(self) -> u64 {
        self.start
    }

    /// Returns the unit behind the last one.
    #[inline]
    pub const fn end(self) -> u64 {
        self.start + self.count
    }

    /// Returns how many units the range has.
    #[inline]
    pub const fn count(self) -> u64 {
        self.count
    }

    /// Tells whether the range has this unit.
    pub const fn contains(self, unit: u64) -> bool {
        self.start <= unit && unit < self.end()
    }

    /// Tells whether the ranges have a unit in common.
    pub const fn overlaps(self, other: Self) -> bool {
        let is_empty = self.count == 0 || other.count == 0;
        !is_empty && self.start < other.end() && other.start < self.end()
    }
}

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.start, self.end())
    }
}

/// The range that a request asks for: how many units, and which numbers its first unit may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fit {
    units: NonZeroU64,
    align: u64,
    offset: u64,
}

impl Fit {
    /// Returns a request for `units` units anywhere.
    ///
    /// # Errors
    /// [`ArenaError::BadSize`] for no units, or for more than an arena can have.
    #[inline]
    pub const fn new(units: u64) -> Result<Self, ArenaError> {
        match NonZeroU64::new(units) {
            Some(units) if units.get() <= MOST_UNITS => Ok(Self { units, align: 1, offset: 0 }),
            _ => Err(ArenaError::BadSize),
        }
    }

    /// Returns the request with its first unit at `offset` from a multiple of `align`.
    ///
    /// # Errors
    /// [`ArenaError::BadAlignment`] where `align` is no power of two, or more than an arena can have, or where `offset`
    /// is not below it.
    #[inline]
    pub const fn aligned(self, align: u64, offset: u64) -> Result<Self, ArenaError> {
        if align.is_power_of_two() && align <= MOST_UNITS && offset < align {
            Ok(Self { align, offset, ..self })
        } else {
            Err(ArenaError::BadAlignment)
        }
    }

    /// Returns how many units are asked for.
    #[inline]
    pub const fn units(self) -> u64 {
        self.units.get()
    }

    /// Tells whether any range of so many units will do.
    #[inline(always)]
    pub(super) const fn is_anywhere(self) -> bool {
        self.align == 1
    }

    /// Returns so many units that a range of them has a place for the request, wherever it begins.
    #[inline(always)]
    pub(super) const fn units_at_worst(self) -> u64 {
        self.units.get() + self.align - 1
    }

    /// Returns the lowest place for the request in a range.
    #[inline(always)]
    pub(super) const fn place_in(self, range: Units) -> Option<u64> {
        // Modulo the alignment, a power of two: how far the start is from the next number that is allowed.
        let skip = self.offset.wrapping_sub(range.start) & (self.align - 1);
        // No more than is there is compared, so that no sum passes the last number.
        match range.count.checked_sub(skip) {
            Some(left) if self.units.get() <= left => Some(range.start + skip),
            _ => None,
        }
    }
}
