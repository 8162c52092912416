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
    SmallPagesForgotten,
    /// A kept table stays kept when its page is set, and says what the page said before.
    OldTableKept,
    /// A kept table that a split puts back stays kept, too.
    TableInTwoPlaces,
    /// The flush that frees merged tables drops nothing.
    TablesUnflushed,
    /// CPUs that idle flush merged tables later.
    LazyTables,
    /// A restore merges 1-GiB pages before the 2-MiB pages in them.
    LargestFirst,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::ChangeUnflushed,
        Self::AlterUnflushed,
        Self::RestoreUnflushed,
        Self::LazyCacheChange,
        Self::CacheChangeOfPages,
        Self::SmallPagesForgotten,
        Self::OldTableKept,
        Self::TableInTwoPlaces,
        Self::TablesUnflushed,
        Self::LazyTables,
        Self::LargestFirst,
    ];
}
