//! The kernel's command line.
//!
//! Nothing in it is ever fatal: a word that is not known, or a value that is not accepted, is a [`Warning`] that names
//! the word and says what would be accepted, and the rest of the line counts as if it were not there. Where a word is
//! given twice, the later one counts, as on Linux.

use core::fmt;
use core::mem::discriminant;

mod options;
mod words;

pub use options::{
    CLOCKS, KMAP_FLUSH, KMEM, KnownWord, MITIGATIONS, Options, PROTECT_TABLES, SLAB_DEBUG_BYTES, ValueForm,
    WORDS,
};

use crate::Findings;
use crate::findings::Finding;
use words::{Word, Words};

/// How much of a word a warning shows: any honest word is shorter.
const SHOWN_BYTES: usize = 48;

impl Options {
    /// Returns the options that `line` asks for, and the words that were not understood.
    pub fn parse(line: &[u8]) -> (Self, Findings<Warning<'_>>) {
        let mut options = Self::default();
        let mut warnings = Findings::default();
        for word in Words::of(line) {
            if let Err(problem) = apply(&mut options, word) {
                warnings.push(Warning { word: word.text, problem });
            }
        }
        (options, warnings)
    }
}

fn apply(options: &mut Options, word: Word<'_>) -> Result<(), Problem> {
    let known = WORDS.iter().find(|known| word.is_named(known.name)).ok_or(Problem::Unknown)?;
    match (known.value, word.value) {
        (ValueForm::None, Some(_)) => Err(Problem::UnwantedValue),
        (ValueForm::None, None) => (known.set)(options, b"").ok_or(Problem::UnwantedValue),
        (form, None) => Err(Problem::NoValue(form)),
        (form, Some(value)) => (known.set)(options, value).ok_or(Problem::BadValue(form)),
    }
}

/// A word of the command line that was ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warning<'line> {
    word: &'line [u8],
    problem: Problem,
}

/// Why a word was ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    Unknown,
    UnwantedValue,
    NoValue(ValueForm),
    BadValue(ValueForm),
}

impl Finding for Warning<'_> {
    fn is_like(&self, other: &Self) -> bool {
        discriminant(&self.problem) == discriminant(&other.problem)
    }
}

impl Warning<'_> {
    /// Returns the word as the line has it.
    pub fn word(&self) -> &[u8] {
        self.word
    }
}

impl fmt::Display for Warning<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.word[..self.word.len().min(SHOWN_BYTES)];
        let dots = if shown.len() < self.word.len() { "..." } else { "" };
        write!(f, "command line: '{}{dots}' is ignored: ", shown.escape_ascii())?;
        match self.problem {
            Problem::Unknown => {
                f.write_str("no such word; known are")?;
                WORDS.iter().enumerate().try_for_each(|(index, known)| {
                    let separator = if index == 0 { " " } else { ", " };
                    write!(f, "{separator}{}", known.name)
                })
            }
            Problem::UnwantedValue => f.write_str("the word takes no value"),
            Problem::NoValue(form) => write!(f, "the word needs {form}"),
            Problem::BadValue(form) => write!(f, "accepted is {form}"),
        }
    }
}

#[cfg(test)]
mod tests;
