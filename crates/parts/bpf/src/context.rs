//! [`Context`]: the words that an event tells a program.
//!
//! All events have the same fields, so each program can be attached to each event. A field of which an event knows
//! nothing is 0.

/// Words of a context.
pub const WORDS: usize = 8;

/// A field of a context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    /// The number of the event.
    Event,
    /// The CPU on which it happened.
    Cpu,
    /// The owner on whose behalf it happened.
    Owner,
    /// The reason.
    Reason,
    /// The address, or the number of the first frame.
    Address,
    /// How much: bytes, frames or pages, as the event says.
    Size,
    /// A number of the event's own.
    First,
    /// Another one.
    Second,
}

impl Field {
    /// All, in the order of the words.
    pub const ALL: [Self; WORDS] = [
        Self::Event,
        Self::Cpu,
        Self::Owner,
        Self::Reason,
        Self::Address,
        Self::Size,
        Self::First,
        Self::Second,
    ];

    /// Returns its name in programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Cpu => "cpu",
            Self::Owner => "owner",
            Self::Reason => "reason",
            Self::Address => "address",
            Self::Size => "size",
            Self::First => "first",
            Self::Second => "second",
        }
    }

    /// Returns how many bytes lie before it.
    pub const fn offset(self) -> usize {
        self as usize * 8
    }
}

/// The words of one event.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Context {
    words: [u64; WORDS],
}

impl Context {
    /// Returns a context of zeros.
    pub const EMPTY: Self = Self { words: [0; WORDS] };

    /// Returns the context with a field set.
    #[must_use]
    pub const fn with(mut self, field: Field, value: u64) -> Self {
        self.words[field as usize] = value;
        self
    }

    /// Returns a field.
    pub const fn get(&self, field: Field) -> u64 {
        self.words[field as usize]
    }

    /// Returns the words.
    pub(crate) const fn words(&self) -> &[u64; WORDS] {
        &self.words
    }
}
