//! Why the arena refuses.

use core::fmt;

use rhumb_slab::AllocError;

/// Why a request was refused. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArenaError {
    /// No units, or more than an arena can have.
    BadSize,
    /// No power of two, or an offset that is not below it.
    BadAlignment,
    /// No free range serves the request. The other CPUs were asked for the ranges that they keep, and give them back at
    /// their next slow free or [tick](super::Arena::tick).
    Exhausted,
    /// The allocator of objects has no memory for a tag.
    NoTag(AllocError),
    /// The memory that was lent is too small: so many bytes, of so many that are needed.
    StorageTooSmall(usize, usize),
    /// No CPUs, or more than a machine can have.
    BadMachine,
    /// A span without units, one that overlaps another, one span too many, or more units than an arena can have.
    BadSpan,
    /// As many walks through the arena are under way as there can be.
    TooManyWalks,
}

impl fmt::Display for ArenaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadSize => f.write_str("no such size: no units, or more than an arena has"),
            Self::BadAlignment => f.write_str("no such alignment: a power of two, and an offset below it"),
            Self::Exhausted => f.write_str("no free range of addresses serves the request"),
            Self::NoTag(error) => write!(f, "no memory for a range's tag: {error}"),
            Self::StorageTooSmall(given, needed) => {
                write!(f, "{given} bytes were lent for the arena, which needs {needed}")
            }
            Self::BadMachine => f.write_str("no machine has so many CPUs"),
            Self::BadSpan => f.write_str("the span is empty, overlaps another, or is one too many"),
            Self::TooManyWalks => f.write_str("too many reports are walking the arena; try again later"),
        }
    }
}

impl core::error::Error for ArenaError {}
