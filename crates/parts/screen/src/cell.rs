//! [`Cell`]: a character with its style, in 32 bits.
//!
//! ```text
//!  0..21 character    21..25 colour of the text    25..29 colour around it
//! ```
//!
//! They are kept relative to a plain blank, so that an empty screen is all zeros.

use crate::colour::{Colour, Style};

const CHARACTER: u32 = (1 << 21) - 1;
const TEXT: u32 = 21;
const BACKGROUND: u32 = 25;
/// A blank in [`Style::PLAIN`].
const PLAIN_BLANK: u32 = ' ' as u32
    | (Style::PLAIN.text.number() as u32) << TEXT
    | (Style::PLAIN.background.number() as u32) << BACKGROUND;

/// One place of the screen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell(u32);

impl Cell {
    /// A blank, grey on black.
    pub const BLANK: Self = Self::new(' ', Style::PLAIN);

    /// Returns `character` in `style`.
    pub const fn new(character: char, style: Style) -> Self {
        let colours = (style.text.number() as u32) << TEXT | (style.background.number() as u32) << BACKGROUND;
        Self((character as u32 | colours) ^ PLAIN_BLANK)
    }

    const fn bits(self) -> u32 {
        self.0 ^ PLAIN_BLANK
    }

    /// Returns its character.
    pub fn character(self) -> char {
        char::from_u32(self.bits() & CHARACTER).unwrap_or(' ')
    }

    /// Returns its colours.
    pub const fn style(self) -> Style {
        Style {
            text: Colour::new((self.bits() >> TEXT) as u8),
            background: Colour::new((self.bits() >> BACKGROUND) as u8),
        }
    }

    /// Returns the same character with both colours exchanged.
    pub fn inverse(self) -> Self {
        Self::new(self.character(), self.style().inverse())
    }
}

const _: () = assert!(Cell::BLANK.0 == 0);
