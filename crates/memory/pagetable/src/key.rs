//! Protection keys: a number in a leaf, and a register that says what may be done with all pages of that number.
//!
//! ```text
//!  leaf, bits 62..59: the key, 0 to 15        IA32_PKRS (PKRU for user pages): two bits a key
//!                                              31 30 | ... | 3 2 | 1 0        WD: no write   AD: no access
//!                                              key 15       key 1 key 0
//! ```
//!
//! Of a supervisor page the register is IA32_PKRS, and counts where CR4.PKS is set; else the four bits mean nothing.
//! Source: Intel SDM volume 3, 5.6.2 (Protection Keys).

use core::fmt;
use core::num::NonZeroU8;

/// A protection key: 1 to 15. Key 0 is that of all other memory, and is said by `None`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key(NonZeroU8);

/// The rights to pages of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rights {
    /// Read and write.
    ReadWrite,
    /// Read.
    ReadOnly,
    /// Nothing.
    Nothing,
}

impl Key {
    /// Returns the key, or `None` where it is 0 or past 15.
    pub const fn new(number: u8) -> Option<Self> {
        match NonZeroU8::new(number) {
            Some(number) if number.get() < 16 => Some(Self(number)),
            _ => None,
        }
    }

    /// Returns its number.
    pub const fn number(self) -> u8 {
        self.0.get()
    }

    /// Returns the value of the register that gives `rights` on this key, and leaves the other keys as `register` has
    /// them.
    pub const fn with_rights(self, register: u32, rights: Rights) -> u32 {
        let shift = 2 * self.number() as u32;
        let denied: u32 = match rights {
            Rights::ReadWrite => 0b00,
            Rights::ReadOnly => 0b10,
            Rights::Nothing => 0b11,
        };
        register & !(0b11 << shift) | denied << shift
    }

    /// Returns the rights that a value of the register gives. A key that may not be accessed may not be written either.
    pub const fn rights(self, register: u32) -> Rights {
        match register >> (2 * self.number() as u32) & 0b11 {
            0b00 => Rights::ReadWrite,
            0b10 => Rights::ReadOnly,
            _ => Rights::Nothing,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}", self.number())
    }
}
