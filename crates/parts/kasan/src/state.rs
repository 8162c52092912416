//! The meaning of a shadow byte. The values are Linux's, so that a dump reads the same.

use core::fmt;

use rhumb_machine::MemoryUse;

/// Bytes of memory that one shadow byte speaks for.
pub const GRANULE_BYTES: u64 = 8;

/// The use that a granule may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// All of it may be touched.
    Accessible,
    /// Its first bytes, 1 to 7 of them.
    Partly(u8),
    /// A frame that is free.
    FreeFrame,
    /// An object that is free.
    FreeObject,
    /// Room around an object.
    RedZone,
    /// Room behind a global.
    GlobalRedZone,
    /// Below the first variable of a stack frame.
    StackLeft,
    /// Between two variables of a stack frame.
    StackMiddle,
    /// Above the last variable of a stack frame.
    StackRight,
    /// A variable of a function that has returned.
    StackReturned,
    /// A variable outside its scope.
    StackScope,
    /// A byte that no code writes.
    Unknown(u8),
}

impl State {
    /// Returns the meaning of the shadow byte `byte`.
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Accessible,
            1..=7 => Self::Partly(byte),
            0xff => Self::FreeFrame,
            0xfc => Self::RedZone,
            0xfb => Self::FreeObject,
            0xf9 => Self::GlobalRedZone,
            0xf1 => Self::StackLeft,
            0xf2 => Self::StackMiddle,
            0xf3 => Self::StackRight,
            0xf5 => Self::StackReturned,
            0xf8 => Self::StackScope,
            other => Self::Unknown(other),
        }
    }

    /// Returns the shadow byte that says this.
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Accessible => 0,
            Self::Partly(bytes) => bytes,
            Self::FreeFrame => 0xff,
            Self::RedZone => 0xfc,
            Self::FreeObject => 0xfb,
            Self::GlobalRedZone => 0xf9,
            Self::StackLeft => 0xf1,
            Self::StackMiddle => 0xf2,
            Self::StackRight => 0xf3,
            Self::StackReturned => 0xf5,
            Self::StackScope => 0xf8,
            Self::Unknown(byte) => byte,
        }
    }

    /// Returns the name of an access to such memory. The names are Linux's.
    pub const fn bug(self) -> &'static str {
        match self {
            Self::FreeFrame | Self::FreeObject => "use-after-free",
            Self::RedZone => "slab-out-of-bounds",
            Self::GlobalRedZone => "global-out-of-bounds",
            Self::StackLeft | Self::StackMiddle | Self::StackRight => "stack-out-of-bounds",
            Self::StackReturned => "stack-use-after-return",
            Self::StackScope => "stack-use-after-scope",
            Self::Accessible | Self::Partly(_) => "out-of-bounds",
            Self::Unknown(_) => "unknown-crash",
        }
    }
}

impl From<MemoryUse> for State {
    fn from(memory_use: MemoryUse) -> Self {
        match memory_use {
            MemoryUse::Allowed => Self::Accessible,
            MemoryUse::FreeFrame => Self::FreeFrame,
            MemoryUse::FreeObject => Self::FreeObject,
            MemoryUse::RedZone => Self::RedZone,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accessible => f.write_str("accessible"),
            Self::Partly(bytes) => write!(f, "the first {bytes} bytes of 8 accessible"),
            Self::FreeFrame => f.write_str("in a free frame"),
            Self::FreeObject => f.write_str("in a free object"),
            Self::RedZone => f.write_str("in the red zone of an object"),
            Self::GlobalRedZone => f.write_str("in the red zone of a global"),
            Self::StackLeft => f.write_str("below the first variable of a stack frame"),
            Self::StackMiddle => f.write_str("between two variables of a stack frame"),
            Self::StackRight => f.write_str("above the last variable of a stack frame"),
            Self::StackReturned => f.write_str("in a variable of a function that has returned"),
            Self::StackScope => f.write_str("in a variable outside its scope"),
            Self::Unknown(byte) => write!(f, "{byte:#04x}, which no code writes"),
        }
    }
}

/// Returns how many bytes at the front of a granule its shadow byte lets one touch.
pub(crate) const fn allowed_bytes(byte: u8) -> u64 {
    match byte {
        0 => GRANULE_BYTES,
        1..=7 => byte as u64,
        _ => 0,
    }
}
