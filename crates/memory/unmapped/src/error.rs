//! Why the pool refuses. Nothing has changed then.

use core::fmt;

use rhumb_directmap::ChangeError;
use rhumb_frames::{AllocError, Frame, Owner, Unmapped};
use rhumb_machine::{Order, Pfn};

use rhumb_windows::error::CopyError;

/// A refused request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PoolError {
    /// Orders 0 to 9 can be had.
    TooLarge {
        /// The order asked for.
        order: Order,
    },
    /// The owner has no account.
    NoAccount {
        /// Its number.
        owner: Owner,
    },
    /// Frames or blocks are charged to the account.
    AccountInUse {
        /// Its number.
        owner: Owner,
    },
    /// The owner has as many frames as it may.
    OverFrames {
        /// Its number.
        owner: Owner,
        /// How many it may have.
        limit: u64,
    },
    /// None of the owner's blocks has room, and it may have no more (I11).
    OverBlocks {
        /// Its number.
        owner: Owner,
        /// How many may be.
        limit: u64,
    },
    /// None of the owner's blocks has room, and as many have left the map for it lately as may (I11).
    TooFast {
        /// Its number.
        owner: Owner,
        /// Nanoseconds until it may have one.
        wait_ns: u64,
    },
    /// The allocator has no whole block, after reclaim and compaction.
    NoBlock(AllocError),
    /// The map refuses: the owner's limit on split pages, an empty reserve.
    Change(ChangeError),
    /// A block past the end of the map cannot be cleared: this CPU has no window.
    NotZeroed(CopyError),
    /// The allocator has no descriptors, or does not know the frame.
    NotABlock {
        /// The frame.
        pfn: Pfn,
    },
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooLarge { order } => write!(f, "order {order} is more than a block"),
            Self::NoAccount { owner } => write!(f, "owner {} has no account", owner.0),
            Self::AccountInUse { owner } => write!(f, "the account of owner {} is in use", owner.0),
            Self::OverFrames { owner, limit } => {
                write!(f, "owner {} has the {limit} unmapped frames that it may have", owner.0)
            }
            Self::OverBlocks { owner, limit } => {
                write!(f, "no block has room, and owner {} has the {limit} that it may have", owner.0)
            }
            Self::TooFast { owner, wait_ns } => {
                write!(f, "no block has room, and owner {} may have one in {wait_ns} ns", owner.0)
            }
            Self::NoBlock(ref error) => error.fmt(f),
            Self::Change(ref error) => error.fmt(f),
            Self::NotZeroed(ref error) => error.fmt(f),
            Self::NotABlock { pfn } => write!(f, "frame {pfn} has no descriptor"),
        }
    }
}

impl core::error::Error for PoolError {}

/// The fault of a frame that is given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GiveError {
    /// It is in no block of this pool, or another allocator's.
    Foreign {
        /// The frame.
        pfn: Pfn,
    },
    /// The pool has it, or a part of it, already.
    NotOut {
        /// The frame.
        pfn: Pfn,
    },
    /// It was taken with another order, or in another place.
    WrongOrder {
        /// The frame.
        pfn: Pfn,
        /// Of this order it was given.
        given: Order,
        /// Of this order it was taken.
        taken: Order,
    },
    /// It could not be cleared.
    NotZeroed(CopyError),
}

impl fmt::Display for GiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Foreign { pfn } => write!(f, "frame {pfn} is not of this pool"),
            Self::NotOut { pfn } => write!(f, "frame {pfn} is in the pool already"),
            Self::WrongOrder { pfn, given, taken } => {
                write!(f, "frame {pfn} was taken with order {taken}, not {given}")
            }
            Self::NotZeroed(ref error) => write!(f, "it could not be cleared: {error}"),
        }
    }
}

/// A frame that could not be given back, and why.
#[must_use = "dropping it loses the frame"]
#[derive(Debug)]
pub struct Refused {
    /// The frame, still its holder's.
    pub frame: Frame<Unmapped>,
    /// The fault.
    pub error: GiveError,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}
