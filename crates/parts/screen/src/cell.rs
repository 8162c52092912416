//! [`Cell`]: a character with its style, in 32 bits.
//!
//! ```text
//!  0..21 character    21..25 colour of the text    25..29 colour around it
//! ```

use crate::colour::{Colour, Style};

const CHARACTER: u32 = (1 << 21) - 1;
const TEXT: u32 = 21;
const BACKGROUND: u32 = 25;

/// One place of the screen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell(u32);

impl Cell {
    /// A blank, grey on black.
    pub const BLANK: Self = Self::new(' ', Style::PLAIN);

    /// Returns `character` in `style`.
    pub const fn new(character: char, style: Style) -> Self {
        let colours = (style.text.number() as u32) << TEXT | (style.background.number() as u32) << BACKGROUND;
        Self(character as u32 | colours)
    }

    /// Returns its character.
    pub fn character(self) -> char {
        char::from_u32(self.0 & CHARACTER).unwrap_or(' ')
    }

    /// Returns its colours.
    pub const fn style(self) -> Style {
        Style {
            text: Colour::new((self.0 >> TEXT) as u8),
            background: Colour::new((self.0 >> BACKGROUND) as u8),
        }
    }

    /// Returns the same character with both colours exchanged.
    pub fn inverse(self) -> Self {
        Self::new(self.character(), self.style().inverse())
    }
}
