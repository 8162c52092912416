//! A command and its surroundings.

use core::fmt::{self, Write};
use core::marker::PhantomData;
use core::str::SplitAsciiWhitespace;

use rhumb_module_abi::types::{Out, Text};

use crate::imports;
use crate::text::Line;

/// The longest text of an error: it is to fit on a line of the prompt.
const FAILURE_BYTES: usize = 104;

/// The words behind a command's name, one by one.
#[derive(Clone, Debug)]
pub struct Arguments<'line>(SplitAsciiWhitespace<'line>);

impl<'line> Arguments<'line> {
    /// Returns the words of a text.
    pub fn new(text: &'line str) -> Self {
        Self(text.split_ascii_whitespace())
    }

    /// Returns the next word as a number, decimal or after `0x` hexadecimal; `None` where no word is left.
    ///
    /// # Errors
    /// The word is no number.
    pub fn number(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        let Some(word) = self.next() else { return Ok(None) };
        let parsed = match word.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => word.parse(),
        };
        parsed.map(Some).map_err(|_| Failure::new(format_args!("{name}: '{word}' is not a number")))
    }

    /// Returns the next word as a size in bytes: a number, then nothing, K, M, G or T; `None` where no word is left.
    ///
    /// # Errors
    /// The word is no size.
    pub fn size(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        let Some(word) = self.next() else { return Ok(None) };
        let digits = word.trim_end_matches(['K', 'M', 'G', 'T']);
        let shift = match &word[digits.len()..] {
            "" => Some(0),
            "K" => Some(10),
            "M" => Some(20),
            "G" => Some(30),
            "T" => Some(40),
            _ => None,
        };
        let parsed =
            digits.parse::<u64>().ok().zip(shift).and_then(|(number, shift)| number.checked_mul(1 << shift));
        parsed.map(Some).ok_or_else(|| {
            Failure::new(format_args!("{name}: '{word}' is not a size (such as 4096, 64K, 2M, 1G, 1T)"))
        })
    }

    /// Fails if a word is left.
    ///
    /// # Errors
    /// A word is left.
    pub fn end(mut self) -> Result<(), Failure> {
        match self.next() {
            None => Ok(()),
            Some(word) => Err(Failure::new(format_args!("'{word}' is one argument too many"))),
        }
    }
}

impl<'line> Iterator for Arguments<'line> {
    type Item = &'line str;

    fn next(&mut self) -> Option<&'line str> {
        self.0.next()
    }
}

/// Where a command prints, for as long as it runs.
#[derive(Debug)]
pub struct Output<'call> {
    out: *mut Out,
    call: PhantomData<&'call mut Out>,
}

impl Output<'_> {
    /// Returns the place where the running command prints.
    ///
    /// # Safety
    /// `out` is what the kernel has given the command that runs, and is used by no other value.
    pub(crate) unsafe fn new(out: *mut Out) -> Self {
        Self { out, call: PhantomData }
    }

    /// Prints a line.
    pub fn line(&mut self, text: fmt::Arguments<'_>) {
        // Writing to the console does not fail.
        let _ = self.write_fmt(text);
        let _ = self.write_str("\n");
    }

    /// Tells whether a person wants the command to end: a loop asks, and returns [`Failure::Interrupted`].
    pub fn interrupted(&self) -> bool {
        // SAFETY: the pointer is the running command's.
        unsafe { imports::rhumb_is_interrupted(self.out) }
    }

    /// Leaves the text of an error, and returns the number that says so.
    pub(crate) fn fail(&mut self, failure: &Failure) -> u32 {
        match failure {
            Failure::Interrupted => 2,
            Failure::Because(text) => {
                // SAFETY: the pointer is the running command's, and the text lives as long as the call.
                unsafe { imports::rhumb_fail(self.out, Text::lent(text.as_str())) };
                1
            }
        }
    }
}

impl Write for Output<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: the pointer is the running command's, and the text lives as long as the call.
        unsafe { imports::rhumb_write(self.out, Text::lent(text)) };
        Ok(())
    }
}

/// Why a command, or a start, did not do its work.
pub enum Failure {
    /// A person has ended it.
    Interrupted,
    /// Because of this, in one line.
    #[doc(hidden)]
    Because(Reason),
}

/// A reason in a line.
#[doc(hidden)]
pub struct Reason(Line<FAILURE_BYTES>);

impl Reason {
    fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Failure {
    /// Makes the failure of a command that could not do its work, for this reason: one line, without the command's name.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self::Because(Reason(Line::of(reason)))
    }
}
