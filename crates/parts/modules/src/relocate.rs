//! The arithmetic of relocations: the kinds that a compiler makes for code in the top 2 GiB.
//!
//! S: the symbol's address; A: the addend; P: the place's address; G: the address of the symbol's slot in the table of
//! addresses. Values are computed without wrapping, so that one that does not fit is seen.

use object::elf;

/// How a kind of relocation computes its value, and writes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Kind {
    pub(crate) base: Base,
    pub(crate) is_relative: bool,
    pub(crate) field: Field,
}

/// The address that the addend is added to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Base {
    Symbol,
    /// The symbol's slot in the table of addresses.
    Slot,
}

/// The form of the number that is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Field {
    Bits64,
    Unsigned32,
    Signed32,
}

impl Field {
    pub(crate) const fn bytes(self) -> u64 {
        match self {
            Self::Bits64 => 8,
            Self::Unsigned32 | Self::Signed32 => 4,
        }
    }

    /// Writes the value, if it fits; `place` has as many bytes as the field.
    pub(crate) fn write(self, place: &mut [u8], value: i128) -> bool {
        let word = word(value);
        let bytes = match self {
            Self::Bits64 => word.map(u64::to_le_bytes),
            Self::Unsigned32 => word.filter(|&word| u32::try_from(word).is_ok()).map(u64::to_le_bytes),
            Self::Signed32 => {
                word.filter(|&word| i32::try_from(word.cast_signed()).is_ok()).map(u64::to_le_bytes)
            }
        };
        match bytes {
            Some(bytes) => {
                place.copy_from_slice(&bytes[..place.len()]);
                true
            }
            None => false,
        }
    }
}

/// Returns the 64 bits of a value: an address, or a distance, which may be negative.
fn word(value: i128) -> Option<u64> {
    u64::try_from(value).ok().or_else(|| i64::try_from(value).ok().map(i64::cast_unsigned))
}

/// Returns what is known of a kind; `None` for one that the loader does not know.
pub(crate) const fn kind(number: u32) -> Option<Kind> {
    let (base, is_relative, field) = match number {
        R_64 => (Base::Symbol, false, Field::Bits64),
        R_32 => (Base::Symbol, false, Field::Unsigned32),
        R_32S => (Base::Symbol, false, Field::Signed32),
        R_PC32 | R_PLT32 => (Base::Symbol, true, Field::Signed32),
        R_PC64 => (Base::Symbol, true, Field::Bits64),
        R_GOTPCREL | R_GOTPCRELX | R_REX_GOTPCRELX => (Base::Slot, true, Field::Signed32),
        _ => return None,
    };
    Some(Kind { base, is_relative, field })
}

const R_64: u32 = elf::R_X86_64_64.0;
const R_32: u32 = elf::R_X86_64_32.0;
const R_32S: u32 = elf::R_X86_64_32S.0;
const R_PC32: u32 = elf::R_X86_64_PC32.0;
const R_PLT32: u32 = elf::R_X86_64_PLT32.0;
const R_PC64: u32 = elf::R_X86_64_PC64.0;
const R_GOTPCREL: u32 = elf::R_X86_64_GOTPCREL.0;
const R_GOTPCRELX: u32 = elf::R_X86_64_GOTPCRELX.0;
const R_REX_GOTPCRELX: u32 = elf::R_X86_64_REX_GOTPCRELX.0;
