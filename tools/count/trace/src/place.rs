//! The parts of Rhumb's address space with four levels of tables (`kernel/src/layout.rs`).

use std::fmt;
use std::str::FromStr;

/// A part of the address space.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Place {
    /// The lower half.
    User,
    /// The direct map.
    DirectMap,
    /// The kernel map: areas, stacks, devices.
    KernelMap,
    /// The frame descriptors.
    Descriptors,
    /// The windows.
    Windows,
    /// The kernel's image, and executable memory.
    Image,
}

impl Place {
    /// All places.
    pub const ALL: [Self; 6] =
        [Self::User, Self::DirectMap, Self::KernelMap, Self::Descriptors, Self::Windows, Self::Image];

    /// Returns the place of an address.
    pub const fn of(address: u64) -> Self {
        match address {
            0..0x8000_0000_0000_0000 => Self::User,
            0x8000_0000_0000_0000..0xffff_c000_0000_0000 => Self::DirectMap,
            0xffff_c000_0000_0000..0xffff_e000_0000_0000 => Self::KernelMap,
            0xffff_e000_0000_0000..0xffff_f000_0000_0000 => Self::Descriptors,
            0xffff_f000_0000_0000..0xffff_ffff_8000_0000 => Self::Windows,
            _ => Self::Image,
        }
    }

    /// Returns the word for it in a report.
    pub const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::DirectMap => "direct-map",
            Self::KernelMap => "kernel-map",
            Self::Descriptors => "descriptors",
            Self::Windows => "windows",
            Self::Image => "image",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.word())
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|place| place.word() == word).ok_or(())
    }
}
