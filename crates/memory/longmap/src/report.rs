//! Records of mappings, holdings by slot, counts, and faults of these.

use core::fmt;
use core::panic::Location;

use rhumb_frames::Owner;
use rhumb_machine::{CpuId, Pfn};

/// The record of a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// The owner that was named.
    pub owner: Owner,
    /// The CPU that mapped.
    pub cpu: CpuId,
    /// When, in nanoseconds since boot.
    pub since_ns: u64,
    /// The frame.
    pub pfn: Pfn,
    /// The place in the source.
    pub place: &'static Location<'static>,
    /// Whether it is of a mapping that lives.
    pub(crate) is_held: bool,
}

impl Record {
    /// Returns a record of no mapping.
    #[track_caller]
    pub const fn none() -> Self {
        Self {
            owner: Owner::NONE,
            cpu: CpuId::BOOT,
            since_ns: 0,
            pfn: Pfn::new(0),
            place: Location::caller(),
            is_held: false,
        }
    }
}

/// A mapping that lives, with its record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holding {
    /// Its slot.
    pub slot: usize,
    /// Its record.
    pub record: Record,
}

/// Counts of the map.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Slots that there are.
    pub slots: usize,
    /// Slots that are held now.
    pub held: usize,
    /// The most that were held at once.
    pub most_held: usize,
    /// Mappings made in slots. Frames of the direct map are not counted: they take none.
    pub mapped: u64,
    /// Flushes, each for all slots that were spent.
    pub flushes: u64,
    /// Requests that were refused because all slots, or all that the owner may have, were held.
    pub refused: u64,
}

/// A fault of the map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inconsistency {
    /// A slot is in two states.
    TwoStates {
        /// The slot.
        slot: usize,
    },
    /// Slots are in no state.
    Lost {
        /// How many.
        slots: usize,
    },
    /// The owners' counts do not add up.
    Counts,
    /// A slot has an entry and no mapping, or the other way round.
    Entry {
        /// The slot.
        slot: usize,
    },
    /// The entry of a slot shows another frame than its mapping has.
    OtherFrame {
        /// The slot.
        slot: usize,
    },
}

impl fmt::Display for Inconsistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TwoStates { slot } => write!(f, "slot {slot} of the long mappings is in two states"),
            Self::Lost { slots } => write!(f, "{slots} slots of the long mappings are lost"),
            Self::Counts => f.write_str("the owners' counts of long mappings do not add up"),
            Self::Entry { slot } => {
                write!(f, "slot {slot} of the long mappings has an entry or a mapping alone")
            }
            Self::OtherFrame { slot } => write!(f, "slot {slot} of the long mappings shows another frame"),
        }
    }
}

impl core::error::Error for Inconsistency {}
