//! [`Text`]: a short string that lies where it is declared, for messages that must be owned without an allocator.

use core::fmt;

use rhumb_machine::impossible;

/// A string of at most `N` bytes (and at most 255), stored inline.
///
/// Text that does not fit is cut at a character, and a final `~` shows the cut. Writing never fails.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    length: u8,
    is_cut: bool,
}

impl<const N: usize> Text<N> {
    const LENGTH_FITS: () = assert!(N >= 1 && N <= u8::MAX as usize);

    /// Returns the empty text.
    pub const fn new() -> Self {
        let () = Self::LENGTH_FITS;
        Self { bytes: [0; N], length: 0, is_cut: false }
    }

    /// Returns the text that `value` displays.
    pub fn of(value: impl fmt::Display) -> Self {
        let mut text = Self::new();
        // Writing into a text cannot fail, and a Display that fails by itself has said what it could.
        let _ = fmt::write(&mut text, format_args!("{value}"));
        text
    }

    /// Returns its characters.
    pub fn as_str(&self) -> &str {
        characters(&self.bytes[..usize::from(self.length)])
    }

    /// Tells whether something did not fit.
    pub const fn is_cut(&self) -> bool {
        self.is_cut
    }

    fn cut(&mut self) {
        // One byte must be left for the mark.
        let mut keep = usize::from(self.length).min(N - 1);
        while !self.as_str().is_char_boundary(keep) {
            keep -= 1;
        }
        self.bytes[keep] = b'~';
        self.length = keep as u8 + 1;
        self.is_cut = true;
    }
}

/// Returns as text what was copied from texts, cut between characters.
pub(crate) fn characters(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes)
        .unwrap_or_else(|_| impossible!("whole characters alone were copied here" => ""))
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.is_cut {
            return Ok(());
        }
        let start = usize::from(self.length);
        let mut fits = text.len().min(N - start);
        while !text.is_char_boundary(fits) {
            fits -= 1;
        }
        self.bytes[start..start + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.length += fits as u8;
        if fits < text.len() {
            self.cut();
        }
        Ok(())
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
