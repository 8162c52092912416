//! [`History`]: the lines that were run, newest last, in a fixed number of bytes.
//!
//! Lines lie one behind the other, each ended by `\n`; when a new one needs room, the oldest are moved out. Keeping
//! them in one piece instead of around the end of a ring costs one copy of a few KiB per line typed by a person,
//! and buys that every entry is a plain `&str`.

use crate::text::characters;

/// The bytes kept: some 200 commands of usual length.
pub(crate) const HISTORY_BYTES: usize = 4096;

/// The lines that were run.
pub(crate) struct History {
    bytes: [u8; HISTORY_BYTES],
    length: usize,
}

impl History {
    /// Makes a history without lines.
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; HISTORY_BYTES], length: 0 }
    }

    /// Adds `line` as the newest, and drops the oldest while there is no room. A blank line, a repeat of the newest
    /// and a line too long for the whole history are not kept.
    pub(crate) fn push(&mut self, line: &str) {
        let needed = line.len() + 1;
        if line.trim().is_empty()
            || line.contains('\n')
            || needed > HISTORY_BYTES
            || self.get(0) == Some(line)
        {
            return;
        }
        let mut dropped = 0;
        while self.length - dropped + needed > HISTORY_BYTES {
            dropped += self.text()[dropped..].find('\n').map_or(self.length - dropped, |end| end + 1);
        }
        self.bytes.copy_within(dropped..self.length, 0);
        self.length -= dropped;
        self.bytes[self.length..self.length + line.len()].copy_from_slice(line.as_bytes());
        self.length += needed;
        self.bytes[self.length - 1] = b'\n';
    }

    /// Returns the line `age` steps back: 0 is the newest.
    pub(crate) fn get(&self, age: usize) -> Option<&str> {
        self.newest_first().nth(age)
    }

    /// Returns all lines, newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &str> {
        self.text().split_terminator('\n').rev()
    }

    fn text(&self) -> &str {
        characters(&self.bytes[..self.length])
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}
