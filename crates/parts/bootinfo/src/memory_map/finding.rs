//! Faults of a firmware memory map: findings (boot goes on) and errors (it does not).

use core::fmt;
use core::mem::discriminant;

use rhumb_machine::{PhysAddr, PhysRange};

use crate::findings::Finding;

use super::{FirmwareEntry, MAX_REGIONS, MAX_RESERVATIONS, RegionKind, Reservation};

/// An oddity of the firmware's memory map that was put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapFinding {
    /// An entry of no bytes was left out.
    Empty(FirmwareEntry),
    /// An entry that runs past 2^64 was left out.
    Wraps(FirmwareEntry),
    /// Usable RAM past 2^52 was cut off: no x86-64 page table can name it.
    BeyondPhysicalLimit(PhysRange),
    /// Two entries gave the same addresses different kinds; the first kind named here lost.
    Overlap {
        /// The addresses in question.
        range: PhysRange,
        /// The kind that one entry named.
        lost: RegionKind,
        /// The kind that is taken to be true: the more restrictive one.
        won: RegionKind,
    },
    /// RAM in the hole that every PC has for the screen and the firmware; it is not used.
    DeviceHole(PhysRange),
    /// RAM that was left out, because there are more regions than there is room for.
    LeftOut(PhysRange),
    /// The entries were not in ascending order. That does no harm.
    Unsorted,
}

impl Finding for MapFinding {
    fn is_like(&self, other: &Self) -> bool {
        discriminant(self) == discriminant(other)
    }
}

impl fmt::Display for MapFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty(entry) => {
                write!(
                    f,
                    "memory map: the entry at {:#x} (type {}) is empty and was left out",
                    entry.base, entry.type_code
                )
            }
            Self::Wraps(entry) => write!(
                f,
                "memory map: the entry at {:#x} with length {:#x} (type {}) runs past 2^64 and was left out",
                entry.base, entry.length, entry.type_code
            ),
            Self::BeyondPhysicalLimit(range) => {
                write!(
                    f,
                    "memory map: usable RAM at {range} lies past 2^52, where no page table reaches, and was left out"
                )
            }
            Self::Overlap { range, lost, won } => {
                write!(f, "memory map: {range} is given as {lost} and as {won}; it is taken to be {won}")
            }
            Self::DeviceHole(range) => {
                write!(
                    f,
                    "memory map: RAM in {range}, where devices and firmware are on every PC, is not used"
                )
            }
            Self::LeftOut(range) => {
                write!(
                    f,
                    "memory map: no room for more than {MAX_REGIONS} regions; the RAM at {range} is not used"
                )
            }
            Self::Unsorted => {
                f.write_str("memory map: the entries are not in ascending order, and were sorted")
            }
        }
    }
}

/// Why a memory map could not be made or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryMapError {
    /// There is not one whole frame of RAM to use.
    NoUsableRam {
        /// How many entries the firmware gave.
        entries: usize,
    },
    /// The entries come to more regions than there is room for.
    TooManyRegions,
    /// There is no room for one more reservation.
    TooManyReservations {
        /// The purpose of the reservation.
        why: Reservation,
    },
    /// `mem=` leaves nothing to run in.
    CapTooLow {
        /// The first address that was not to be used any more.
        limit: PhysAddr,
        /// Bytes of free RAM below that address.
        left_bytes: u64,
        /// Bytes of free RAM that are needed.
        least_bytes: u64,
    },
}

impl fmt::Display for MemoryMapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUsableRam { entries } => write!(
                f,
                "none of the {entries} entries of the firmware's memory map is usable RAM (type 1) of at least one 4-KiB \
                 page, and Rhumb needs RAM to run in"
            ),
            Self::TooManyRegions => write!(
                f,
                "the firmware's memory map comes to more than {MAX_REGIONS} regions, and Rhumb has room \
                 for {MAX_REGIONS}"
            ),
            Self::TooManyReservations { why } => {
                write!(f, "no room to note RAM taken for: {why}; all {MAX_RESERVATIONS} notes are in use")
            }
            Self::CapTooLow { limit, left_bytes, least_bytes } => write!(
                f,
                "{} KiB of free RAM lie below {limit}, and Rhumb needs {} KiB to run in",
                left_bytes >> 10,
                least_bytes >> 10
            ),
        }
    }
}

impl core::error::Error for MemoryMapError {}
