//! [`Batch`]: lines from something that is not a person: no echo, no prompt, no keys.

use crate::line::LINE_BYTES;

/// End of input, as a terminal sends it.
const END_OF_TRANSMISSION: u8 = 0x04;

/// The effect of a byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BatchEvent {
    /// The line goes on.
    Pending,
    /// A line is complete: read [`Batch::line`].
    Line,
    /// The input is at its end; no newline ended the text that [`Batch::line`] holds.
    End,
}

/// Why a line cannot be run. Half of it is never run instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineError {
    /// It has more than [`LINE_BYTES`] bytes.
    TooLong,
    /// It is not UTF-8.
    NotUtf8,
}

impl core::fmt::Display for LineError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TooLong => write!(f, "longer than {LINE_BYTES} bytes, not run"),
            Self::NotUtf8 => f.write_str("not UTF-8, not run"),
        }
    }
}

impl core::error::Error for LineError {}

/// Cuts bytes into lines at LF, CR or CR LF; EOT (0x04) ends the input.
pub struct Batch {
    bytes: [u8; LINE_BYTES],
    /// Also counts what did not fit.
    length: usize,
    is_complete: bool,
    last_was_return: bool,
}

impl Batch {
    /// Makes a reader at the start of the input.
    pub const fn new() -> Self {
        Self { bytes: [0; LINE_BYTES], length: 0, is_complete: false, last_was_return: false }
    }

    /// Takes one byte. A complete line is forgotten with the next one.
    pub fn feed(&mut self, byte: u8) -> BatchEvent {
        if core::mem::take(&mut self.is_complete) {
            self.length = 0;
        }
        let follows_return = core::mem::replace(&mut self.last_was_return, byte == b'\r');
        match byte {
            b'\n' if follows_return => return BatchEvent::Pending,
            b'\n' | b'\r' | END_OF_TRANSMISSION => self.is_complete = true,
            _ => {
                if let Some(slot) = self.bytes.get_mut(self.length) {
                    *slot = byte;
                }
                self.length = self.length.saturating_add(1);
                return BatchEvent::Pending;
            }
        }
        if byte == END_OF_TRANSMISSION { BatchEvent::End } else { BatchEvent::Line }
    }

    /// Returns the line as far as it has come.
    pub fn line(&self) -> Result<&str, LineError> {
        let bytes = self.bytes.get(..self.length).ok_or(LineError::TooLong)?;
        core::str::from_utf8(bytes).map_err(|_| LineError::NotUtf8)
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}
