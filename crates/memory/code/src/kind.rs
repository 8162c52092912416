//! [`Kind`]: what a block is for, and so what CPUs may do with it.

use core::fmt;

use rhumb_pagetable::Access;

/// The use of a block. Each of its parts has the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Instructions: read and execute.
    Code,
    /// Data that never changes: read.
    RoData,
    /// Data: read and write.
    Data,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Code, Self::RoData, Self::Data];

    /// Returns what CPUs may do with the block.
    pub const fn access(self) -> Access {
        match self {
            Self::Code => Access::ReadExecute,
            Self::RoData => Access::ReadOnly,
            Self::Data => Access::ReadWrite,
        }
    }

    /// Returns the value of bytes that nothing was written to.
    ///
    /// In code it is `int3` (0xcc), the one instruction of a single byte that the architecture promises to trap: a CPU
    /// that comes to free code anywhere, between instructions, too, traps there and then. `ud2` has two bytes, and a
    /// jump between them finds another instruction (`0b 0f`, an `or`). The single bytes that are invalid in 64-bit mode
    /// today get meanings as the architecture grows, as 0x62 (EVEX) and 0xd5 (REX2) did. And `hlt` stops a kernel's CPU.
    pub const fn fill(self) -> u8 {
        match self {
            Self::Code => 0xcc,
            Self::RoData | Self::Data => 0,
        }
    }

    /// Tells whether the block is changed by another block's frames in its place, because no CPU can write it.
    pub const fn is_switched(self) -> bool {
        !matches!(self, Self::Data)
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Code => "code",
            Self::RoData => "read-only data",
            Self::Data => "data",
        })
    }
}
