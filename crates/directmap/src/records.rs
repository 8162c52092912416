//! What is written down: who holds which frames changed, which large pages that keeps broken, and whose they are.
//!
//! A *hold* is a changed range: its frames, their state, its cause. Holds do not overlap. A *split* is a large page
//! that was replaced by a table, for as long as that lasts. Each split is charged to one hold that keeps its block
//! broken, and hangs in that hold's list; when that hold goes and another still keeps the block broken, the split moves
//! to its list. So every split has, at all times, an owner, a reason and a time that are true (I9).

use core::fmt;
use core::panic::Location;

use rhumb_machine::{CpuId, Machine, PageSize, Pfn, PfnRange, Pinned};

use crate::slot_id::SlotId;
use crate::state::State;

/// Who asks for changes; made by [`crate::DirectMap::add_owner`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OwnerId(pub(crate) SlotId);

/// How people know an owner: a word, and a number where there are several of the kind (`task 17`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnerName {
    /// The word.
    pub name: &'static str,
    /// The number.
    pub number: Option<u64>,
}

impl OwnerName {
    /// The only one of its kind.
    pub const fn of(name: &'static str) -> Self {
        Self { name, number: None }
    }
}

impl fmt::Display for OwnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        match self.number {
            Some(number) => write!(f, " {number}"),
            None => Ok(()),
        }
    }
}

/// Who asks, why, and where in the source.
#[derive(Clone, Copy, Debug)]
pub struct Cause {
    /// Who.
    pub owner: OwnerId,
    /// Why: a few words.
    pub reason: &'static str,
    /// Where.
    pub call_site: &'static Location<'static>,
}

impl Cause {
    /// With the caller's place in the source.
    #[track_caller]
    pub const fn new(owner: OwnerId, reason: &'static str) -> Self {
        Self { owner, reason, call_site: Location::caller() }
    }
}

/// On which CPU and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct At {
    /// The CPU.
    pub cpu: CpuId,
    /// Nanoseconds since boot.
    pub time_ns: u64,
}

impl At {
    /// Here and now.
    pub fn now<M: Machine>(machine: &M, pinned: Pinned<'_>) -> Self {
        Self { cpu: pinned.cpu(), time_ns: machine.now_ns() }
    }
}

/// What an owner has, and how much it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Totals {
    /// Changed ranges.
    pub holds: u64,
    /// Frames in them.
    pub frames: u64,
    /// Large pages, of 2 MiB and of 1 GiB, that are split on its account.
    pub splits: u64,
    /// How many of them there may be.
    pub limit: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct HoldId(pub(crate) SlotId);

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct SplitId(pub(crate) SlotId);

/// Whether somebody has the handle of a hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Handle {
    Out,
    Left,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    pub(crate) frames: PfnRange,
    pub(crate) state: State,
    /// Kept in pages of this size at most.
    pub(crate) pinned: Option<PageSize>,
    pub(crate) handle: Handle,
    pub(crate) cause: Cause,
    pub(crate) at: At,
    pub(crate) splits: Option<SplitId>,
    /// Children in the tree by address.
    pub(crate) left: Option<HoldId>,
    pub(crate) right: Option<HoldId>,
}

impl Hold {
    /// Whether `block` cannot be one page because of this hold alone.
    pub(crate) fn breaks(&self, block: Block) -> bool {
        let (frames, whole) = (self.frames, block.frames());
        match self.pinned {
            Some(size) if size < block.size => frames.overlaps(whole),
            _ => frames.overlaps(whole) && !frames.covers(whole),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Split {
    pub(crate) block: Block,
    /// What stands in place of the large page.
    pub(crate) table: Pfn,
    /// The next in the list of the hold that it is charged to, or of a batch.
    pub(crate) next: Option<SplitId>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub(crate) name: OwnerName,
    pub(crate) totals: Totals,
    pub(crate) next: Option<OwnerId>,
}

/// An aligned stretch of RAM that one page of `size` can map.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Block {
    start: Pfn,
    size: PageSize,
}

impl Block {
    /// The block of `size` around `pfn`.
    pub const fn around(pfn: Pfn, size: PageSize) -> Self {
        Self { start: Pfn::new(pfn.get() & !(size.frames() - 1)), size }
    }

    /// Its first frame.
    pub const fn start(self) -> Pfn {
        self.start
    }

    /// Its size.
    pub const fn size(self) -> PageSize {
        self.size
    }

    /// One past its last frame.
    pub const fn end(self) -> Pfn {
        self.start.plus(self.size.frames())
    }

    /// Its frames.
    pub fn frames(self) -> PfnRange {
        PfnRange::new(self.start, self.end()).unwrap_or_default()
    }

    /// Whether a border at `pfn` cuts it in two.
    pub const fn is_cut_at(self, pfn: Pfn) -> bool {
        self.start.get() < pfn.get() && pfn.get() < self.end().get()
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:#x}", self.size, self.start.addr().get())
    }
}
