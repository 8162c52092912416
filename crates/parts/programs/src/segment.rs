//! [`Segment`]: bytes of a program that lie together, with one access.

use object::elf::{PF_R, PF_W, PF_X, ProgramFlags};
use rhumb_machine::VirtRange;

use crate::error::Unfit;

/// The access that a program has to a segment. No segment is written and executed (I4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Access {
    /// Read.
    Read,
    /// Read and written.
    ReadWrite,
    /// Read and executed.
    ReadExecute,
}

impl Access {
    /// Returns the access of a program header's flags. Each segment can be read, because x86-64 has no pages that can be
    /// written or executed and not read, except by protection keys.
    pub(crate) fn of(flags: ProgramFlags) -> Result<Self, Unfit> {
        match (flags.contains(PF_R), flags.contains(PF_W), flags.contains(PF_X)) {
            (_, true, true) => Err(Unfit::WrittenAndExecuted),
            (_, true, false) => Ok(Self::ReadWrite),
            (_, false, true) => Ok(Self::ReadExecute),
            (true, false, false) => Ok(Self::Read),
            (false, false, false) => Err(Unfit::Unreadable),
        }
    }
}

/// A segment of a program: its bytes from the file, and zeros before and behind them up to whole pages.
///
/// Addresses are counted from the program's base where a [`Program`](crate::Program) returns it, and are those of the task
/// where a [`Placed`](crate::Placed) does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment<'file> {
    pub(crate) addresses: VirtRange,
    pub(crate) pages: VirtRange,
    pub(crate) bytes: &'file [u8],
    pub(crate) access: Access,
}

impl<'file> Segment<'file> {
    /// Returns its addresses, from the first byte to the last, not rounded to pages. Never empty.
    pub const fn addresses(&self) -> VirtRange {
        self.addresses
    }

    /// Returns the whole pages that it takes, which no other segment shares.
    pub const fn pages(&self) -> VirtRange {
        self.pages
    }

    /// Returns its bytes in the file, no more than it has addresses. They begin at its first address, and all else of its
    /// pages is zero.
    pub const fn bytes(&self) -> &'file [u8] {
        self.bytes
    }

    /// Returns the access that the program has to it.
    pub const fn access(&self) -> Access {
        self.access
    }
}
