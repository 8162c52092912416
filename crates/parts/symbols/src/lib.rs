//! A compact symbol table: from an address to the name of the function that holds it.
//!
//! The tool that links the kernel makes the table ([`writer`], behind the feature of that name) and puts it into the
//! image; the kernel reads it where it lies ([`SymbolTable`]), without an allocator, in the middle of a panic.
//!
//! ```text
//!  0  magic    8 bytes  "rhumbsy1"
//!  8  base     u64      address of the first symbol
//! 16  count    u32      number of symbols
//! 20  names    u32      bytes of names
//! 24  entries  count x { offset u32, size u32, name u32 }   offset from base, ascending; name: where in the names
//!     names    { length u16, UTF-8 text } ...
//!     anything: the table says itself where it ends
//! ```
//! All numbers are little-endian and unaligned.
//!
//! Principles:
//! 1. [`SymbolTable::parse`] checks every entry and every name once; [`SymbolTable::lookup`] cannot fail afterwards
//!    on a table that it accepted.
//! 2. Symbols do not overlap, so a binary search decides.
//! 3. No compression: the table lies in padding that exists anyway, and the reader runs when little else does.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(feature = "writer", test))]
extern crate alloc;

mod table;
#[cfg(any(feature = "writer", test))]
pub mod writer;

pub use table::{ParseError, Symbol, SymbolTable};

#[cfg(test)]
mod tests;

/// The bytes with which a table begins. The last one is the format's version.
const MAGIC: [u8; 8] = *b"rhumbsy1";
/// Bytes before the first entry.
const HEADER_BYTES: usize = 24;
/// Bytes of one entry.
const ENTRY_BYTES: usize = 12;
/// Names are cut after this many bytes: generic code can have names of kilobytes, which no backtrace wants. A reader takes
/// no longer ones, so that the time of its pass is bounded by the number of entries: all of them may have the same name.
pub const MAX_NAME_BYTES: usize = 256;
/// Bytes before a name's text.
const LENGTH_BYTES: usize = 2;
