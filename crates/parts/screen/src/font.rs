//! [`Font`]: Noto Sans Mono, rasterised in four sizes.
//!
//! Why this crate: each pixel of a glyph is a coverage from 0 to 255 rather than a bit, so that small text is smooth;
//! its sizes fit screens from 640x480 to 4K; it has no dependency, needs no allocator, and its look-up is a table. The
//! crate has the MIT licence, the font the SIL Open Font License. `spleen-font` has bits only, and a cache that must be
//! kept and written; the fonts of `embedded-graphics` end at 20 pixels and bring a drawing library.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, RasterizedChar, get_raster, get_raster_width};

/// Shown for characters that the font does not have.
const REPLACEMENT: char = '\u{fffd}';

/// The most columns of pixels that a glyph of any size has.
pub(crate) const MAX_WIDTH: usize = 32;
/// The most rows of pixels that a glyph of any size has.
pub(crate) const MAX_HEIGHT: usize = RasterHeight::Size32.val();

const _: () = assert!(get_raster_width(FontWeight::Regular, RasterHeight::Size32) <= MAX_WIDTH);

/// Glyphs of one size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Font(RasterHeight);

impl Font {
    /// Returns the font for a screen that is so many pixels high: 30 to 70 rows of text, so that a line can be read
    /// and a report of a fault fits.
    pub const fn for_height(pixels: usize) -> Self {
        Self(match pixels {
            0..900 => RasterHeight::Size16,
            900..1300 => RasterHeight::Size20,
            1300..2000 => RasterHeight::Size24,
            _ => RasterHeight::Size32,
        })
    }

    /// Returns the pixels from one row of text to the next.
    pub const fn height(self) -> usize {
        self.0.val()
    }

    /// Returns the pixels from one character to the next.
    pub const fn width(self) -> usize {
        get_raster_width(FontWeight::Regular, self.0)
    }

    /// Returns how much of each pixel `character` covers, from 0 to 255, row after row from the top; of a character that
    /// the font does not have, how much the replacement character covers.
    pub fn rows(self, character: char) -> impl Iterator<Item = &'static [u8]> {
        let raster = |character| get_raster(character, FontWeight::Regular, self.0);
        let glyph = raster(character).or_else(|| raster(REPLACEMENT)).or_else(|| raster('?'));
        glyph.as_ref().map(RasterizedChar::rows).into_iter().flatten()
    }
}
