//! Why a change was refused: which rule it would have broken. Nothing was changed (I7).

use core::fmt;

use rhumb_machine::{Counted, PageSize, Pfn, PfnRange, PhysAddr};
use rhumb_pagetable::Entry;

use crate::map_id::OtherMap;
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
    /// A frame is mapped otherwise than ordinary RAM is, since boot or behind the map's back.
    NotOrdinary {
        /// The page's first frame.
        pfn: Pfn,
        /// Its entry.
        entry: Entry,
    },
    /// A rule of the map's user forbids it.
    Forbidden(Forbidden),
    /// Some of the frames are held already.
    Held {
        /// The frames that are held.
        frames: PfnRange,
        /// The owner of the hold.
        owner: OwnerName,
    },
    /// Some of the frames were taken out of the map already.
    AlreadyRemoved {
        /// The frames that were.
        frames: PfnRange,
        /// The owner.
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
    /// A change of the held frames was dropped between two steps: they can only be restored.
    HalfChanged {
        /// The frames.
        frames: PfnRange,
    },
    /// The handle holds nothing: its change changed nothing, or was restored.
    NothingHeld,
    /// The owner, the handle or the batch is another map's. Nothing was done, and the handle is as it was.
    OtherMap,
    /// This owner is not registered.
    UnknownOwner,
    /// The owner still holds something.
    OwnerHolds {
        /// The owner.
        owner: OwnerName,
        /// How many ranges.
        holds: u64,
    },
    /// The owner's holds may not break so many large pages (I11).
    OverLimit {
        /// The owner.
        owner: OwnerName,
        /// How many they break, each counted for each hold.
        broken: u64,
        /// How many more the change would break.
        more: u64,
        /// How many they may.
        limit: u64,
    },
    /// The owner has changed the map too often of late (I11).
    TooOften {
        /// The owner.
        owner: OwnerName,
        /// When it may try again.
        wait_ns: u64,
    },
    /// The range is too much for one pin: it takes too many splits, or has too many pages already.
    PinTooLarge {
        /// How many entries one pin may look at.
        most: u64,
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
            Self::HalfChanged { frames } => write!(f, "frames {frames} are half changed: restore them"),
            Self::NothingHeld => f.write_str("the handle holds nothing"),
            Self::OtherMap => OtherMap.fmt(f),
            Self::UnknownOwner => f.write_str("the owner is not registered"),
            Self::OwnerHolds { owner, holds } => {
                write!(f, "{owner} still holds {}", Counted(holds, "range"))
            }
            Self::OverLimit { owner, broken, more, limit } => {
                write!(
                    f,
                    "the ranges of {owner} break {} and may break {limit}: ",
                    Counted(broken, "large page")
                )?;
                write!(f, "refused, as there would be {more} more")
            }
            Self::TooOften { owner, wait_ns } => {
                write!(f, "{owner} changes the map too often: not for another {} us", wait_ns.div_ceil(1000))
            }
            Self::PinTooLarge { most } => {
                write!(f, "the range is too large to be pinned at once: at most {}", Counted(most, "entry"))
            }
            Self::OutOfTables { needed, left } => {
                write!(f, "{} needed, and the reserve has {left}", Counted(needed, "page table"))
            }
            Self::OutOfRecords { needed, left } => {
                write!(f, "{} needed, and the reserve has {left}", Counted(needed, "record"))
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

impl From<OtherMap> for ChangeError {
    fn from(_: OtherMap) -> Self {
        Self::OtherMap
    }
}
