//! Faults that a test plants into this crate, to see them found.

pub use rhumb_machine::planted::*;

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A change flushes nothing.
    ChangeUnflushed,
    /// A change of held frames flushes nothing.
    AlterUnflushed,
    /// A restore flushes nothing of what it sets.
    RestoreUnflushed,
    /// CPUs that idle flush a change of cache mode later.
    LazyCacheChange,
    /// A change of cache mode flushes the pages that were in the map, and nothing else.
    CacheChangeOfPages,
    /// A large page is flushed by its size although small ones may be cached from before a merge.
    WaitingForgotten,
    /// A restore merges 1-GiB pages before the 2-MiB pages in them.
    LargestFirst,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::ChangeUnflushed,
        Self::AlterUnflushed,
        Self::RestoreUnflushed,
        Self::LazyCacheChange,
        Self::CacheChangeOfPages,
        Self::WaitingForgotten,
        Self::LargestFirst,
    ];
}
