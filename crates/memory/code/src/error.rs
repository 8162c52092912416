//! Why the pool refuses.

use core::fmt;

use crate::size::BLOCK_BYTES;

/// Why a request was refused. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeError {
    /// A size of zero.
    NoBytes,
    /// No power of two, or more than a block.
    BadAlignment {
        /// The alignment that was asked for.
        align: u64,
    },
    /// More than a block has.
    TooLarge {
        /// The size that was asked for.
        bytes: u64,
    },
    /// All of the pool's addresses are in use: no block has a hole that is large enough.
    Exhausted,
    /// There are no frames for another block.
    NoFrames(NoFrames),
    /// There is no memory for the record of another part or block.
    NoRecord,
    /// The part is another pool's.
    OtherPool,
    /// The part was written before; other CPUs may be running it.
    AlreadyWritten,
    /// More bytes than the part has.
    TooLong {
        /// The bytes to be written.
        bytes: u64,
        /// The part's.
        part_bytes: u64,
    },
}

/// Why there are no frames for another block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoFrames {
    /// The allocator has no block of 2 MiB.
    NoBlock,
    /// The direct map cannot let go of one, for want of tables or records.
    DirectMap,
}

impl fmt::Display for NoFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoBlock => "no block of 2 MiB is free",
            Self::DirectMap => "the direct map has no table or record left for another block",
        })
    }
}

impl fmt::Display for CodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBytes => f.write_str("a part of no bytes cannot be had"),
            Self::BadAlignment { align } => {
                write!(f, "{align} is no alignment: a power of two is, up to {BLOCK_BYTES}")
            }
            Self::TooLarge { bytes } => {
                write!(f, "{bytes} bytes are more than a block of the pool has, which is {BLOCK_BYTES}")
            }
            Self::Exhausted => f.write_str("the pool's addresses are used up"),
            Self::NoFrames(error) => write!(f, "no memory for another block of the pool: {error}"),
            Self::NoRecord => f.write_str("no memory for the record of another part"),
            Self::OtherPool => f.write_str("the part is another pool's"),
            Self::AlreadyWritten => f.write_str("the part was written before, and is written once"),
            Self::TooLong { bytes, part_bytes } => {
                write!(f, "{bytes} bytes do not fit into a part of {part_bytes}")
            }
        }
    }
}

impl core::error::Error for CodeError {}

/// Parts that the pool refuses to free, because one of them is another pool's. None was freed.
#[derive(Debug)]
#[must_use = "the parts are the caller's still"]
pub struct Refused<const N: usize> {
    /// The parts.
    pub parts: [crate::part::Part; N],
    /// Why.
    pub error: CodeError,
}

impl<const N: usize> fmt::Display for Refused<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}
