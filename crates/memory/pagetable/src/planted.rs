//! Faults that a test plants into this crate, to see them found.

pub use rhumb_machine::planted::*;

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// CPUs that idle flush tables later.
    LazyTables,
    /// An unmap flushes the pages, and not the tables that were left empty.
    TablesUnflushed,
    /// A split puts the table in the page's place before the table is filled.
    HungInUnfilled,
    /// Of pages in several tables that are set, only those of the first are flushed.
    FirstRunFlushed,
    /// A flusher leaves a CPU alone that has a mark already, without a mark of its own.
    MarkNotExchanged,
}

impl Fault {
    /// Those that a stale translation tells of: all but the one that is a matter of memory order.
    pub const SEEN_BY_CPUS: [Self; 4] =
        [Self::LazyTables, Self::TablesUnflushed, Self::HungInUnfilled, Self::FirstRunFlushed];
}
