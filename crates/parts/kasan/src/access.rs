//! An access to memory, and how it breaks the shadow's rule. Reports are worded as Linux words them.

use core::fmt;

use rhumb_machine::VirtAddr;

use crate::state::State;

/// Which way the data went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// From memory.
    Read,
    /// To memory.
    Write,
}

/// An access that the shadow forbids. Displays as one line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The access's first byte.
    pub address: VirtAddr,
    /// Its length.
    pub bytes: u64,
    /// Whether it reads or writes.
    pub kind: Kind,
    /// The first byte of it that may not be touched.
    pub first_bad: VirtAddr,
    /// Why not.
    pub state: State,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Read => "read",
            Kind::Write => "write",
        };
        let plural = if self.bytes == 1 { "" } else { "s" };
        write!(f, "{kind} of {} byte{plural} at {}", self.bytes, self.address)?;
        if self.first_bad != self.address {
            write!(f, ", of which the byte at {}", self.first_bad)?;
        }
        write!(f, " is {}", self.state)
    }
}
