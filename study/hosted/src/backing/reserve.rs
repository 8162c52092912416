//! Huge pages, taken from the system for the length of the study.

use std::path::Path;

use rhumb_machine::PageSize;
use rhumb_study_system::{Change, Keeper};

/// Adds `pages` pages of `size` to the huge pages that `folder` counts, or as many as the system gives. Returns the
/// change, which gives them back, and how many they are; `None` where the system gives none, as to a user who is not root.
pub(crate) fn reserve(
    keeper: Option<&Keeper>,
    folder: &Path,
    size: PageSize,
    pages: u64,
) -> Option<(Change, u64)> {
    let count = folder.join(format!("hugepages-{}kB/nr_hugepages", size.bytes() >> 10));
    Change::raise(keeper, &count, pages).ok().filter(|(_, added)| *added > 0)
}
