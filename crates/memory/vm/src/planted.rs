//! Faults that a test plants into this crate, to see them found.

pub use rhumb_machine::planted::*;

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Frames and tables are free before CPUs have flushed.
    NoFlush,
    /// A page is copied while CPUs may write it.
    NoFlushOfCopy,
    /// A change of rights is not flushed.
    NoFlushOfRights,
    /// A fault does not look whether the word has changed while it asked for a frame.
    StaleLook,
    /// A fault, or a division, that is refused memory does not look whether another CPU has done its work.
    NoLookAfterFailure,
    /// A table that a range takes is not counted.
    TableNotCounted,
}
