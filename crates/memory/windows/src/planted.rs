//! Faults that a test plants into this crate, to see them found.

pub use rhumb_machine::planted::*;

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A window's slots begin anew without the flush.
    WrapWithoutFlush,
    /// A window opens and closes with interrupts on.
    InterruptibleWindow,
    /// A slot may be used again before its entry is clear.
    ReleasedBeforeCleared,
    /// A closed window's entry stays.
    EntryNotCleared,
}
