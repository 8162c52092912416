//! Instructions that drop translations.
//!
//! Packed into one word, as the counter's instructions are, because a word is what an emulator gives back:
//!
//! ```text
//! bit  63..60 | 59..56 | 55..48 | 47..40 | 31 .... 0
//!      kind   | scale  | index  | base   | displacement, or the register that CR3 is loaded from
//! ```

/// The number of registers that can be a part of an address: RAX to R15, as instructions number them.
pub const REGISTERS: usize = 16;

/// The address in memory that an instruction names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operand {
    /// The register that is added.
    pub base: Option<u8>,
    /// The register that is added after a shift by `scale` bits.
    pub index: Option<u8>,
    /// The shift.
    pub scale: u8,
    /// The number that is added.
    pub displacement: i32,
}

impl Operand {
    /// Returns the address, with the values of registers.
    pub fn address(self, register: impl Fn(u8) -> u64) -> u64 {
        let base = self.base.map_or(0, &register);
        let index = self.index.map_or(0, |index| register(index) << self.scale);
        base.wrapping_add(index).wrapping_add(self.displacement as i64 as u64)
    }
}

/// An instruction that drops translations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flushing {
    /// `invlpg`.
    Page(Operand),
    /// A load of CR3 from a register.
    Root(u8),
    /// A load of CR4, `invpcid`, or an `invlpg` whose address depends on its own place: everything is dropped.
    Everything,
}

const KIND_SHIFT: u32 = 60;
const SCALE_SHIFT: u32 = 56;
const INDEX_SHIFT: u32 = 48;
const BASE_SHIFT: u32 = 40;
/// No register.
const NONE: u64 = 0xff;

impl Flushing {
    /// Returns the instruction, if it is one of these.
    pub fn decode(code: &[u8]) -> Option<Self> {
        let (mut bytes, mut rex) = (code, 0);
        loop {
            let (&byte, rest) = bytes.split_first()?;
            match byte {
                0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf2 | 0xf3 => rex = 0,
                0x40..=0x4f => rex = byte,
                _ => break,
            }
            bytes = rest;
        }
        match bytes {
            [0x0f, 0x01, modrm, rest @ ..] if modrm >> 3 & 7 == 7 && modrm >> 6 != 3 => {
                Some(operand(*modrm, rest, rex).map_or(Self::Everything, Self::Page))
            }
            [0x0f, 0x22, modrm, ..] => match modrm >> 3 & 7 | (rex & 4) << 1 {
                3 => Some(Self::Root(modrm & 7 | (rex & 1) << 3)),
                4 => Some(Self::Everything),
                _ => None,
            },
            [0x0f, 0x38, 0x82, ..] if code.contains(&0x66) => Some(Self::Everything),
            _ => None,
        }
    }

    /// In one word, which is not 0.
    pub fn pack(self) -> u64 {
        let register = |register: Option<u8>| register.map_or(NONE, u64::from);
        match self {
            Self::Page(Operand { base, index, scale, displacement }) => {
                1 << KIND_SHIFT
                    | u64::from(scale) << SCALE_SHIFT
                    | register(index) << INDEX_SHIFT
                    | register(base) << BASE_SHIFT
                    | u64::from(displacement as u32)
            }
            Self::Root(from) => 2 << KIND_SHIFT | u64::from(from),
            Self::Everything => 3 << KIND_SHIFT,
        }
    }

    /// Out of the word.
    pub fn unpack(word: u64) -> Self {
        let register = |shift: u32| match word >> shift & NONE {
            NONE => None,
            register => Some(register as u8),
        };
        match word >> KIND_SHIFT {
            1 => Self::Page(Operand {
                base: register(BASE_SHIFT),
                index: register(INDEX_SHIFT),
                scale: (word >> SCALE_SHIFT & 3) as u8,
                displacement: word as u32 as i32,
            }),
            2 => Self::Root((word & 0xf) as u8),
            _ => Self::Everything,
        }
    }
}

/// The address that a ModRM byte and the bytes after it name; `None` relative to the instruction's own place.
fn operand(modrm: u8, rest: &[u8], rex: u8) -> Option<Operand> {
    let (mode, low) = (modrm >> 6, modrm & 7);
    let extended = |register: u8, bit: u8| register | if rex & bit != 0 { 8 } else { 0 };
    let (mut base, mut index, mut scale, mut rest) = (Some(extended(low, 1)), None, 0, rest);
    let mut has_word = mode == 2;
    if low == 4 {
        let (&sib, after) = rest.split_first()?;
        rest = after;
        scale = sib >> 6;
        index = Some(extended(sib >> 3 & 7, 2)).filter(|index| *index != 4);
        base = Some(extended(sib & 7, 1));
        if sib & 7 == 5 && mode == 0 {
            (base, has_word) = (None, true);
        }
    } else if low == 5 && mode == 0 {
        return None;
    }
    let displacement = match (mode, has_word) {
        (1, _) => i32::from(*rest.first()? as i8),
        (_, true) => i32::from_le_bytes(rest.get(..4)?.try_into().ok()?),
        _ => 0,
    };
    Some(Operand { base, index, scale, displacement })
}

#[cfg(test)]
mod tests;
