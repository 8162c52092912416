//! Sizes of memory, and how a reader sees them.

use rhumb_machine::PageSize;
use rhumb_study_report::format;

/// The smallest page.
pub(crate) const PAGE: u64 = PageSize::Size4K.bytes();
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = PageSize::Size1G.bytes();

/// Returns a size as all reports of a study show it.
pub(crate) fn sized(bytes: u64) -> String {
    format::bytes(bytes as f64)
}
