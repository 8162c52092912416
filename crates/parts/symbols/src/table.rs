//! Reading: validation once, binary search ever after.
//!
//! `parse` costs one pass over the table (each name is checked to be UTF-8); `lookup` costs log2(count) reads of an
//! entry. Neither allocates, locks or panics, whatever the bytes are.

use core::fmt;

use crate::{ENTRY_BYTES, HEADER_BYTES, LENGTH_BYTES, MAGIC, MAX_NAME_BYTES};

/// The fault of bytes that should be a symbol table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParseError {
    /// They do not begin as a table of this version does: nothing was written there, or by another version.
    BadMagic,
    /// They end before the table does.
    Truncated {
        /// Bytes that the table says it takes.
        needed_bytes: u64,
        /// Bytes that are there.
        found_bytes: u64,
    },
    /// This entry begins before the one ahead of it ends.
    Overlap {
        /// The entry's number.
        index: u32,
    },
    /// This entry ends past the last address.
    AddressOverflow {
        /// The entry's number.
        index: u32,
    },
    /// This entry's name lies outside the names, is not UTF-8, or is longer than [`MAX_NAME_BYTES`].
    BadName {
        /// The entry's number.
        index: u32,
    },
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadMagic => write!(f, "no symbol table here: the bytes do not begin with its magic number"),
            Self::Truncated { needed_bytes, found_bytes } => {
                write!(f, "the symbol table takes {needed_bytes} bytes, but only {found_bytes} are there")
            }
            Self::Overlap { index } => {
                write!(f, "symbol {index} begins before the one ahead of it ends")
            }
            Self::AddressOverflow { index } => write!(f, "symbol {index} ends past the last address"),
            Self::BadName { index } => {
                write!(f, "the name of symbol {index} lies outside the table, is not UTF-8 or too long")
            }
        }
    }
}

impl core::error::Error for ParseError {}

/// A function that holds an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Symbol<'table> {
    /// Its name, demangled.
    pub name: &'table str,
    /// Bytes from its first byte to the address asked for.
    pub offset: u64,
    /// The address of its first byte.
    pub address: u64,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// `name+0xoffset`, as backtraces print it.
impl fmt::Display for Symbol<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:#x}", self.name, self.offset)
    }
}

/// A validated table over borrowed bytes.
#[derive(Clone, Copy, Debug)]
pub struct SymbolTable<'table> {
    base: u64,
    entries: &'table [u8],
    names: &'table [u8],
}

/// One entry, as the table has it.
struct Entry {
    offset: u32,
    size: u32,
    name: u32,
}

impl<'table> SymbolTable<'table> {
    /// Returns the table at the start of `bytes`; the bytes behind it do not matter.
    ///
    /// # Errors
    /// [`ParseError`] says what is wrong; a caller without a table can go on without names.
    pub fn parse(bytes: &'table [u8]) -> Result<Self, ParseError> {
        let truncated =
            |needed_bytes| ParseError::Truncated { needed_bytes, found_bytes: bytes.len() as u64 };
        if !bytes.starts_with(&MAGIC) {
            return Err(ParseError::BadMagic);
        }
        let header = bytes.get(..HEADER_BYTES).ok_or(truncated(HEADER_BYTES as u64))?;
        let base = u64::from(read_u32(header, 8)) | u64::from(read_u32(header, 12)) << 32;
        let (count, names) = (u64::from(read_u32(header, 16)), u64::from(read_u32(header, 20)));
        // At most 24 + 12 * 2^32 + 2^32: far from wrapping.
        let names_at = HEADER_BYTES as u64 + count * ENTRY_BYTES as u64;
        let needed = names_at + names;
        if needed > bytes.len() as u64 {
            return Err(truncated(needed));
        }
        let table = Self {
            base,
            entries: &bytes[HEADER_BYTES..names_at as usize],
            names: &bytes[names_at as usize..needed as usize],
        };
        table.validate()?;
        Ok(table)
    }

    /// Returns the symbol that holds `address`, or `None` where none does.
    pub fn lookup(&self, address: u64) -> Option<Symbol<'table>> {
        let offset = u32::try_from(address.checked_sub(self.base)?).ok()?;
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.entry(middle).offset <= offset {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        // The last one that begins at or below the address.
        let symbol = self.symbol(low.checked_sub(1)?)?;
        let offset = address - symbol.address;
        (offset < symbol.size_bytes).then_some(Symbol { offset, ..symbol })
    }

    /// Returns how many symbols the table holds.
    pub fn len(&self) -> usize {
        self.entries.len() / ENTRY_BYTES
    }

    /// Tells whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns all symbols in ascending order, each at offset 0.
    pub fn iter(&self) -> impl Iterator<Item = Symbol<'table>> + use<'_, 'table> {
        (0..self.len()).filter_map(|index| self.symbol(index))
    }

    fn validate(&self) -> Result<(), ParseError> {
        let mut free_from = 0;
        for index in 0..self.len() {
            let entry = self.entry(index);
            let index = index as u32;
            let begin = u64::from(entry.offset);
            let end = begin + u64::from(entry.size);
            if begin < free_from {
                return Err(ParseError::Overlap { index });
            }
            if self.base.checked_add(end).is_none() {
                return Err(ParseError::AddressOverflow { index });
            }
            if self.name(entry.name).is_none() {
                return Err(ParseError::BadName { index });
            }
            free_from = end;
        }
        Ok(())
    }

    /// Returns entry `index`, which is below `len()`.
    fn entry(&self, index: usize) -> Entry {
        let at = index * ENTRY_BYTES;
        Entry {
            offset: read_u32(self.entries, at),
            size: read_u32(self.entries, at + 4),
            name: read_u32(self.entries, at + 8),
        }
    }

    fn symbol(&self, index: usize) -> Option<Symbol<'table>> {
        let entry = self.entry(index);
        Some(Symbol {
            name: self.name(entry.name)?,
            offset: 0,
            address: self.base + u64::from(entry.offset),
            size_bytes: u64::from(entry.size),
        })
    }

    fn name(&self, at: u32) -> Option<&'table str> {
        let record = self.names.get(at as usize..)?;
        let (length, text) = record.split_at_checked(LENGTH_BYTES)?;
        let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
        let text = text.get(..length).filter(|_| length <= MAX_NAME_BYTES)?;
        core::str::from_utf8(text).ok()
    }
}

/// Returns the little-endian number at `at`; the caller knows that four bytes are there.
fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
