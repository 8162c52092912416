//! Searching the history backwards (Ctrl-R), a state of the [`Editor`].

use crate::editor::Editor;
use crate::keys::Key;
use crate::output::Output;
use crate::text::Text;
use crate::view::columns_of;

/// The longest pattern, in bytes: with the words around it a prompt that leaves room for the line.
const PATTERN_BYTES: usize = 24;

/// What is looked for.
pub(crate) struct Search {
    bytes: [u8; PATTERN_BYTES],
    length: usize,
}

impl Search {
    pub(crate) fn pattern(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }

    pub(crate) fn prompt(&self) -> Text<{ PATTERN_BYTES + 16 }> {
        Text::of(format_args!("(search '{}') ", self.pattern()))
    }

    fn push(&mut self, character: char) -> bool {
        let fits = columns_of(character).is_some() && self.length + character.len_utf8() <= PATTERN_BYTES;
        if fits {
            character.encode_utf8(&mut self.bytes[self.length..]);
            self.length += character.len_utf8();
        }
        fits
    }

    fn pop(&mut self) -> bool {
        let last = self.pattern().chars().next_back();
        self.length -= last.map_or(0, char::len_utf8);
        last.is_some()
    }
}

impl Editor {
    pub(crate) fn begin_search(&mut self, out: &mut dyn Output) {
        if self.shown_age.is_none() {
            self.draft = self.line.clone();
        }
        self.search = Some(Search { bytes: [0; PATTERN_BYTES], length: 0 });
        self.repaint(out);
    }

    /// Takes a key while a search is on. A key that is none of the search's ends it, keeps the line that was found,
    /// and is handed back to do there what it always does.
    pub(crate) fn search_key(&mut self, key: Key, out: &mut dyn Output) -> Option<Key> {
        let Some(search) = &mut self.search else { return Some(key) };
        let is_done = match key {
            Key::Char(character) => {
                search.push(character) && {
                    let found = self.find(self.shown_age.unwrap_or(0));
                    // What is not there cannot be typed: the pattern always matches what is shown.
                    if !found {
                        self.search.as_mut().map(Search::pop);
                    }
                    found
                }
            }
            Key::Search => self.find(self.shown_age.map_or(0, |age| age + 1)),
            Key::Backspace => search.pop() && self.find(0),
            Key::Cancel | Key::Interrupt => {
                self.search = None;
                self.shown_age = None;
                self.line = self.draft.clone();
                true
            }
            _ => {
                self.search = None;
                self.repaint(out);
                return Some(key);
            }
        };
        self.changed(is_done, out);
        None
    }

    /// Shows the newest line of at least `age` that holds the pattern, cursor on the match.
    fn find(&mut self, age: usize) -> bool {
        let Some(search) = &self.search else { return false };
        let pattern = search.pattern();
        let matching = |line: &str| line.find(pattern);
        let found = self.history.newest_first().enumerate().skip(age).find_map(|(age, line)| {
            let position = matching(line)?;
            self.line.set(line);
            Some((age, position))
        });
        if let Some((age, position)) = found {
            self.shown_age = Some(age);
            self.line.move_to(position);
        }
        found.is_some()
    }
}
