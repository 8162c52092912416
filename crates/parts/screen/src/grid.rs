//! [`Grid`]: the text of a screen, in ordinary memory.
//!
//! ```text
//!   cells   | row 2 | row 3 | row 4 | row 0 | row 1 |      the rows are a ring: a scroll moves `top`
//!                                   ^ top                   and blanks one row
//! ```
//!
//! The cursor is at a cell of the grid. A character in the last column leaves it there, and the next character begins
//! a new row first, as on every terminal since the VT100: a line that is exactly as wide as the screen takes one row.
//!
//! Each change marks its row; `Grid::take_mark` gives the marks to the code that draws. A grid without columns or
//! rows, before there is a screen, takes text and keeps none.

use unicode_width::UnicodeWidthChar;

use crate::cell::Cell;
use crate::colour::Style;

/// The most columns that are used of a screen.
pub const MAX_COLUMNS: usize = 384;
/// The most rows that are used of a screen.
pub const MAX_ROWS: usize = 96;
/// The most cells that are used of a screen: all of a 4K screen's 18,358.
pub const MAX_CELLS: usize = 20 << 10;

const TAB_COLUMNS: usize = 8;

/// A place on the screen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    /// From the top, from 0.
    pub row: usize,
    /// From the left, from 0.
    pub column: usize,
}

/// The part of a row, or of the screen, that is erased.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// From the cursor on.
    Rest,
    /// Up to the cursor and including it.
    Beginning,
    /// All.
    All,
}

/// The text of a screen.
pub struct Grid {
    cells: [Cell; MAX_CELLS],
    columns: usize,
    rows: usize,
    /// Which row of `cells` is the highest on the screen.
    top: usize,
    cursor: Position,
    /// A character has filled the last column: the next one begins a new row.
    is_row_full: bool,
    pub(crate) style: Style,
    marks: [bool; MAX_ROWS],
}

impl Grid {
    /// Returns a grid without columns.
    pub(crate) const fn new() -> Self {
        Self {
            cells: [Cell::BLANK; MAX_CELLS],
            columns: 0,
            rows: 0,
            top: 0,
            cursor: Position { row: 0, column: 0 },
            is_row_full: false,
            style: Style::PLAIN,
            marks: [false; MAX_ROWS],
        }
    }

    /// Gives the grid this size, as far as there is room for it, and blanks it.
    pub(crate) fn set_size(&mut self, columns: usize, rows: usize) {
        self.columns = columns.min(MAX_COLUMNS);
        self.rows = rows.min(MAX_ROWS).min(MAX_CELLS / self.columns.max(1));
        self.reset();
    }

    /// Blanks everything; the cursor goes home, and the style is plain.
    pub(crate) fn reset(&mut self) {
        self.style = Style::PLAIN;
        self.top = 0;
        self.move_to(0, 0);
        self.erase(Part::All);
    }

    /// Returns how many columns it has.
    pub const fn columns(&self) -> usize {
        self.columns
    }

    /// Returns how many rows it has.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Returns where the cursor is.
    pub const fn cursor(&self) -> Position {
        self.cursor
    }

    /// Returns the cells of a row, from the top; none where there is no such row.
    pub fn row(&self, row: usize) -> &[Cell] {
        self.span(row).and_then(|span| self.cells.get(span)).unwrap_or(&[])
    }

    fn row_mut(&mut self, row: usize) -> &mut [Cell] {
        self.mark(row);
        match self.span(row) {
            Some(span) => self.cells.get_mut(span).unwrap_or(&mut []),
            None => &mut [],
        }
    }

    /// Returns where a row of the screen lies among the cells.
    fn span(&self, row: usize) -> Option<core::ops::Range<usize>> {
        let first = (self.top + row).checked_rem(self.rows)? * self.columns;
        (row < self.rows).then_some(first..first + self.columns)
    }

    /// Marks a row: not all of it has been drawn.
    pub(crate) fn mark(&mut self, row: usize) {
        if let Some(mark) = self.marks.get_mut(row) {
            *mark = true;
        }
    }

    /// Tells whether a row has been changed since this was last asked.
    pub(crate) fn take_mark(&mut self, row: usize) -> bool {
        self.marks.get_mut(row).is_some_and(core::mem::take)
    }

    /// Moves the cursor, within the screen.
    pub(crate) fn move_to(&mut self, row: usize, column: usize) {
        self.mark(self.cursor.row);
        self.cursor = Position {
            row: row.min(self.rows.saturating_sub(1)),
            column: column.min(self.columns.saturating_sub(1)),
        };
        self.is_row_full = false;
        self.mark(self.cursor.row);
    }

    /// Moves the cursor by so many rows and columns, within the screen.
    pub(crate) fn move_by(&mut self, rows: isize, columns: isize) {
        let Position { row, column } = self.cursor;
        self.move_to(row.saturating_add_signed(rows), column.saturating_add_signed(columns));
    }

    /// Moves the cursor to the next row, and to its first column; scrolls below the last one.
    pub(crate) fn line_feed(&mut self) {
        if self.cursor.row + 1 < self.rows {
            self.move_to(self.cursor.row + 1, 0);
        } else {
            self.scroll();
            self.move_to(self.cursor.row, 0);
        }
    }

    fn scroll(&mut self) {
        self.top = (self.top + 1).checked_rem(self.rows).unwrap_or(0);
        self.row_mut(self.rows.saturating_sub(1)).fill(Cell::BLANK);
        self.marks.fill(true);
    }

    /// Moves the cursor to the next column that a tab leads to.
    pub(crate) fn tab(&mut self) {
        let next = (self.cursor.column / TAB_COLUMNS + 1) * TAB_COLUMNS;
        self.move_to(self.cursor.row, next);
    }

    /// Puts a character at the cursor and moves behind it. One that no cell shows, such as a combining mark, is left
    /// out; a wide one takes two cells.
    pub(crate) fn put(&mut self, character: char) {
        let width = match character.width() {
            None | Some(0) => return,
            Some(width) => width,
        };
        if width > self.columns {
            return;
        }
        if self.is_row_full || self.cursor.column + width > self.columns {
            self.line_feed();
        }
        let Position { row, column } = self.cursor;
        let (cell, rest) = (Cell::new(character, self.style), Cell::new(' ', self.style));
        if let Some(place) = self.row_mut(row).get_mut(column..column + width) {
            place.fill(rest);
            if let Some(first) = place.first_mut() {
                *first = cell;
            }
        }
        let next = column + width;
        self.move_to(row, next);
        self.is_row_full = next >= self.columns;
    }

    /// Erases a part of the cursor's row.
    pub(crate) fn erase_in_row(&mut self, part: Part) {
        let Position { row, column } = self.cursor;
        let blank = self.blank();
        let cells = self.row_mut(row);
        let cells = match part {
            Part::Rest => cells.get_mut(column..),
            Part::Beginning => cells.get_mut(..=column),
            Part::All => Some(cells),
        };
        if let Some(cells) = cells {
            cells.fill(blank);
        }
    }

    /// Erases a part of the screen.
    pub(crate) fn erase(&mut self, part: Part) {
        let rows = match part {
            Part::Rest => self.cursor.row + 1..self.rows,
            Part::Beginning => 0..self.cursor.row,
            Part::All => 0..self.rows,
        };
        let blank = self.blank();
        rows.for_each(|row| self.row_mut(row).fill(blank));
        if part != Part::All {
            self.erase_in_row(part);
        }
    }

    /// Returns a blank with the background of the text that comes.
    const fn blank(&self) -> Cell {
        Cell::new(' ', Style { background: self.style.background, ..Style::PLAIN })
    }
}
