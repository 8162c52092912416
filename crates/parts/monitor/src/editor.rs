//! [`Editor`]: the line editor, fed byte by byte.
//!
//! | keys | do |
//! |---|---|
//! | arrows, Ctrl-B Ctrl-F, Home End, Ctrl-A Ctrl-E, Meta-B Meta-F, Ctrl-Left Ctrl-Right | move |
//! | Backspace, Ctrl-H, Delete, Ctrl-D, Ctrl-K, Ctrl-U, Ctrl-W, Meta-D, Meta-Backspace | delete |
//! | Ctrl-Y, Ctrl-T | insert what was deleted last, swap two characters |
//! | Up Down, Ctrl-P Ctrl-N | older and newer lines; below the newest is the line that was being typed |
//! | Ctrl-R | search the history: type to narrow, Ctrl-R for older, Ctrl-G to leave, other keys take the line |
//! | Tab, Tab Tab | complete, list what is possible |
//! | Ctrl-L, Ctrl-C, Ctrl-D on an empty line | clear the screen, abandon the line, end the input |
//!
//! A change to a line of the history lasts until it is run or left. A key that can do nothing rings the bell. A line of
//! which characters did not fit is never run: pasted text is run whole or not at all.

use crate::batch::LineError;
use crate::complete::{Agreement, Completer, word_start};
use crate::history::History;
use crate::keys::{Key, KeyDecoder};
use crate::line::Line;
use crate::output::Output;
use crate::search::Search;
use crate::view::{View, columns_of};

const BELL: &str = "\x07";

/// The effect of a byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The line is still being edited.
    Pending,
    /// The line is complete: read [`Editor::line`], then call [`Editor::begin`].
    Line,
    /// Ctrl-C: the line was abandoned. Call [`Editor::begin`].
    Abandoned,
    /// Ctrl-D on an empty line.
    EndOfInput,
}

/// A line editor with history: about 6.5 KiB, usable in a `static`.
pub struct Editor {
    prompt: &'static str,
    decoder: KeyDecoder,
    pub(crate) line: Line,
    history: History,
    view: View,
    killed: Line,
    /// The line being typed, while another one is shown.
    draft: Line,
    /// Which line of the history is shown (0 is the newest).
    shown_age: Option<usize>,
    pub(crate) search: Option<Search>,
    last_was_tab: bool,
}

impl Editor {
    /// Returns an editor with this prompt, which is one row of plain characters.
    pub const fn new(prompt: &'static str) -> Self {
        Self {
            prompt,
            decoder: KeyDecoder::new(),
            line: Line::new(),
            history: History::new(),
            view: View::new(),
            killed: Line::new(),
            draft: Line::new(),
            shown_age: None,
            search: None,
            last_was_tab: false,
        }
    }

    /// Sets how wide the terminal is; 80 columns until then.
    pub const fn set_columns(&mut self, columns: usize) {
        self.view.set_columns(columns);
    }

    /// Returns the line as it is now.
    ///
    /// # Errors
    /// More was typed than a line has room for.
    pub fn line(&self) -> Result<&str, LineError> {
        if self.line.is_cut() { Err(LineError::TooLong) } else { Ok(self.line.as_str()) }
    }

    /// Begins a new line: shows the prompt.
    pub fn begin(&mut self, out: &mut dyn Output) {
        self.line.clear();
        self.draft.clear();
        self.shown_age = None;
        self.search = None;
        self.last_was_tab = false;
        self.repaint(out);
    }

    /// Takes the prompt and the line off the screen, so that others can print; [`Editor::repaint`] brings them back.
    pub fn erase(&self, out: &mut dyn Output) {
        out.write_str("\r\x1b[K");
    }

    /// Shows the prompt and the line, on the row where the cursor is.
    pub fn repaint(&mut self, out: &mut dyn Output) {
        match &self.search {
            Some(search) => self.view.repaint(search.prompt().as_str(), &self.line, out),
            None => self.view.repaint(self.prompt, &self.line, out),
        }
    }

    /// Takes one byte from the terminal, and shows on `out` what it does.
    pub fn feed(&mut self, byte: u8, completer: &dyn Completer, out: &mut dyn Output) -> Event {
        let Some(mut key) = self.decoder.decode(byte) else { return Event::Pending };
        if self.search.is_some() {
            match self.search_key(key, out) {
                Some(other) => key = other,
                None => return Event::Pending,
            }
        }
        let repeats_tab = core::mem::replace(&mut self.last_was_tab, key == Key::Tab);
        match key {
            Key::Enter => return self.finish("\n", Event::Line, out),
            Key::Interrupt => return self.finish("^C\n", Event::Abandoned, out),
            Key::EndOrDelete if self.line.is_empty() => return self.finish("\n", Event::EndOfInput, out),
            Key::Char(character) => self.type_character(character, out),
            Key::Tab => self.complete(completer, repeats_tab, out),
            Key::Search => self.begin_search(out),
            Key::ClearScreen => {
                out.write_str("\x1b[H\x1b[2J");
                self.repaint(out);
            }
            Key::Up => self.show_history(self.shown_age.map_or(Some(0), |age| age.checked_add(1)), out),
            Key::Down if self.shown_age.is_none() => out.write_str(BELL),
            Key::Down => self.show_history(self.shown_age.and_then(|age| age.checked_sub(1)), out),
            Key::Left => self.move_to(self.line.left(), out),
            Key::Right => self.move_to(self.line.right(), out),
            Key::WordLeft => self.move_to(self.line.word_left(), out),
            Key::WordRight => self.move_to(self.line.word_right(), out),
            Key::Home => self.move_to(0, out),
            Key::End => self.move_to(self.line.end(), out),
            Key::Backspace => self.delete(self.line.left(), self.line.cursor(), out),
            Key::Delete | Key::EndOrDelete => self.delete(self.line.cursor(), self.line.right(), out),
            Key::KillToEnd => self.kill(self.line.cursor(), self.line.end(), out),
            Key::KillToStart => self.kill(0, self.line.cursor(), out),
            Key::KillBlankWord => self.kill(self.line.blank_word_left(), self.line.cursor(), out),
            Key::KillWordLeft => self.kill(self.line.word_left(), self.line.cursor(), out),
            Key::KillWordRight => self.kill(self.line.cursor(), self.line.word_right(), out),
            Key::Yank => {
                let done = self.line.insert(self.killed.as_str());
                self.changed(done, out);
            }
            Key::Transpose => {
                let done = self.line.transpose();
                self.changed(done, out);
            }
            Key::Cancel | Key::Unknown => out.write_str(BELL),
        }
        Event::Pending
    }

    /// Leaves the line on the screen, whole as far as it fits, with `ending` behind it.
    fn finish(&mut self, ending: &str, event: Event, out: &mut dyn Output) -> Event {
        if event == Event::Line && !self.line.is_cut() {
            self.history.push(self.line.as_str());
        }
        self.line.move_to(self.line.end());
        self.view.follow(self.prompt, &self.line, out);
        out.write_str(ending);
        event
    }

    fn type_character(&mut self, character: char, out: &mut dyn Output) {
        if columns_of(character).is_none() {
            out.write_str(BELL);
        } else if self.line.insert(character.encode_utf8(&mut [0; 4])) {
            self.view.inserted(self.prompt, &self.line, character, out);
        } else {
            self.line.note_cut();
            out.write_str(BELL);
        }
    }

    fn move_to(&mut self, position: usize, out: &mut dyn Output) {
        let moves = position != self.line.cursor();
        self.line.move_to(position);
        if moves {
            self.view.follow(self.prompt, &self.line, out);
        } else {
            out.write_str(BELL);
        }
    }

    fn delete(&mut self, start: usize, end: usize, out: &mut dyn Output) {
        self.line.remove(start..end);
        self.changed(start < end, out);
    }

    fn kill(&mut self, start: usize, end: usize, out: &mut dyn Output) {
        if start < end {
            self.killed.set(&self.line.as_str()[start..end]);
        }
        self.delete(start, end, out);
    }

    /// Shows a change of the whole line, or rings the bell where there was none.
    fn changed(&mut self, is_done: bool, out: &mut dyn Output) {
        if is_done { self.repaint(out) } else { out.write_str(BELL) }
    }

    /// Shows the line of this age, or the draft for `None`.
    fn show_history(&mut self, age: Option<usize>, out: &mut dyn Output) {
        match age.map(|age| self.history.get(age)) {
            Some(None) => return out.write_str(BELL),
            Some(Some(entry)) => {
                if self.shown_age.is_none() {
                    self.draft = self.line.clone();
                }
                self.line.set(entry);
            }
            None => self.line = self.draft.clone(),
        }
        self.shown_age = age;
        self.repaint(out);
    }

    fn complete(&mut self, completer: &dyn Completer, is_second: bool, out: &mut dyn Output) {
        let (before, prefix) = self.line.before().split_at(word_start(self.line.before()));
        let found = Agreement::of(completer, before, prefix);
        let addition = found.common().get(prefix.len()..).unwrap_or_default();
        let ending = if found.count() == 1 && self.line.after().is_empty() { " " } else { "" };
        if found.count() == 0 {
            out.write_str(BELL);
        } else if addition.is_empty() && ending.is_empty() {
            if is_second {
                found.list(completer, before, prefix, self.view.columns(), out);
                self.repaint(out);
            } else {
                out.write_str(BELL);
            }
        } else if !addition.is_empty() && self.line.after().starts_with(addition) {
            // Within a word that is complete already: go behind it instead of writing its end twice.
            self.move_to(self.line.cursor() + addition.len(), out);
        } else {
            let done = self.line.insert(addition) && self.line.insert(ending);
            self.changed(done, out);
        }
    }

    fn begin_search(&mut self, out: &mut dyn Output) {
        if self.shown_age.is_none() {
            self.draft = self.line.clone();
        }
        self.search = Some(Search::default());
        self.repaint(out);
    }

    /// Takes a key while a search is on. A key that is none of the search's ends it, keeps the line that was found,
    /// and is handed back to do there what it always does.
    fn search_key(&mut self, key: Key, out: &mut dyn Output) -> Option<Key> {
        let Some(search) = &mut self.search else { return Some(key) };
        let is_done = match key {
            Key::Char(character) => {
                search.push(character) && {
                    let found = self.find(self.shown_age.unwrap_or(0));
                    // A pattern without a match cannot be typed, so the pattern always matches the shown line.
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

    /// Shows the newest line of at least `age` that holds the pattern, cursor on the match; tells whether there is one.
    fn find(&mut self, age: usize) -> bool {
        let found = self.search.as_ref().and_then(|search| search.find(&self.history, age));
        let Some((age, line, position)) = found else { return false };
        self.line.set(line);
        self.line.move_to(position);
        self.shown_age = Some(age);
        true
    }
}
