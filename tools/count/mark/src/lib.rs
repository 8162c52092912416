//! Marks around a piece of code: no-ops that carry an id, for a counter outside the machine.
//!
//! A mark is one instruction, `nop dword ptr [rax + disp32]`: seven bytes, of which the last four, the displacement,
//! say what it marks. It reads and writes nothing (the address is never used), changes no register and no flag, may not
//! fault, and is the same in every ring; on bare hardware it costs one decoded instruction.
//!
//! ```text
//! byte   0     1     2     3 4 5 6 (little endian)
//!        0f    1f    80    displacement
//!
//! bit    31 .................. 16 | 15 14 | 13 ............ 0
//!        0x524d, "MR" in memory   | kind  | id
//!                                   00 end, 01 begin, 10 and 11 are kept free
//! ```
//!
//! Why not an instruction that traps, or a magic port: both change what they measure, and neither works in both rings.
//! Why not addresses of symbols: an inlined operation has none. Compilers pad with the same opcode, but with
//! displacement 0.
//!
//! Code may be marked from any language:
//!
//! ```c
//! asm volatile(".byte 0x0f,0x1f,0x80; .long 0x524d4000 + 7" ::: "memory");   // begin 7
//! asm volatile(".byte 0x0f,0x1f,0x80; .long 0x524d0000 + 7" ::: "memory");   // end 7
//! ```
#![no_std]
#![deny(unsafe_op_in_unsafe_fn)]

use core::arch::asm;
use core::fmt;

/// The mark's first three bytes: `nop r/m32` with a 32-bit displacement from RAX.
pub const OPCODE: [u8; 3] = [0x0f, 0x1f, 0x80];
/// Bytes of a mark.
pub const BYTES: usize = 7;
/// The upper half of a displacement that is a mark's.
const MAGIC: u32 = 0x524d << 16;
const MAGIC_BITS: u32 = 0xffff << 16;
const BEGIN: u32 = 0b01 << KIND_SHIFT;
const END: u32 = 0b00 << KIND_SHIFT;
const KIND_SHIFT: u32 = 14;

/// The region that a pair of marks encloses: a number that the measured code chooses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RegionId(u16);

impl RegionId {
    /// The highest number.
    pub const MAX: u16 = (1 << KIND_SHIFT) - 1;

    /// Returns the region with this number, or `None` above [`RegionId::MAX`].
    pub const fn new(number: u16) -> Option<Self> {
        if number <= Self::MAX { Some(Self(number)) } else { None }
    }

    /// Returns its number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Tells whether `word` names the region that is called `name`, `subject/operation/variant`: by the whole name, or by
/// its first parts.
pub fn is_meant_by(name: &str, word: &str) -> bool {
    name.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The meaning of a mark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// The next instruction is the region's first.
    Begin(RegionId),
    /// The instruction before was the region's last.
    End(RegionId),
}

impl Mark {
    /// Returns the displacement that says it.
    pub const fn displacement(self) -> u32 {
        match self {
            Self::Begin(id) => MAGIC | BEGIN | id.0 as u32,
            Self::End(id) => MAGIC | END | id.0 as u32,
        }
    }

    /// Returns the mark that the instruction `bytes` is, if it is one. Longer slices hold more than one instruction and
    /// are none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let displacement = bytes.strip_prefix(&OPCODE)?;
        let displacement = u32::from_le_bytes(displacement.try_into().ok()?);
        let id = RegionId(displacement as u16 & RegionId::MAX);
        [Self::Begin(id), Self::End(id)]
            .into_iter()
            .find(|mark| displacement & MAGIC_BITS == MAGIC && mark.displacement() == displacement)
    }
}

/// Opens region `ID` on the CPU that executes it. The compiler moves no access to memory across.
#[inline(always)]
pub fn begin<const ID: u16>() {
    const { assert!(ID <= RegionId::MAX, "a region's number has 14 bits") };
    // SAFETY: a no-op: it touches no memory, register or flag. Without `nomem`, as a barrier for the compiler.
    unsafe {
        asm!(
            ".byte 0x0f, 0x1f, 0x80",
            ".long {displacement}",
            displacement = const MAGIC | BEGIN | ID as u32,
            options(nostack, preserves_flags)
        );
    }
}

/// Closes region `ID` on the CPU that executes it. The compiler moves no access to memory across.
#[inline(always)]
pub fn end<const ID: u16>() {
    const { assert!(ID <= RegionId::MAX, "a region's number has 14 bits") };
    // SAFETY: a no-op: it touches no memory, register or flag. Without `nomem`, as a barrier for the compiler.
    unsafe {
        asm!(
            ".byte 0x0f, 0x1f, 0x80",
            ".long {displacement}",
            displacement = const MAGIC | END | ID as u32,
            options(nostack, preserves_flags)
        );
    }
}

#[cfg(test)]
mod tests;
