//! Rules of the map's user, which knows which frames are off limits and how frames are mapped elsewhere.
//!
//! The map sees its own tables only. [`Rules`], which it asks before each change, tell it that frames are the kernel's
//! text, or a table, or writable through another mapping.

use core::fmt;

use rhumb_machine::{Block, PfnRange, PhysRange};

use crate::records::{Cause, OwnerId};
use crate::state::State;

/// A rule that forbids a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// The frames hold the kernel's image: its own mapping decides what may be done with them (I4).
    KernelImage,
    /// The frames hold page tables, those of the map's reserve among them.
    PageTables,
    /// The frames are the firmware's, or otherwise spoken for.
    Reserved,
    /// The frames would be executable here, and their owner is none of those that may have such frames.
    ExecutableHere,
    /// The frames would be executable here, but are writable through another mapping (I4).
    WritableElsewhere,
    /// The frames would be writable here, but are executable through another mapping (I4).
    ExecutableElsewhere,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KernelImage => "they hold the kernel's image",
            Self::PageTables => "they hold page tables",
            Self::Reserved => "they are reserved",
            Self::ExecutableHere => "their owner may have nothing executable in the direct map",
            Self::WritableElsewhere => "they are writable through another mapping",
            Self::ExecutableElsewhere => "they are executable through another mapping",
        })
    }
}

/// Frames that a rule protects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Forbidden {
    /// Those frames, or the first of them.
    pub frames: PfnRange,
    /// The rule.
    pub rule: Rule,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frames {} must stay as they are: {}", self.frames, self.rule)
    }
}

/// A judge of changes, not asked when frames become ordinary again, because a restore cannot be refused: a holder that
/// shows its frames elsewhere as executable ends that first (I4).
pub trait Rules {
    /// Tells whether `frames` may be mapped as `wanted`, held by `owner`. Runs with the map's lock held and interrupts
    /// off.
    fn check(&self, owner: OwnerId, frames: PfnRange, wanted: State) -> Result<(), Forbidden>;

    /// Is told that a page has been split; `cause` returns the cause of the hold that keeps it so. Runs with the map's
    /// lock held and interrupts off.
    fn note_split(&self, block: Block, cause: impl FnOnce() -> Option<Cause>) {
        let _ = (block, cause);
    }

    /// Is told that a page has been merged. Runs with the map's lock held and interrupts off.
    fn note_merge(&self, block: Block) {
        let _ = block;
    }
}

/// A list of frames that no owner may change.
#[derive(Clone, Copy, Debug)]
pub struct OffLimits<'ranges>(pub &'ranges [(PhysRange, Rule)]);

impl Rules for OffLimits<'_> {
    fn check(&self, _owner: OwnerId, frames: PfnRange, _wanted: State) -> Result<(), Forbidden> {
        let wanted = frames.addrs();
        for &(range, rule) in self.0 {
            let shared = range.intersection(wanted);
            if !shared.is_empty()
                && let Some(outer) = shared.align_outward(rhumb_machine::PageSize::Size4K)
            {
                return Err(Forbidden { frames: outer.whole_frames(), rule });
            }
        }
        Ok(())
    }
}
