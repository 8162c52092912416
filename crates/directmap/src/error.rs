//! Why a change was refused: which rule it would have broken. Nothing was changed (I7).

use core::fmt;

use rhumb_machine::{PageSize, Pfn, PfnRange, PhysAddr};
use rhumb_pagetable::Entry;

use crate::records::OwnerName;
use crate::rules::Forbidden;

/// A refused change. All tables, records and counts are as before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeError {
    /// The range holds no frame.
    Empty,
    /// An end of the range is not a multiple of 4 KiB.
    Unaligned {
        /// Where it begins.
        start: PhysAddr,
        /// Its length.
        bytes: u64,
    },
    /// The range passes the end of physical addresses.
    Wraps {
        /// Where it begins.
        start: PhysAddr,
        /// Its length.
        bytes: u64,
    },
    /// A frame is not RAM that the map shows.
    NotInMap {
        /// The first such frame.
        pfn: Pfn,
    },
    /// A frame stands in the map otherwise than ordinary RAM does, since boot or behind the map's back.
    NotOrdinary {
        /// The page's first frame.
        pfn: Pfn,
        /// Its entry.
        entry: Entry,
    },
    /// A rule of the map's user forbids it.
    Forbidden(Forbidden),
    /// Somebody holds some of the frames already.
    Held {
        /// The frames that are held.
        frames: PfnRange,
        /// Who holds them.
        owner: OwnerName,
    },
    /// Some of the frames were taken out of the map already.
    AlreadyRemoved {
        /// The frames that were.
        frames: PfnRange,
        /// By whom.
        owner: OwnerName,
    },
    /// The frames would be writable and executable (I4).
    WriteExecute,
    /// The frames are pinned small: their attributes do not change.
    Pinned {
        /// The pinned frames.
        frames: PfnRange,
    },
    /// Pages of this size cannot be kept in that range: it is no multiple of them, or they are as large as can be.
    BadPin {
        /// The size.
        size: PageSize,
    },
    /// The handle holds nothing: its change changed nothing, or was undone.
    NothingHeld,
    /// The place where a handle is to be parted is not within its range.
    NotInside {
        /// That place.
        pfn: Pfn,
    },
    /// Two handles cannot become one: they do not adjoin, or differ in owner or state.
    NotAlike,
    /// Nobody has registered this owner.
    UnknownOwner,
    /// The owner still holds something.
    OwnerHolds {
        /// The owner.
        owner: OwnerName,
        /// How many ranges.
        holds: u64,
    },
    /// The owner may not keep so many large pages broken (I11).
    OverLimit {
        /// The owner.
        owner: OwnerName,
        /// How many it keeps broken.
        broken: u64,
        /// How many more the change would break.
        more: u64,
        /// How many it may.
        limit: u64,
    },
    /// The reserve has too few tables.
    OutOfTables {
        /// How many the change takes.
        needed: u64,
        /// How many there are.
        left: u64,
    },
    /// The reserve has too few records.
    OutOfRecords {
        /// How many the change takes.
        needed: u64,
        /// How many there are.
        left: u64,
    },
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => f.write_str("the range is empty"),
            Self::Unaligned { start, bytes } => {
                write!(f, "{bytes:#x} bytes at {start} are not whole 4-KiB frames")
            }
            Self::Wraps { start, bytes } => {
                write!(f, "{bytes:#x} bytes at {start} pass the end of physical addresses")
            }
            Self::NotInMap { pfn } => write!(f, "frame {pfn} is not RAM in the direct map"),
            Self::NotOrdinary { pfn, entry } => {
                write!(f, "frame {pfn} is not mapped as ordinary RAM: entry {entry}")
            }
            Self::Forbidden(ref forbidden) => forbidden.fmt(f),
            Self::Held { frames, owner } => write!(f, "frames {frames} are held by {owner}"),
            Self::AlreadyRemoved { frames, owner } => {
                write!(f, "frames {frames} were taken out of the map already, by {owner}")
            }
            Self::WriteExecute => f.write_str("the frames would be writable and executable: read-only first"),
            Self::Pinned { frames } => write!(f, "frames {frames} are pinned small"),
            Self::BadPin { size } => write!(f, "pages of {size} cannot be kept in this range"),
            Self::NothingHeld => f.write_str("the handle holds nothing"),
            Self::NotInside { pfn } => write!(f, "frame {pfn} is not within the range"),
            Self::NotAlike => f.write_str("the two ranges do not adjoin, or differ in owner or state"),
            Self::UnknownOwner => f.write_str("the owner is not registered"),
            Self::OwnerHolds { owner, holds } => write!(f, "{owner} still holds {holds} ranges"),
            Self::OverLimit { owner, broken, more, limit } => {
                write!(f, "{owner} keeps {broken} large pages broken and may keep {limit}: ")?;
                write!(f, "{more} more are refused")
            }
            Self::OutOfTables { needed, left } => {
                write!(f, "{needed} page tables are needed, the reserve has {left}")
            }
            Self::OutOfRecords { needed, left } => {
                write!(f, "{needed} records are needed, the reserve has {left}")
            }
        }
    }
}

impl core::error::Error for ChangeError {}

impl From<Forbidden> for ChangeError {
    fn from(forbidden: Forbidden) -> Self {
        Self::Forbidden(forbidden)
    }
}
