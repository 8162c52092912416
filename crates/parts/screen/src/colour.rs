//! [`Colour`] and [`Style`]: the sixteen colours of a terminal.

use crate::pixel::Rgb;

/// One of sixteen colours: 0 to 7, and 8 to 15, which are the same, brighter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Colour(u8);

/// As xterm has them, with a blue that can be read on black.
const PALETTE: [Rgb; 16] = [
    [0x00, 0x00, 0x00],
    [0xcd, 0x31, 0x31],
    [0x0d, 0xbc, 0x79],
    [0xe5, 0xe5, 0x10],
    [0x3b, 0x7e, 0xea],
    [0xbc, 0x3f, 0xbc],
    [0x11, 0xa8, 0xcd],
    [0xd0, 0xd0, 0xd0],
    [0x80, 0x80, 0x80],
    [0xf1, 0x4c, 0x4c],
    [0x23, 0xd1, 0x8b],
    [0xf5, 0xf5, 0x43],
    [0x6c, 0xa6, 0xff],
    [0xd6, 0x70, 0xd6],
    [0x29, 0xb8, 0xdb],
    [0xff, 0xff, 0xff],
];

impl Colour {
    /// Black: the background.
    pub const BLACK: Self = Self(0);
    /// Light grey: the text.
    pub const GREY: Self = Self(7);

    /// Returns the colour with this number; only its lowest four bits count.
    pub const fn new(number: u8) -> Self {
        Self(number & 0xf)
    }

    /// Returns its number, below 16.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Returns its brighter form.
    pub(crate) const fn brighter(self) -> Self {
        Self(self.0 | 8)
    }

    /// Returns its red, green and blue.
    pub fn rgb(self) -> Rgb {
        PALETTE.get(usize::from(self.0)).copied().unwrap_or_default()
    }
}

/// How a character looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Style {
    /// The colour of the character.
    pub text: Colour,
    /// The colour around it.
    pub background: Colour,
}

impl Style {
    /// Grey on black.
    pub const PLAIN: Self = Self { text: Colour::GREY, background: Colour::BLACK };

    /// Returns the style with both colours exchanged.
    pub const fn inverse(self) -> Self {
        Self { text: self.background, background: self.text }
    }
}
