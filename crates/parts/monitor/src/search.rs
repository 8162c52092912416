//! [`Search`]: a pattern, looked for in the history.

use crate::history::History;
use crate::text::{Text, characters};
use crate::view::columns_of;

/// The longest pattern, in bytes: with the words around it a prompt that leaves room for the line.
const PATTERN_BYTES: usize = 24;

/// The pattern of a search.
#[derive(Default)]
pub(crate) struct Search {
    bytes: [u8; PATTERN_BYTES],
    length: usize,
}

impl Search {
    pub(crate) fn pattern(&self) -> &str {
        characters(&self.bytes[..self.length])
    }

    pub(crate) fn prompt(&self) -> Text<{ PATTERN_BYTES + 16 }> {
        Text::of(format_args!("(search '{}') ", self.pattern()))
    }

    /// Adds a character; tells whether it fits.
    pub(crate) fn push(&mut self, character: char) -> bool {
        let fits = columns_of(character).is_some() && self.length + character.len_utf8() <= PATTERN_BYTES;
        if fits {
            character.encode_utf8(&mut self.bytes[self.length..]);
            self.length += character.len_utf8();
        }
        fits
    }

    /// Takes the last character off; tells whether there was one.
    pub(crate) fn pop(&mut self) -> bool {
        let last = self.pattern().chars().next_back();
        self.length -= last.map_or(0, char::len_utf8);
        last.is_some()
    }

    /// Finds the newest line of at least `age` that holds the pattern: its age, the line, and where the match begins.
    pub(crate) fn find<'history>(
        &self,
        history: &'history History,
        age: usize,
    ) -> Option<(usize, &'history str, usize)> {
        history
            .newest_first()
            .enumerate()
            .skip(age)
            .find_map(|(age, line)| Some((age, line, line.find(self.pattern())?)))
    }
}
