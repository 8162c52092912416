//! Making a table out of what a linker left: unsorted, overlapping, sizeless, with several names for one address.
//!
//! The reader wants order. Of several symbols at one address the one with a size wins, then the shorter name, then
//! the alphabet; a symbol without a size (an assembly label) or one that reaches into the next ends where the next
//! begins. The same input in any order gives the same bytes.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt;

use crate::{ENTRY_BYTES, HEADER_BYTES, LENGTH_BYTES, MAGIC, MAX_NAME_BYTES};

/// A symbol to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Input {
    /// The address of its first byte.
    pub address: u64,
    /// Its size in bytes; 0 where the linker did not know: up to the next symbol.
    pub size_bytes: u64,
    /// Its name, demangled.
    pub name: String,
}

/// Why no table could be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WriteError {
    /// From the first to the last symbol it is 4 GiB or more: not one image.
    TooWide {
        /// The first symbol's address.
        first: u64,
        /// The address past the last symbol.
        end: u64,
    },
    /// More symbols or names than 32-bit numbers count.
    TooMany,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooWide { first, end } => {
                write!(f, "the symbols from {first:#x} to {end:#x} span 4 GiB or more")
            }
            Self::TooMany => write!(f, "more symbols or names than the table's 32-bit numbers can count"),
        }
    }
}

impl core::error::Error for WriteError {}

/// Returns the table of these symbols.
///
/// # Errors
/// [`WriteError`] where the format's 32-bit numbers do not reach.
pub fn encode(symbols: &[Input]) -> Result<Vec<u8>, WriteError> {
    let symbols = disjoint(symbols);
    let base = symbols.first().map_or(0, |symbol| symbol.address);

    let mut names = Names::default();
    let mut bytes = Vec::with_capacity(HEADER_BYTES + symbols.len() * ENTRY_BYTES);
    bytes.extend(MAGIC);
    bytes.extend(base.to_le_bytes());
    bytes.extend(count(symbols.len())?.to_le_bytes());
    bytes.extend([0; 4]);
    for symbol in &symbols {
        let offset = narrow(symbol.address - base, &symbols)?;
        let size = narrow(symbol.size_bytes, &symbols)?;
        let name = names.place(cut(symbol.name))?;
        [offset, size, name].iter().for_each(|number| bytes.extend(number.to_le_bytes()));
    }
    bytes[20..24].copy_from_slice(&count(names.bytes.len())?.to_le_bytes());
    bytes.extend(names.bytes);
    Ok(bytes)
}

/// A symbol with its place settled.
struct Placed<'a> {
    address: u64,
    size_bytes: u64,
    name: &'a str,
}

/// Returns one symbol an address, in ascending order, none reaching into the next.
fn disjoint(symbols: &[Input]) -> Vec<Placed<'_>> {
    let mut sorted: Vec<&Input> = symbols.iter().collect();
    sorted.sort_by_key(|symbol| {
        (symbol.address, Reverse(symbol.size_bytes.min(1)), symbol.name.len(), symbol.name.as_str())
    });
    sorted.dedup_by_key(|symbol| symbol.address);
    let ends = sorted.iter().skip(1).map(|next| Some(next.address)).chain([None]);
    sorted
        .iter()
        .zip(ends)
        .map(|(symbol, end)| {
            let room = end.map_or(u64::MAX - symbol.address, |end| end - symbol.address);
            let size_bytes = match (symbol.size_bytes, end) {
                (0, Some(_)) => room,
                (0, None) => room.min(1),
                (size, _) => size.min(room),
            };
            Placed { address: symbol.address, size_bytes, name: &symbol.name }
        })
        .collect()
}

/// The text of all names, each once.
#[derive(Default)]
struct Names<'a> {
    bytes: Vec<u8>,
    placed: BTreeMap<&'a str, u32>,
}

impl<'a> Names<'a> {
    fn place(&mut self, name: &'a str) -> Result<u32, WriteError> {
        if let Some(&at) = self.placed.get(name) {
            return Ok(at);
        }
        let at = count(self.bytes.len())?;
        let length = (name.len() as u16).to_le_bytes();
        debug_assert_eq!(length.len(), LENGTH_BYTES);
        self.bytes.extend(length);
        self.bytes.extend(name.as_bytes());
        self.placed.insert(name, at);
        Ok(at)
    }
}

/// Returns at most [`MAX_NAME_BYTES`] of a name, in whole characters.
fn cut(name: &str) -> &str {
    let end = (0..=MAX_NAME_BYTES.min(name.len())).rev().find(|&at| name.is_char_boundary(at));
    &name[..end.unwrap_or(0)]
}

fn count(number: usize) -> Result<u32, WriteError> {
    u32::try_from(number).map_err(|_| WriteError::TooMany)
}

fn narrow(number: u64, symbols: &[Placed<'_>]) -> Result<u32, WriteError> {
    u32::try_from(number).map_err(|_| WriteError::TooWide {
        first: symbols.first().map_or(0, |symbol| symbol.address),
        end: symbols.last().map_or(0, |symbol| symbol.address.saturating_add(symbol.size_bytes)),
    })
}
