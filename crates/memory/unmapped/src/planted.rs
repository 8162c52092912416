//! Faults that a test plants into this crate, to see them found.

pub use rhumb_machine::planted::*;

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A frame can be taken again before it is zero.
    ListedBeforeZeroed,
}
