//! [`Line`]: the text being edited and the cursor in it.
//!
//! Invariant: `bytes[..length]` is UTF-8 and `cursor` is at the start of a character. Every change keeps it, because
//! every change goes through [`Line::insert`], [`Line::remove`] or [`Line::set`], which take whole characters.
//!
//! Two kinds of word, as in readline: a *word* is a run of letters, digits and `_` (so that Meta-B stops within
//! `phys:1000`), a *blank word* is a run of anything but white space (what Ctrl-W takes away).

use core::ops::Range;

use crate::text::characters;

/// The longest line, in bytes: what fits on a dozen rows of a screen, and far more than a command needs.
pub const LINE_BYTES: usize = 512;

/// A line of at most [`LINE_BYTES`] bytes with a cursor.
#[derive(Clone)]
pub(crate) struct Line {
    bytes: [u8; LINE_BYTES],
    length: usize,
    cursor: usize,
    /// A character that was typed did not fit, and is lost: the line is not what was meant.
    is_cut: bool,
}

impl Line {
    /// Returns the empty line.
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; LINE_BYTES], length: 0, cursor: 0, is_cut: false }
    }

    /// Returns its characters.
    pub(crate) fn as_str(&self) -> &str {
        characters(&self.bytes[..self.length])
    }

    /// Returns the characters before the cursor.
    pub(crate) fn before(&self) -> &str {
        &self.as_str()[..self.cursor]
    }

    /// Returns the characters from the cursor on.
    pub(crate) fn after(&self) -> &str {
        &self.as_str()[self.cursor..]
    }

    /// Returns where the cursor is, in bytes from the start.
    pub(crate) const fn cursor(&self) -> usize {
        self.cursor
    }

    /// Tells whether there is no character.
    pub(crate) const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Forgets everything.
    pub(crate) const fn clear(&mut self) {
        self.length = 0;
        self.cursor = 0;
        self.is_cut = false;
    }

    /// Tells whether a character that was typed is missing. An empty line is a new one.
    pub(crate) const fn is_cut(&self) -> bool {
        self.is_cut && self.length > 0
    }

    /// Remembers that a character that was typed did not fit.
    pub(crate) const fn note_cut(&mut self) {
        self.is_cut = true;
    }

    /// Replaces everything by `text`, cut at a character where it is too long, cursor at the end.
    pub(crate) fn set(&mut self, text: &str) {
        let mut length = text.len().min(LINE_BYTES);
        while !text.is_char_boundary(length) {
            length -= 1;
        }
        self.bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
        self.length = length;
        self.cursor = length;
        self.is_cut = false;
    }

    /// Inserts `text` at the cursor and moves behind it; all of it or, where it does not fit, nothing (`false`).
    pub(crate) fn insert(&mut self, text: &str) -> bool {
        if self.length + text.len() > LINE_BYTES {
            return false;
        }
        self.bytes.copy_within(self.cursor..self.length, self.cursor + text.len());
        self.bytes[self.cursor..self.cursor + text.len()].copy_from_slice(text.as_bytes());
        self.length += text.len();
        self.cursor += text.len();
        true
    }

    /// Removes the bytes of `range`, which begins and ends at characters, and puts the cursor where they were.
    pub(crate) fn remove(&mut self, range: Range<usize>) {
        self.bytes.copy_within(range.end..self.length, range.start);
        self.length -= range.len();
        self.cursor = range.start;
        self.is_cut = self.is_cut();
    }

    /// Moves the cursor to `position`, which is at a character: one of the positions that this line named.
    pub(crate) const fn move_to(&mut self, position: usize) {
        self.cursor = position;
    }

    /// Returns one past the last character.
    pub(crate) const fn end(&self) -> usize {
        self.length
    }

    /// Returns one character before the cursor, or the start.
    pub(crate) fn left(&self) -> usize {
        self.before().char_indices().next_back().map_or(0, |(index, _)| index)
    }

    /// Returns one character after the cursor, or the end.
    pub(crate) fn right(&self) -> usize {
        self.cursor + self.after().chars().next().map_or(0, char::len_utf8)
    }

    /// Returns the start of the word before the cursor.
    pub(crate) fn word_left(&self) -> usize {
        let words = self.before().trim_end_matches(|character| !is_word(character));
        words.trim_end_matches(is_word).len()
    }

    /// Returns the end of the word after the cursor.
    pub(crate) fn word_right(&self) -> usize {
        let words = self.after().trim_start_matches(|character| !is_word(character));
        self.length - words.trim_start_matches(is_word).len()
    }

    /// Returns the start of the blank word before the cursor.
    pub(crate) fn blank_word_left(&self) -> usize {
        let words = self.before().trim_end_matches(char::is_whitespace);
        words.trim_end_matches(|character: char| !character.is_whitespace()).len()
    }

    /// Swaps the characters around the cursor and moves behind them; at the end, the last two. `false` where there
    /// are no two.
    pub(crate) fn transpose(&mut self) -> bool {
        let cursor = self.cursor;
        if cursor == self.length {
            self.cursor = self.left();
        }
        let (Some(first), Some(second)) = (self.before().chars().next_back(), self.after().chars().next())
        else {
            self.cursor = cursor;
            return false;
        };
        let start = self.cursor - first.len_utf8();
        second.encode_utf8(&mut self.bytes[start..]);
        first.encode_utf8(&mut self.bytes[start + second.len_utf8()..]);
        self.cursor += second.len_utf8();
        true
    }
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}
