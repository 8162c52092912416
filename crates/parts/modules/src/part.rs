//! [`Part`]: the kinds of pages of a module; and the limits of what is loaded.

use core::fmt;

/// The most sections that an object may have. `modules/module.ld` makes a dozen of them.
pub const MAX_SECTIONS: usize = 64;
/// The most symbols that an object may have.
pub const MAX_SYMBOLS: usize = 65_536;
/// The largest part.
pub const MAX_PART_BYTES: u64 = 16 << 20;
/// The largest alignment: parts begin on pages.
pub const MAX_ALIGN: u64 = 4096;
/// Symbols that can be reached through the table of addresses: those are functions for copying, and statics of other crates.
pub const MAX_INDIRECT: usize = 64;

/// The bytes of a module that get the same permissions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Read and executed.
    Code,
    /// Read.
    ReadOnly,
    /// Read and written.
    Data,
}

impl Part {
    /// All parts, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Code, Self::ReadOnly, Self::Data];

    /// Returns its number.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Code => "code",
            Self::ReadOnly => "read-only data",
            Self::Data => "data",
        })
    }
}
