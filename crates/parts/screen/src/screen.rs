//! [`Screen`]: text in, differences drawn.
//!
//! Text changes the [`Grid`] at once. [`Screen::draw`] compares rows that were changed with the cells that video memory
//! shows, which the screen keeps beside the grid, and draws those that differ: a few cells each time, so that its user
//! may hold a lock with interrupts off. After a scroll all rows are compared, and of those that are alike, blanks above
//! all, nothing is drawn.
//!
//! The cursor is the cell under it with its colours exchanged.

use vte::Parser;

use crate::cell::Cell;
use crate::font::{MAX_HEIGHT, MAX_WIDTH};
use crate::grid::{Grid, MAX_CELLS, Position};
use crate::mode::{MOST_PIXELS, Mode};
use crate::pixel::Rgb;
use crate::sequences::{Pen, Performer};

/// The pixels of text that one step draws at most: 36 of the smallest cells, 7 of the largest. Each is mixed from two
/// colours, which takes some ten nanoseconds.
const STEP_PIXELS: usize = 4096;
/// The bytes that one step blanks at most, when a screen is new: whole rows of pixels.
const STEP_BLANK_BYTES: usize = 64 << 10;
const MAX_PIXEL_BYTES: usize = 4;

// One cell, and one row of pixels, fit in a step.
const _: () = assert!(MAX_WIDTH * MAX_HEIGHT <= STEP_PIXELS);
const _: () = assert!(MOST_PIXELS as usize * MAX_PIXEL_BYTES <= STEP_BLANK_BYTES);

/// Bytes that are blanked by one write.
const BLANK_BYTES: usize = 256;
/// Commands to the terminal itself (titles, clipboards) are read and dropped; none is kept.
const COMMAND_BYTES: usize = 1;

/// Video memory, as the screen reaches it: written, never read.
pub trait VideoMemory {
    /// Writes `bytes` at `offset` from the first pixel's first byte. Bytes outside of the [`Mode`]'s memory, which the
    /// screen never asks for, are left out.
    fn write(&mut self, offset: usize, bytes: &[u8]);
}

/// How far drawing has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// There is more to draw.
    More,
    /// Video memory shows all text.
    Done,
}

/// A text screen. 160 KiB: keep it in a static.
pub struct Screen {
    grid: Grid,
    /// The cells that video memory shows: row after row, each with the grid's columns.
    shown: [Cell; MAX_CELLS],
    parser: Option<Parser<COMMAND_BYTES>>,
    pen: Pen,
    mode: Option<Mode>,
    /// Rows of pixels that are still as the firmware left them.
    pixel_rows_to_blank: usize,
    /// The row that the next step looks at first.
    next_row: usize,
}

impl Screen {
    /// Returns a screen without a framebuffer: it takes text and shows none.
    pub const fn new() -> Self {
        Self {
            grid: Grid::new(),
            shown: [Cell::BLANK; MAX_CELLS],
            parser: None,
            pen: Pen::PLAIN,
            mode: None,
            pixel_rows_to_blank: 0,
            next_row: 0,
        }
    }

    /// Draws on `mode` from now on, from an empty screen.
    pub fn set_mode(&mut self, mode: Mode) {
        let font = mode.font();
        self.grid.set_size(mode.width() / font.width(), mode.height() / font.height());
        self.shown.fill(Cell::BLANK);
        self.parser = Some(Parser::default());
        self.pen = Pen::PLAIN;
        self.pixel_rows_to_blank = mode.height();
        self.next_row = 0;
        self.mode = Some(mode);
    }

    /// Returns the text.
    pub const fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Takes `text`, which ends where its writer ended it, in the middle of an escape sequence, too. Draws nothing.
    pub fn write(&mut self, text: &str) {
        let Some(parser) = &mut self.parser else { return };
        parser.advance(&mut Performer { grid: &mut self.grid, pen: &mut self.pen }, text.as_bytes());
    }

    /// Forgets an escape sequence that has begun: the next character is text. For a writer whose text must be read,
    /// because a sequence without an end would swallow it.
    pub fn end_sequence(&mut self) {
        self.parser = self.parser.take().map(|_| Parser::default());
    }

    /// Draws one step of what video memory does not show yet: bounded work, whatever was written.
    pub fn draw(&mut self, memory: &mut impl VideoMemory) -> Progress {
        let Some(mode) = self.mode else { return Progress::Done };
        if self.pixel_rows_to_blank > 0 {
            self.blank_pixels(&mode, memory);
            return Progress::More;
        }
        // The rows that are not marked cost a look each.
        let rows = self.grid.rows();
        for _ in 0..rows {
            let row = self.next_row;
            if self.grid.take_mark(row) {
                if self.draw_row(&mode, memory, row) == Progress::More {
                    self.grid.mark(row);
                }
                return Progress::More;
            }
            self.next_row = (row + 1).checked_rem(rows).unwrap_or(0);
        }
        Progress::Done
    }

    /// Blanks the next rows of pixels: those under the text, and those at the edges, which no cell covers.
    fn blank_pixels(&mut self, mode: &Mode, memory: &mut impl VideoMemory) {
        let blank = [0; BLANK_BYTES];
        let rows = STEP_BLANK_BYTES / mode.row_bytes().max(1);
        for _ in 0..rows.min(self.pixel_rows_to_blank) {
            let row = mode.height().saturating_sub(self.pixel_rows_to_blank);
            let (first, bytes) = (row * mode.pitch(), mode.row_bytes());
            for offset in (0..bytes).step_by(BLANK_BYTES) {
                let piece = BLANK_BYTES.min(bytes - offset);
                memory.write(first + offset, blank.get(..piece).unwrap_or(&[]));
            }
            self.pixel_rows_to_blank -= 1;
        }
    }

    /// Draws cells of a row that differ, as many as one step may.
    fn draw_row(&mut self, mode: &Mode, memory: &mut impl VideoMemory, row: usize) -> Progress {
        let columns = self.grid.columns();
        let font = mode.font();
        let mut left = STEP_PIXELS / (font.width() * font.height()).max(1);
        for (column, &cell) in self.grid.row(row).iter().enumerate() {
            let at = Position { row, column };
            let wanted = if at == self.grid.cursor() { cell.inverse() } else { cell };
            let Some(shown) = self.shown.get_mut(row * columns + column) else { break };
            if *shown == wanted {
                continue;
            }
            let Some(fewer) = left.checked_sub(1) else { return Progress::More };
            left = fewer;
            *shown = wanted;
            draw_cell(mode, memory, at, wanted);
        }
        Progress::Done
    }
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes the pixels of a cell, from the top.
fn draw_cell(mode: &Mode, memory: &mut impl VideoMemory, at: Position, cell: Cell) {
    let (font, format) = (mode.font(), mode.format());
    let (text, background) = (cell.style().text.rgb(), cell.style().background.rgb());
    let first = at.row * font.height() * mode.pitch() + at.column * font.width() * format.bytes();
    let mut bytes = [0; MAX_WIDTH * MAX_PIXEL_BYTES];
    for (y, coverage) in font.rows(cell.character()).enumerate() {
        for (pixel, &covered) in bytes.chunks_exact_mut(format.bytes()).zip(coverage) {
            let encoded = format.encode(blend(background, text, covered)).to_le_bytes();
            pixel.iter_mut().zip(encoded).for_each(|(to, from)| *to = from);
        }
        let length = coverage.len() * format.bytes();
        memory.write(first + y * mode.pitch(), bytes.get(..length).unwrap_or(&[]));
    }
}

/// Returns the colour between two, by how much of the pixel the text covers.
fn blend(background: Rgb, text: Rgb, covered: u8) -> Rgb {
    let mut mixed = background;
    for (colour, text) in mixed.iter_mut().zip(text) {
        let (under, over, covered) = (u32::from(*colour), u32::from(text), u32::from(covered));
        *colour = ((under * (255 - covered) + over * covered + 127) / 255) as u8;
    }
    mixed
}
