//! Huge pages, taken from the system for the length of the study.

use std::path::PathBuf;

use rhumb_machine::PageSize;
use rhumb_study_system::{Change, Keeper};

/// Adds `pages` pages of `size` to the system's huge pages, or as many as it gives. Returns the change, which gives
/// them back, and how many they are; `None` where the system gives none, as to a user who is not root.
pub(crate) fn reserve(keeper: Option<&Keeper>, size: PageSize, pages: u64) -> Option<(Change, u64)> {
    let path =
        PathBuf::from(format!("/sys/kernel/mm/hugepages/hugepages-{}kB/nr_hugepages", size.bytes() >> 10));
    Change::raise(keeper, &path, pages).ok().filter(|(_, added)| *added > 0)
}
