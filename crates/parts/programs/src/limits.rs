//! Numbers that no program exceeds.

use rhumb_machine::PageSize;

/// The most program headers of a file. Linkers write about ten.
pub const MAX_HEADERS: usize = 64;

/// The most segments of a program. Linkers write four to six.
pub const MAX_SEGMENTS: usize = 16;

/// The largest alignment of a segment: the largest page.
pub const MAX_ALIGN: u64 = PageSize::Size1G.bytes();
