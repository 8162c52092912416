//! Errors of commands, and their form for people: `name: what was wrong`, on one line.

use core::fmt;

use crate::text::Text;

/// An argument that was not what the command needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArgumentError {
    /// Which argument, as the usage line names it.
    pub name: &'static str,
    /// The text that was typed there.
    pub word: Text<40>,
    /// The fault that was found.
    pub problem: Problem,
}

/// The fault of an argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// It is not there.
    Missing,
    /// The command takes no further argument.
    Unexpected,
    /// Not a hexadecimal address.
    NotAnAddress,
    /// A physical address where a virtual one is needed.
    NotVirtual,
    /// A virtual address where a physical one is needed.
    NotPhysical,
    /// Not a decimal or `0x` number.
    NotANumber,
    /// Not a size.
    NotASize,
    /// Not a range.
    NotARange,
    /// A range whose end is before its start or past 2^64.
    Backwards,
    /// A number above what is allowed.
    Above(u64),
    /// None of these words.
    NotOneOf(&'static [&'static str]),
    /// Not a CPU that can exist.
    NotACpu,
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, word, problem } = self;
        match problem {
            Problem::Missing => write!(f, "{name} is missing"),
            Problem::Unexpected => write!(f, "'{word}' is one argument too many"),
            Problem::NotAnAddress => write!(f, "{name}: '{word}' is not a hexadecimal address"),
            Problem::NotVirtual => {
                write!(f, "{name}: '{word}' is a physical address, a virtual one is needed")
            }
            Problem::NotPhysical => {
                write!(f, "{name}: '{word}' is a virtual address, a physical one is needed")
            }
            Problem::NotANumber => write!(f, "{name}: '{word}' is not a number"),
            Problem::NotASize => write!(f, "{name}: '{word}' is not a size (such as 4096, 64K, 2M, 1G)"),
            Problem::NotARange => write!(f, "{name}: '{word}' is not a range (START..END or START+SIZE)"),
            Problem::Backwards => write!(f, "{name}: '{word}' ends before it starts or past 2^64"),
            Problem::Above(most) => write!(f, "{name}: '{word}' is above {most}"),
            Problem::NotACpu => write!(f, "{name}: '{word}' is not a CPU"),
            Problem::NotOneOf(words) => {
                write!(f, "{name}: '{word}' is not one of")?;
                for (index, word) in words.iter().enumerate() {
                    write!(f, "{} {word}", if index == 0 { "" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}

impl core::error::Error for ArgumentError {}

/// Why a command did not do what it was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandError {
    /// It was called wrongly; the usage is shown as well.
    Usage(ArgumentError),
    /// It could not do it, for this reason.
    Failed(Text<112>),
    /// [`crate::Output::interrupted`] became true before it had finished.
    Interrupted,
}

impl CommandError {
    /// Makes the error of a command that could not do its work, for this reason: a typed error, or `format_args!`. One
    /// line, without the command's name, of at most 112 bytes; a longer one is cut and marked.
    pub fn failed(reason: impl fmt::Display) -> Self {
        Self::Failed(Text::of(reason))
    }
}

impl From<ArgumentError> for CommandError {
    fn from(error: ArgumentError) -> Self {
        Self::Usage(error)
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(error) => fmt::Display::fmt(error, f),
            Self::Failed(reason) => fmt::Display::fmt(reason, f),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl core::error::Error for CommandError {}
