//! Why the map refuses.

use core::fmt;

use rhumb_frames::{AllocError, Owner};
use rhumb_machine::{PhysRange, VirtAddr, VirtRange};

use crate::arena::ArenaError;

/// Why a request was refused. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AreaError {
    /// No pages.
    Empty,
    /// More pages than the map has addresses for.
    TooLarge(u64),
    /// Memory that is written and executed at once, or executed at all: code has a pool of its own.
    Executable,
    /// The area is another map's.
    Foreign,
    /// The area is a device's, whose rights stay.
    NotMemory,
    /// The area's frames stay where they are: it was not asked for as movable.
    NotMovable,
    /// Another CPU changes the area.
    Busy,
    /// As many lists and searches of areas are under way as the map has records for.
    TooManyWalks,
    /// No area has this address.
    NoArea(VirtAddr),
    /// Pages that the area does not have, or none.
    OutOfArea,
    /// The map has no free range of addresses for so many pages.
    NoAddresses(u64),
    /// The allocator of objects has no memory for the record of the range.
    NoRecord(rhumb_slab::AllocError),
    /// No frame is left.
    NoFrame(AllocError),
    /// No frame is left for a page table.
    NoTable,
    /// The owner would have more pages than it may: so many, of so many that it may have.
    OverLimit(Owner, u64, u64),
    /// The device's memory does not begin and end at pages.
    UnalignedDevice(PhysRange),
    /// The device's memory is RAM, or so is a page of it.
    DeviceInRam(PhysRange),
    /// A device's memory is mapped uncached or write-combining, and in no other mode.
    CachedDevice,
    /// The tables do not have an area at these addresses that the map might have made, or the map has used them.
    NotAdoptable(VirtRange),
    /// The owner's number is past those that can have a limit.
    NoLimitFor(Owner),
}

impl fmt::Display for AreaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("an area has at least one page"),
            Self::TooLarge(pages) => {
                write!(f, "{pages} pages are more than the kernel map has addresses for")
            }
            Self::Executable => f.write_str("an area of the kernel map is not executable"),
            Self::Foreign => f.write_str("the area is another map's"),
            Self::NotMemory => f.write_str("the rights to a device's memory stay as they are"),
            Self::NotMovable => {
                f.write_str("the frames of this area stay, because it was not asked for as movable")
            }
            Self::Busy => f.write_str("the area is being changed on another CPU"),
            Self::TooManyWalks => f.write_str("too many lists and searches of areas are under way"),
            Self::NoArea(address) => write!(f, "no area of the kernel map has the address {address}"),
            Self::OutOfArea => f.write_str("the area does not have these pages"),
            Self::NoAddresses(pages) => write!(f, "no range of addresses is free for {pages} pages"),
            Self::NoRecord(error) => write!(f, "no memory for the area's record: {error}"),
            Self::NoFrame(error) => write!(f, "no memory for the area: {error}"),
            Self::NoTable => f.write_str("no frame is left for a page table of the area"),
            Self::OverLimit(owner, pages, most) => {
                write!(f, "owner {} would have {pages} pages, and may have {most}", owner.0)
            }
            Self::UnalignedDevice(range) => write!(f, "the device's memory {range} is not whole pages"),
            Self::DeviceInRam(range) => write!(f, "the device's memory {range} is RAM"),
            Self::CachedDevice => f.write_str("a device is mapped uncached or write-combining only"),
            Self::NotAdoptable(range) => {
                write!(f, "the tables have no area at {range} that the map can take over")
            }
            Self::NoLimitFor(owner) => write!(f, "owner {} cannot have a limit", owner.0),
        }
    }
}

impl core::error::Error for AreaError {}

/// Why a map cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapLayoutError {
    /// The memory that was lent is too small: so many bytes, of so many that are needed.
    StorageTooSmall(usize, usize),
    /// No CPUs, or more than a machine can have.
    BadMachine,
    /// The addresses do not begin and end at multiples of 1 GiB, or are none, or are not the kernel's, or
    /// those of two regions overlap.
    BadAddresses(VirtRange),
    /// The tree has no level-3 table for some of these addresses.
    NoTable(VirtRange),
    /// The arena refuses its span.
    Arena(ArenaError),
}

impl fmt::Display for MapLayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StorageTooSmall(given, needed) => {
                write!(f, "{given} bytes were lent for the kernel map, which needs {needed}")
            }
            Self::BadMachine => f.write_str("no machine has so many CPUs"),
            Self::BadAddresses(range) => write!(f, "{range} are not whole GiB of the kernel's half"),
            Self::NoTable(range) => write!(f, "the tree has not all level-3 tables of {range}"),
            Self::Arena(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for MapLayoutError {}
