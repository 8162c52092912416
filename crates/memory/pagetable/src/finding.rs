//! The findings of an audit. The `Display` of each is one line for people.

use core::fmt;

use rhumb_machine::{PhysAddr, PhysRange, VirtAddr};

use crate::scan::Malformed;
use crate::span::Span;

/// A rule that is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finding {
    /// Pages are writable and executable.
    WriteExecute {
        /// The pages.
        span: Span,
    },
    /// Frames are writable through one mapping and executable through another.
    WriteExecuteAlias {
        /// The frames.
        phys: PhysRange,
        /// Where they can be written.
        writable: Span,
        /// Where they can be executed.
        executable: Span,
    },
    /// Pages in the direct map's range are not at `phys + base`.
    OffsetBroken {
        /// The pages.
        span: Span,
        /// The place where the first should be; `None` past 2^64.
        expected: Option<VirtAddr>,
    },
    /// Pages in the direct map's window are executable.
    ExecutableDirectMap {
        /// The pages.
        span: Span,
    },
    /// Cached pages show frames that are not RAM.
    CachedDevice {
        /// The pages.
        span: Span,
        /// The first frame that is not RAM.
        phys: PhysAddr,
    },
    /// Pages in the kernel's half are for users.
    UserInKernelHalf {
        /// The pages.
        span: Span,
    },
    /// Pages in the user half are the supervisor's.
    SupervisorInUserHalf {
        /// The pages.
        span: Span,
    },
    /// Frames are mapped at two places of the kernel's half outside the direct map, which no caller declared.
    Overlap {
        /// The frames.
        phys: PhysRange,
        /// One place.
        one: Span,
        /// The other.
        other: Span,
    },
    /// An entry has reserved bits set.
    Malformed(Malformed),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteExecute { span } => write!(f, "writable and executable: {span}"),
            Self::WriteExecuteAlias { phys, writable, executable } => {
                write!(f, "frames {phys} are writable at {writable} and executable at {executable}")
            }
            Self::OffsetBroken { span, expected } => {
                write!(f, "in the direct map, but of frame {}: {span}", span.phys)?;
                match expected {
                    Some(virt) => write!(f, ", which belongs at {virt}"),
                    None => f.write_str(", which belongs nowhere"),
                }
            }
            Self::ExecutableDirectMap { span } => write!(f, "executable in the direct map: {span}"),
            Self::CachedDevice { span, phys } => write!(f, "{phys} is not RAM, but cached: {span}"),
            Self::UserInKernelHalf { span } => write!(f, "open to users in the kernel's half: {span}"),
            Self::SupervisorInUserHalf { span } => write!(f, "the supervisor's in the user half: {span}"),
            Self::Overlap { phys, one, other } => {
                write!(f, "frames {phys} are mapped twice: at {one} and at {other}")
            }
            Self::Malformed(bad) => {
                write!(f, "level-{} entry {} of table {}", bad.level, bad.index, bad.table.addr())?;
                write!(f, " for {}: {} has reserved bits {:#x} set", bad.virt, bad.entry, bad.reserved)
            }
        }
    }
}
