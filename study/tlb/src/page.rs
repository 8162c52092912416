//! Page sizes and levels of page tables, as x86-64 has them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The size of a page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum PageSize {
    /// 4 KiB: an entry of a page table, level 1.
    Size4K,
    /// 2 MiB: an entry of a page directory, level 2.
    Size2M,
    /// 1 GiB: an entry of a page-directory-pointer table, level 3.
    Size1G,
}

impl PageSize {
    /// All sizes, the smallest first.
    pub const ALL: [Self; 3] = [Self::Size4K, Self::Size2M, Self::Size1G];

    /// Returns the bits of an address below the page's number.
    pub const fn shift(self) -> u32 {
        match self {
            Self::Size4K => 12,
            Self::Size2M => 21,
            Self::Size1G => 30,
        }
    }

    /// Returns the size in bytes.
    pub const fn bytes(self) -> u64 {
        1 << self.shift()
    }

    /// Returns the level of the tables whose entries map pages of this size: 1, 2 or 3.
    pub const fn level(self) -> usize {
        self as usize + 1
    }

    /// Returns the place in an array with a value for each size.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Returns the size of so many bytes, if pages have it.
    pub fn of_bytes(bytes: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|size| size.bytes() == bytes)
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Size4K => "4 KiB",
            Self::Size2M => "2 MiB",
            Self::Size1G => "1 GiB",
        })
    }
}

/// The most levels of page tables.
pub const MAX_LEVELS: usize = 5;

/// Returns the bits of an address below the part that selects an entry at `level` and above: 12 for level 1.
pub(crate) const fn level_shift(level: usize) -> u32 {
    12 + 9 * (level as u32 - 1)
}
