//! Escape sequences: what the line editor and the output of commands use, and the sequences next to these.
//!
//! | sequence | does |
//! |---|---|
//! | BS, HT, LF, CR | as ever; a line feed goes to the first column, too |
//! | `CSI n A` to `CSI n G`, `CSI n d`, `CSI r ; c H` | move the cursor |
//! | `CSI n J`, `CSI n K` | erase in the screen, in the row |
//! | `CSI ... m` | colours; bold is a brighter colour; inverse |
//! | `ESC c` | blanks everything |
//!
//! All others are read to their end and do nothing. Source: ECMA-48; xterm's ctlseqs.

use vte::{Params, Perform};

use crate::colour::{Colour, Style};
use crate::grid::{Grid, Part};

/// Applies what the parser finds to a grid.
pub(crate) struct Performer<'a> {
    pub(crate) grid: &'a mut Grid,
    pub(crate) pen: &'a mut Pen,
}

/// The colours and properties of text that comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pen {
    style: Style,
    is_bold: bool,
    is_inverse: bool,
}

impl Pen {
    /// Grey on black.
    pub(crate) const PLAIN: Self = Self { style: Style::PLAIN, is_bold: false, is_inverse: false };

    /// Returns the colours that a character gets.
    const fn style(self) -> Style {
        let Style { text, background } = self.style;
        let text = if self.is_bold { text.brighter() } else { text };
        let style = Style { text, background };
        if self.is_inverse { style.inverse() } else { style }
    }

    /// Applies the parameters of one `CSI ... m`.
    fn select(&mut self, params: &Params) {
        if params.is_empty() {
            *self = Self::PLAIN;
        }
        let mut params = params.iter().map(|param| param.first().copied().unwrap_or(0));
        while let Some(param) = params.next() {
            let low = param as u8;
            match param {
                0 => *self = Self::PLAIN,
                1 => self.is_bold = true,
                22 => self.is_bold = false,
                7 => self.is_inverse = true,
                27 => self.is_inverse = false,
                30..=37 => self.style.text = Colour::new(low - 30),
                39 => self.style.text = Colour::GREY,
                40..=47 => self.style.background = Colour::new(low - 40),
                49 => self.style.background = Colour::BLACK,
                90..=97 => self.style.text = Colour::new(low - 90).brighter(),
                100..=107 => self.style.background = Colour::new(low - 100).brighter(),
                // Of the 256 colours the first sixteen are ours. The rest is no colour to misread the parameters as.
                38 | 48 => {
                    let colour = match params.next() {
                        Some(5) => params.next().filter(|&number| number < 16),
                        Some(2) => params.nth(2).and(None),
                        _ => None,
                    };
                    let Some(colour) = colour.map(|number| Colour::new(number as u8)) else { continue };
                    match param {
                        38 => self.style.text = colour,
                        _ => self.style.background = colour,
                    }
                }
                _ => {}
            }
        }
    }
}

impl Perform for Performer<'_> {
    fn print(&mut self, character: char) {
        self.grid.put(character);
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            0x08 => self.grid.move_by(0, -1),
            b'\t' => self.grid.tab(),
            b'\n' => self.grid.line_feed(),
            b'\r' => self.grid.move_to(self.grid.cursor().row, 0),
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: char) {
        if ignore || !intermediates.is_empty() {
            return;
        }
        let param = |index: usize| {
            let param = params.iter().nth(index).and_then(|param| param.first().copied());
            usize::from(param.unwrap_or(0))
        };
        // A count of 0 means 1, and so does a place.
        let count = param(0).max(1);
        let steps = count as isize;
        let grid = &mut *self.grid;
        let cursor = grid.cursor();
        let part = match param(0) {
            0 => Some(Part::Rest),
            1 => Some(Part::Beginning),
            2 | 3 => Some(Part::All),
            _ => None,
        };
        match action {
            'A' => grid.move_by(-steps, 0),
            'B' => grid.move_by(steps, 0),
            'C' => grid.move_by(0, steps),
            'D' => grid.move_by(0, -steps),
            'E' => grid.move_to(cursor.row.saturating_add(count), 0),
            'F' => grid.move_to(cursor.row.saturating_sub(count), 0),
            'G' => grid.move_to(cursor.row, count - 1),
            'd' => grid.move_to(count - 1, cursor.column),
            'H' | 'f' => grid.move_to(count - 1, param(1).max(1) - 1),
            'J' => part.into_iter().for_each(|part| grid.erase(part)),
            'K' => part.into_iter().for_each(|part| grid.erase_in_row(part)),
            'm' => {
                self.pen.select(params);
                grid.style = self.pen.style();
            }
            _ => {}
        }
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], ignore: bool, byte: u8) {
        if !ignore && intermediates.is_empty() && byte == b'c' {
            *self.pen = Pen::PLAIN;
            self.grid.reset();
        }
    }
}
