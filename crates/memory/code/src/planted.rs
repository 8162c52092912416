//! Faults that a test plants into this crate, to see them found.

pub use rhumb_machine::planted::*;

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A block is mapped while a window onto its frames is left.
    WindowLeft,
    /// The old frames are written before every CPU has flushed.
    SwitchUnflushed,
    /// Frames go back while CPUs may still reach them.
    ReleaseUnflushed,
    /// The spare frames miss the change before.
    SpareNotCaughtUp,
    /// Freed code stays.
    FreedCodeStays,
    /// A data part has the bytes of the last holder.
    DataNotCleared,
    /// The spare frames stay when the last block goes.
    SpareKept,
}
