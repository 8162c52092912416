//! A terminal in raw mode, for as long as a guard lives.
//!
//! Keys go to the kernel one by one, unechoed; Ctrl-C is a key, too, and the kernel's. The kernel's output is still
//! translated (`\n` to `\r\n`), so that this tool's own messages look right in between.

use std::io::{IsTerminal, stdin};

use anyhow::{Context, Result};
use rustix::termios::{self, InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios};

/// The terminal as it was before; it is that again when this is dropped, which a panic does, too.
pub(crate) struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// Makes standard input raw; `None` where it is no terminal.
    ///
    /// # Errors
    /// The terminal refuses.
    pub(crate) fn enter() -> Result<Option<Self>> {
        if !stdin().is_terminal() {
            return Ok(None);
        }
        let before = termios::tcgetattr(stdin()).context("the terminal's modes cannot be read")?;
        let mut raw = before.clone();
        raw.input_modes -= InputModes::ICRNL | InputModes::INLCR | InputModes::IGNCR | InputModes::IXON;
        raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        termios::tcsetattr(stdin(), OptionalActions::Now, &raw).context("the terminal cannot be made raw")?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // If this fails, there is no terminal left to tell it to.
        let _ = termios::tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}
