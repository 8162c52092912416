//! Faults that a test plants into this crate, to see them found.

pub use rhumb_machine::planted::*;

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A table takes a page's place before it is filled.
    HungInUnfilled,
    /// Of a change in several tables only the pages of the first are flushed.
    FirstRunFlushed,
    /// A change flushes nothing.
    ChangeUnflushed,
    /// A change of held frames flushes nothing.
    AlterUnflushed,
    /// A restore flushes nothing of what it paints.
    RestoreUnflushed,
    /// CPUs that idle flush a change of cache mode later.
    LazyCacheChange,
    /// A change of cache mode flushes the pages that were in the map, and nothing else.
    CacheChangeOfPages,
    /// A merge does not flush the table.
    MergedTableUnflushed,
    /// A merge does not flush the small pages.
    MergedPagesUnflushed,
    /// A large page is flushed by its size although small ones may be cached from before a merge.
    WaitingForgotten,
    /// A restore makes 1-GiB pages whole before the 2-MiB pages in them.
    LargestFirst,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::HungInUnfilled,
        Self::FirstRunFlushed,
        Self::ChangeUnflushed,
        Self::AlterUnflushed,
        Self::RestoreUnflushed,
        Self::LazyCacheChange,
        Self::CacheChangeOfPages,
        Self::MergedTableUnflushed,
        Self::MergedPagesUnflushed,
        Self::WaitingForgotten,
        Self::LargestFirst,
    ];
}
