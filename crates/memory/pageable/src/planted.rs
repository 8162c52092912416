//! Faults that a test plants into this crate, to see them found.

pub use rhumb_machine::planted::*;

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Pages go out while CPUs may have their translations.
    NoFlush,
    /// Pages go out although they are pinned.
    PinsIgnored,
    /// The store is not told that a page has come in.
    SlotKept,
}
