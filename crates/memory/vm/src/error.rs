//! The errors of a map. With each, the map is as it was before.

use core::fmt;

use rhumb_frames::AllocError;
use rhumb_machine::{VirtAddr, VirtRange};

use crate::word::{Protection, Use};

/// Why a map did not do as it was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VmError {
    /// A range is empty, or is not of whole pages.
    BadRange(VirtRange),
    /// A range is not all among the map's addresses.
    Outside(VirtRange),
    /// An alignment is no power of two of pages, or is larger than the map.
    BadAlignment(u64),
    /// A page that was to be empty is not.
    Occupied(VirtAddr),
    /// A page that was to be allocated is not.
    NotAllocated(VirtAddr),
    /// A page is a device's, which is neither copied nor shared but by a fork.
    Device(VirtAddr),
    /// A page of the range is wired, and keeps its contents.
    Wired(VirtRange),
    /// No range of so many pages is empty.
    NoRoom(u64),
    /// The map would pass this limit.
    Limit(Resource),
    /// A frame is in as many maps and copies as can be counted: 2^31.
    TooManySharers,
    /// A copy has pages that are not shared, of which there is no second value.
    NotShared,
    /// A copy, or the space of a fork, has frames of another allocator than the map.
    OtherFrames,
    /// There is no frame for a page or a table.
    NoFrame(AllocError),
}

/// Why a fault cannot be resolved. A program that made the access has to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultError {
    /// Nothing is allocated there.
    NotAllocated(VirtAddr),
    /// The page does not allow the use.
    Denied(VirtAddr, Use, Protection),
    /// The map would pass this limit.
    Limit(Resource),
    /// A page has as many names as can be counted: 2^31.
    TooManySharers,
    /// There is no frame for a page or a table.
    NoFrame(AllocError),
}

/// A resource of which a map has a limit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Resource {
    /// Pages of addresses that are allocated.
    Addresses,
    /// Pages that have a frame.
    Resident,
    /// Pages that are wired.
    Wired,
    /// Page tables.
    Tables,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Addresses => "allocated pages",
            Self::Resident => "resident pages",
            Self::Wired => "wired pages",
            Self::Tables => "page tables",
        })
    }
}

impl From<FaultError> for VmError {
    fn from(error: FaultError) -> Self {
        match error {
            FaultError::NotAllocated(at) | FaultError::Denied(at, ..) => Self::NotAllocated(at),
            FaultError::Limit(resource) => Self::Limit(resource),
            FaultError::TooManySharers => Self::TooManySharers,
            FaultError::NoFrame(error) => Self::NoFrame(error),
        }
    }
}

impl fmt::Display for VmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadRange(range) => write!(f, "{range} is empty or not of whole pages"),
            Self::Outside(range) => write!(f, "{range} is not all in the map"),
            Self::BadAlignment(pages) => write!(f, "an alignment of {pages} pages is none that the map has"),
            Self::Occupied(at) => write!(f, "the page at {at} is allocated already"),
            Self::NotAllocated(at) => write!(f, "the page at {at} is not allocated"),
            Self::Device(at) => write!(f, "the page at {at} is a device's"),
            Self::Wired(range) => write!(f, "{range} has wired pages"),
            Self::NoRoom(pages) => write!(f, "no {pages} empty pages lie side by side"),
            Self::Limit(resource) => write!(f, "the map has all the {resource} that its limit allows"),
            Self::NotShared => f.write_str("the copy has pages that are one holder's"),
            Self::OtherFrames => f.write_str("the frames are those of another allocator"),
            Self::TooManySharers => f.write_str("a page is shared by as many as can be counted"),
            Self::NoFrame(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(at, wanted, protection) => {
                write!(f, "the page at {at} is {protection}, which does not allow the use {wanted:?}")
            }
            Self::NotAllocated(at) => VmError::NotAllocated(*at).fmt(f),
            Self::Limit(resource) => VmError::Limit(*resource).fmt(f),
            Self::TooManySharers => VmError::TooManySharers.fmt(f),
            Self::NoFrame(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for VmError {}
impl core::error::Error for FaultError {}
