//! [`Instruction`]: what the counter must know of one, found when it is translated and handed over when it executes.
//!
//! Packed into one word, since that is what an emulator gives back: no table of instructions, nothing to free when
//! translations are thrown away.
//!
//! ```text
//! bit  63 | 62 ............... 6 | 5        | 4 | 3 .. 0
//!      0  | address, low 57 bits | repeated | 0 | bytes
//! ```
//!
//! 57 bits are a canonical address under five levels; the bits above are copies of the highest.

/// Bits of a canonical address.
const ADDRESS_BITS: u32 = 57;
const ADDRESS_SHIFT: u32 = 6;
const REPEATED: u64 = 1 << 5;
const LENGTH: u64 = 0xf;

/// One instruction of the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Instruction {
    /// The virtual address of its first byte.
    pub address: u64,
    /// Its length in bytes: 1 to 15.
    pub bytes: u8,
    /// Whether it is a string instruction with a repeat prefix.
    pub repeats: bool,
}

impl Instruction {
    /// Returns the instruction `code` at `address`.
    pub fn new(address: u64, code: &[u8]) -> Self {
        Self { address, bytes: (code.len() as u64 & LENGTH) as u8, repeats: repeats(code) }
    }

    /// In one word.
    pub const fn pack(self) -> u64 {
        let repeated = if self.repeats { REPEATED } else { 0 };
        (self.address << (u64::BITS - ADDRESS_BITS) >> (u64::BITS - ADDRESS_BITS - ADDRESS_SHIFT))
            & !(1 << 63)
            | repeated
            | self.bytes as u64
    }

    /// Out of the word.
    pub const fn unpack(word: u64) -> Self {
        let address = ((word << 1) as i64 >> (u64::BITS - ADDRESS_BITS)) as u64;
        Self { address, bytes: (word & LENGTH) as u8, repeats: word & REPEATED != 0 }
    }
}

/// Tells whether `code` is INS, OUTS, MOVS, CMPS, STOS, LODS or SCAS under REP, REPE or REPNE.
fn repeats(code: &[u8]) -> bool {
    let mut repeat = false;
    for &byte in code {
        match byte {
            0xf2 | 0xf3 => repeat = true,
            // Segments, operand and address size, lock, REX.
            0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0x40..=0x4f => {}
            0x6c..=0x6f | 0xa4..=0xa7 | 0xaa..=0xaf => return repeat,
            _ => return false,
        }
    }
    false
}
