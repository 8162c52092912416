//! Faults that a test plants into this crate, to see them found.

pub use rhumb_machine::planted::*;

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// CPUs that idle flush tables later.
    LazyTables,
    /// An unmap flushes the pages, and not the tables that were left empty.
    TablesUnflushed,
    /// A flusher leaves a CPU alone that has a mark already, without a mark of its own.
    MarkNotExchanged,
}
