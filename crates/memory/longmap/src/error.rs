//! Errors: why a frame is not mapped.

use core::fmt;

use rhumb_frames::{Anywhere, Frame, Owner};
use rhumb_machine::Order;

/// Why a frame is not mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// The frame is another allocator's: its number means other memory there.
    OtherAllocator,
    /// A slot is one page.
    NotOnePage {
        /// The frame's order.
        order: Order,
    },
    /// All slots are held.
    AllTaken,
    /// The owner holds as many as it may (I11).
    OverLimit {
        /// Its number.
        owner: Owner,
        /// How many it may hold.
        limit: usize,
    },
    /// Other CPUs flush slots and take them, again and again.
    Busy,
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OtherAllocator => f.write_str("the frame is another allocator's"),
            Self::NotOnePage { order } => {
                write!(f, "a long mapping shows one page, not a block of order {order}")
            }
            Self::AllTaken => f.write_str("all slots for long mappings are held"),
            Self::OverLimit { owner, limit } => {
                write!(f, "owner {} holds the {limit} long mappings that it may have", owner.0)
            }
            Self::Busy => f.write_str("other CPUs take each slot for long mappings first"),
        }
    }
}

impl core::error::Error for MapError {}

/// A frame that was not mapped, and why.
#[derive(Debug)]
pub struct Refused {
    /// The frame, unchanged.
    pub frame: Frame<Anywhere>,
    /// The reason.
    pub error: MapError,
}
