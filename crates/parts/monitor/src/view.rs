//! [`View`]: one line of text on one row of a terminal.
//!
//! ```text
//!  column 0                                                    columns - 1
//!  | prompt      |<| visible part of the line               |>| (left empty)
//!                 ^ only where text is hidden on that side   ^
//! ```
//!
//! A line wider than its room scrolls sideways instead of wrapping: wrapping depends on how a terminal treats its
//! last column, and none is relied on here (that column only ever holds the cursor). Needs of the terminal: CR, BS,
//! `CSI n C` and `CSI K`. Cost: a character typed at the end is sent alone; other changes send the row anew.

use unicode_width::UnicodeWidthChar;

use crate::line::Line;
use crate::output::Output;

/// The columns of a terminal whose width is not known.
pub(crate) const DEFAULT_COLUMNS: usize = 80;

/// The least room for the line beside the prompt: enough that a scroll by a quarter shows a wide character whole.
const LEAST_ROOM: usize = 24;

/// Which part of a line is on the screen.
pub(crate) struct View {
    columns: usize,
    /// The byte at which the visible part begins.
    first: usize,
}

/// Returns the columns that `character` takes on a terminal, or `None` for one that cannot fill a cell alone (controls,
/// combining marks): the editor refuses those, so that each position of the cursor can be seen.
pub(crate) fn columns_of(character: char) -> Option<usize> {
    character.width().filter(|&width| width > 0)
}

/// Returns the columns that `text` takes.
pub(crate) fn width(text: &str) -> usize {
    text.chars().filter_map(columns_of).sum()
}

impl View {
    pub(crate) const fn new() -> Self {
        Self { columns: DEFAULT_COLUMNS, first: 0 }
    }

    pub(crate) const fn set_columns(&mut self, columns: usize) {
        self.columns = columns;
    }

    pub(crate) const fn columns(&self) -> usize {
        self.columns
    }

    /// Returns the columns for the line, its marks included.
    fn room(&self, prompt: &str) -> usize {
        self.columns.saturating_sub(1 + width(prompt)).max(LEAST_ROOM)
    }

    /// Writes the row anew and places the cursor.
    pub(crate) fn repaint(&mut self, prompt: &str, line: &Line, out: &mut dyn Output) {
        let room = self.room(prompt);
        self.scroll(room, line);
        let visible = &line.as_str()[self.first..];
        let left_mark = if self.first > 0 { "<" } else { "" };
        let (shown, right_mark) = match left_mark.len() + width(visible) {
            whole if whole <= room => (visible, ""),
            _ => (head(visible, room - left_mark.len() - 1), ">"),
        };
        write!(out, "\r{prompt}{left_mark}{shown}{right_mark}\x1b[K");
        self.place(prompt, line, out);
    }

    /// Moves the cursor to its place on a row that is right otherwise; repaints where the line must scroll for it.
    pub(crate) fn follow(&mut self, prompt: &str, line: &Line, out: &mut dyn Output) {
        let first = self.first;
        self.scroll(self.room(prompt), line);
        if self.first == first {
            self.place(prompt, line, out);
        } else {
            self.repaint(prompt, line, out);
        }
    }

    /// Shows the character that was just inserted before the cursor.
    pub(crate) fn inserted(&mut self, prompt: &str, line: &Line, character: char, out: &mut dyn Output) {
        let (first, room) = (self.first, self.room(prompt));
        self.scroll(room, line);
        if line.cursor() == line.end() && self.first == first {
            out.write_str(character.encode_utf8(&mut [0; 4]));
        } else {
            self.repaint(prompt, line, out);
        }
    }

    fn place(&self, prompt: &str, line: &Line, out: &mut dyn Output) {
        let column = width(prompt) + usize::from(self.first > 0) + width(&line.before()[self.first..]);
        out.write_str("\r");
        if column > 0 {
            write!(out, "\x1b[{column}C");
        }
    }

    /// Chooses the visible part: all of the line where it fits; else what is visible already, if the cursor and the
    /// character under it are; else a part with the cursor three quarters in (a quarter, if it left on the left).
    fn scroll(&mut self, room: usize, line: &Line) {
        if width(line.as_str()) <= room {
            self.first = 0;
            return;
        }
        let left_it = self.first > 0 && line.cursor() <= self.first;
        // Another line may have come in the place of the one that was scrolled.
        if !left_it && line.as_str().is_char_boundary(self.first) {
            let mark = usize::from(self.first > 0);
            let shows_end = mark + width(&line.as_str()[self.first..]) <= room;
            let needed = mark + width(&line.as_str()[self.first..line.right()]);
            if shows_end || needed < room {
                return;
            }
        }
        let wanted = if left_it { room / 4 } else { room * 3 / 4 };
        let mut columns = 0;
        self.first = 0;
        for (index, character) in line.before().char_indices().rev() {
            columns += columns_of(character).unwrap_or(0);
            if columns >= wanted {
                self.first = index;
                break;
            }
        }
    }
}

/// Returns the start of `text` that fits in `columns`.
fn head(text: &str, columns: usize) -> &str {
    let mut left = columns;
    let end = text.char_indices().find(|&(_, character)| {
        match left.checked_sub(columns_of(character).unwrap_or(0)) {
            Some(rest) => left = rest,
            None => return true,
        }
        false
    });
    end.map_or(text, |(index, _)| &text[..index])
}
