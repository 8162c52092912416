//! Text that is made in place, for calls that take it whole.

use core::fmt;

/// Text of at most `N` bytes; the rest of a longer one is left out.
pub(crate) struct Line<const N: usize> {
    bytes: [u8; N],
    used: usize,
}

impl<const N: usize> Line<N> {
    /// Returns the text of a value.
    pub(crate) fn of(value: impl fmt::Display) -> Self {
        let mut line = Self { bytes: [0; N], used: 0 };
        // It fails only as the value itself does; what it wrote before that is there.
        let _ = fmt::write(&mut line, format_args!("{value}"));
        line
    }

    /// Returns the text.
    pub(crate) fn as_str(&self) -> &str {
        // Only whole characters were added.
        str::from_utf8(&self.bytes[..self.used]).unwrap_or_default()
    }
}

impl<const N: usize> fmt::Write for Line<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = N - self.used;
        let fits = (0..=room.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        self.bytes[self.used..self.used + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.used += fits;
        Ok(())
    }
}
