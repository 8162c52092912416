//! Faults that a test plants into this crate, to see them found.

pub use rhumb_machine::planted::*;

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Spent slots are used again without the flush.
    ReusedWithoutFlush,
    /// The entry of a mapping that has ended stays.
    EntryStays,
}
