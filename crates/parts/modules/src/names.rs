//! [`Names`]: a table of names in the file, of which each is read up to a limit.
//!
//! A name ends with a zero byte, which may be far away, or at the table's end. Without a limit, a file of some megabytes
//! could have the loader look through all of them for each symbol and each relocation.

use core::fmt;

/// The longest name that is read. No export and no section that the loader asks for has a longer one.
pub(crate) const MAX_NAME_BYTES: usize = 256;

/// A table of names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'file>(pub(crate) &'file [u8]);

impl<'file> Names<'file> {
    /// Returns the name at an offset: `None` where it is not UTF-8, does not end, or is longer than [`MAX_NAME_BYTES`].
    pub(crate) fn name(&self, at: u32) -> Option<&'file str> {
        let bytes = self.0.get(at as usize..)?;
        let end = bytes.iter().take(MAX_NAME_BYTES + 1).position(|&byte| byte == 0)?;
        str::from_utf8(&bytes[..end]).ok()
    }

    /// Returns the beginning of the name at an offset: as much as is read, and as far as it is UTF-8.
    pub(crate) fn beginning(&self, at: u32) -> &'file str {
        let bytes = self.0.get(at as usize..).unwrap_or_default();
        let bytes = &bytes[..bytes.len().min(MAX_NAME_BYTES)];
        let bytes = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid())
    }
}

/// Characters of a name in a sentence, at most, so that the reason behind it still fits on the line.
const MAX_SHOWN: usize = 32;

/// A name of the file in a sentence: cut where it is long, and without characters that would move a terminal's cursor.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        if self.0.is_empty() {
            return f.write_str("(no name)");
        }
        for character in self.0.chars().take(MAX_SHOWN) {
            f.write_char(if character.is_ascii_graphic() { character } else { '?' })?;
        }
        if self.0.chars().nth(MAX_SHOWN).is_some() { f.write_str("...") } else { Ok(()) }
    }
}
