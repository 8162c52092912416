//! One line that names the step that takes so long.
//!
//! On a terminal it is one line, updated in place and gone when the step ends. Elsewhere (a log, a pipe) it is one
//! plain line when the step turns out to be a long one. A step that has nothing to do prints nothing.

use std::io::{IsTerminal, Write, stderr};
use std::time::Instant;

/// A step that may take long.
pub(crate) struct Progress {
    what: String,
    started: Instant,
    terminal: bool,
    announced: bool,
}

impl Progress {
    /// Returns a step called `what`; silent until [`Progress::update`] is called.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            started: Instant::now(),
            terminal: stderr().is_terminal(),
            announced: false,
        }
    }

    /// Shows the part of the step that runs just now.
    pub(crate) fn update(&mut self, detail: &str) {
        let mut err = stderr().lock();
        // Progress is a courtesy: a closed standard error is no reason to stop.
        let _ = if self.terminal {
            let seconds = self.started.elapsed().as_secs();
            let line: String = format!("{} ({seconds} s): {detail}", self.what).chars().take(100).collect();
            write!(err, "\r\x1b[K{line}")
        } else if !self.announced {
            writeln!(err, "{} ...", self.what)
        } else {
            Ok(())
        };
        let _ = err.flush();
        self.announced = true;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal && self.announced {
            let mut err = stderr().lock();
            let _ = write!(err, "\r\x1b[K");
            let _ = err.flush();
        }
    }
}

/// Returns `text` without ANSI escape sequences.
pub(crate) fn plain(text: &str) -> String {
    let mut visible = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\x1b' {
            characters.by_ref().find(char::is_ascii_alphabetic);
        } else {
            visible.push(character);
        }
    }
    visible
}
