//! The sizes of the pool's pieces: blocks, the granules of parts, the pages of windows.

use rhumb_machine::PageSize;

/// Bytes of a block: one large page, which all its parts share.
pub const BLOCK_BYTES: u64 = PageSize::Size2M.bytes();

/// Parts begin at multiples of this many bytes, and take whole multiples: one cache line, so that a function that is
/// often called shares its first line with no other part.
pub const GRANULE_BYTES: u64 = 64;

/// Bytes of the pages in which blocks are written.
pub const PAGE_BYTES: usize = PageSize::Size4K.bytes() as usize;

/// The contents of one page.
pub type PageBytes = [u8; PAGE_BYTES];
