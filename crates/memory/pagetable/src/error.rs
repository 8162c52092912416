//! The faults of a mapping, each case with the address and the entry that say so.

use core::fmt;

use rhumb_machine::{PhysRange, VirtAddr, VirtRange};

use crate::entry::Entry;

/// Why a mapping was not made or not removed. Nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// The range holds nothing.
    Empty {
        /// Where it would begin.
        virt: VirtAddr,
    },
    /// An address is not a multiple of 4 KiB.
    Unaligned {
        /// Where the mapping would begin.
        virt: VirtAddr,
        /// The frames that would be mapped there.
        phys: PhysRange,
    },
    /// A range to unmap does not consist of whole pages.
    UnalignedRange {
        /// The range.
        range: VirtRange,
    },
    /// The range would end at or past 2^64. (The last page of all cannot be named by a half-open range.)
    Wraps {
        /// Where it would begin.
        virt: VirtAddr,
        /// Its length.
        bytes: u64,
    },
    /// The range touches addresses that are not canonical.
    NotCanonical {
        /// The range.
        range: VirtRange,
    },
    /// The frames lie past what the CPU can address.
    PhysTooWide {
        /// The frames.
        phys: PhysRange,
        /// Bits of a physical address.
        phys_bits: u32,
    },
    /// User access in the kernel's half.
    UserInKernelHalf {
        /// The range.
        range: VirtRange,
    },
    /// A list of mappings is not in ascending order, or two of them overlap.
    Unsorted {
        /// The one that lies below its predecessor's end.
        range: VirtRange,
    },
    /// Something is mapped there already.
    AlreadyMapped {
        /// The first such address.
        virt: VirtAddr,
        /// The level of the entry that maps it.
        level: u8,
        /// That entry.
        entry: Entry,
    },
    /// A large page should go where a table of smaller ones is, be it empty: a smaller `largest` would fit.
    TableInTheWay {
        /// Where.
        virt: VirtAddr,
        /// The level of the entry that refers to that table.
        level: u8,
        /// That entry.
        entry: Entry,
    },
    /// A table entry on the way takes away what the mapping needs.
    TableForbids {
        /// Where.
        virt: VirtAddr,
        /// The level of that entry.
        level: u8,
        /// That entry.
        entry: Entry,
    },
    /// An entry on the way has reserved bits set.
    Malformed {
        /// Where.
        virt: VirtAddr,
        /// The level of that entry.
        level: u8,
        /// That entry.
        entry: Entry,
    },
    /// A page at one end of the range would be split.
    SplitsLargePage {
        /// Where that page begins.
        virt: VirtAddr,
        /// The level of the entry that maps it.
        level: u8,
        /// That entry.
        entry: Entry,
    },
    /// The source has too few frames.
    OutOfTables {
        /// How many tables the mapping takes.
        needed: u64,
    },
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty { virt } => write!(f, "the mapping at {virt} is empty"),
            Self::Unaligned { virt, phys } => {
                write!(f, "the mapping of {phys} at {virt} is not of whole 4-KiB pages")
            }
            Self::UnalignedRange { range } => write!(f, "{range} is not of whole 4-KiB pages"),
            Self::Wraps { virt, bytes } => {
                write!(f, "{bytes:#x} bytes at {virt} reach the end of the address space")
            }
            Self::NotCanonical { range } => write!(f, "{range} is not canonical throughout"),
            Self::PhysTooWide { phys, phys_bits } => {
                write!(f, "{phys} is past the {phys_bits} bits of a physical address")
            }
            Self::UserInKernelHalf { range } => {
                write!(f, "{range} is in the kernel's half and cannot be a user's")
            }
            Self::Unsorted { range } => write!(f, "{range} begins below the end of the range before it"),
            Self::AlreadyMapped { virt, level, entry } => {
                write!(f, "{virt} is mapped already, by level-{level} entry {entry}")
            }
            Self::TableInTheWay { virt, level, entry } => {
                write!(f, "a table of smaller pages is in the way at {virt}, level-{level} entry {entry}")
            }
            Self::TableForbids { virt, level, entry } => {
                write!(f, "level-{level} entry {entry} above {virt} forbids the access")
            }
            Self::Malformed { virt, level, entry } => {
                write!(f, "level-{level} entry {entry} above {virt} has reserved bits set")
            }
            Self::SplitsLargePage { virt, level, entry } => {
                write!(f, "the range would split the large page at {virt}, level-{level} entry {entry}")
            }
            Self::OutOfTables { needed } => {
                write!(f, "{needed} page tables are needed, too few frames are left")
            }
        }
    }
}

impl core::error::Error for MapError {}
