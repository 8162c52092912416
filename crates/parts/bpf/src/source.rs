//! A program as it is in a file, before it is decoded.

use crate::error::LoadError;
use crate::name::Name;

/// A program as it is in a file.
pub(crate) struct Source<'file> {
    pub(crate) name: Name,
    pub(crate) event: Name,
    pub(crate) bytes: &'file [u8],
}

/// Something that names the maps that a program's instructions load.
pub(crate) trait References {
    /// Returns the map that the instruction at this place loads, by its number; `None` where it loads none. `number` is the
    /// number in the instruction itself: the distance from the symbol that the reference names.
    ///
    /// # Errors
    /// It refers to something else.
    fn map_at(&self, instruction: usize, number: u64) -> Result<Option<u8>, LoadError>;
}
