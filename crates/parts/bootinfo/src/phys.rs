//! Reading physical memory that firmware or a loader filled.
//!
//! Everything a loader or the firmware leaves is a pointer to a structure that says its own size. None of it is
//! trusted: each piece is asked of [`PhysMemory`], which refuses memory that is not there, and read through `Fields`,
//! which refuses bytes past the piece's end.

use core::fmt;

use rhumb_machine::{PageSize, PhysAddr, PhysRange};

/// Physical memory as far as it can be read at this point of the boot.
///
/// The kernel implements it on whatever mapping it has, the tests on a few byte arrays.
pub trait PhysMemory {
    /// Returns the bytes of `range`, or `None` where any part of it cannot be read. `range` may be anything, and is
    /// never empty.
    fn bytes(&self, range: PhysRange) -> Option<&[u8]>;

    /// Returns the `length` bytes at `at`.
    ///
    /// # Errors
    /// [`Unreadable`] where the range wraps, or where the memory does not have all of it.
    fn read(&self, at: PhysAddr, length: u64) -> Result<&[u8], Unreadable> {
        if length == 0 {
            return Ok(&[]);
        }
        let bytes = PhysRange::of_length(at, length).and_then(|range| self.bytes(range));
        // An implementation that gives another length than asked for is not believed either.
        bytes.filter(|bytes| bytes.len() as u64 == length).ok_or(Unreadable { at, length })
    }
}

/// A piece of physical memory that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its first byte.
    pub at: PhysAddr,
    /// Its length in bytes.
    pub length: u64,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {} cannot be read", self.length, self.at)
    }
}

impl core::error::Error for Unreadable {}

/// Little-endian numbers at offsets of a byte slice; `None` past its end.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..)?.first_chunk().copied()
    }

    pub(crate) fn u32(self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    pub(crate) fn addr(self, at: usize) -> Option<PhysAddr> {
        self.u64(at).map(PhysAddr::new)
    }
}

/// How far a string could be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copied {
    /// Up to its NUL.
    Whole,
    /// Until the destination was full.
    Cut,
}

/// Appends the NUL-terminated string at `at` to `into`, and gives how far it got.
///
/// Reads page by page, so that a short string at the very end of what can be read is no error.
pub(crate) fn copy_string<const N: usize>(
    memory: &impl PhysMemory,
    at: PhysAddr,
    into: &mut arrayvec::ArrayVec<u8, N>,
) -> Result<Copied, Unreadable> {
    let mut next = at;
    loop {
        let in_page = PageSize::Size4K.bytes() - next.offset_in(PageSize::Size4K);
        for &byte in memory.read(next, in_page)? {
            if byte == 0 {
                return Ok(Copied::Whole);
            }
            if into.try_push(byte).is_err() {
                return Ok(Copied::Cut);
            }
        }
        next = next.checked_add(in_page).ok_or(Unreadable { at: next, length: in_page })?;
    }
}
