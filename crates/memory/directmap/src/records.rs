//! Records: the owners of changed frames, the large pages that their holds keep split, and the causes.
//!
//! A *hold* is a changed range: its frames, their state, its cause. Holds do not overlap. A *split* is a large page
//! that was replaced by a table, for as long as that lasts. Each split is charged to one hold that keeps its block
//! split, and is in that hold's list; when that hold goes and another still keeps the block split, the record moves to
//! its list. So every split has, at all times, an owner, a reason and a time that are true (I9).

use core::fmt;
use core::panic::Location;

use rhumb_machine::{Block, CpuId, Machine, PageSize, Pfn, PfnRange, Pinned};

use crate::limits::{Limits, Rate};
use crate::map_id::MapId;
use crate::slot_id::SlotId;
use crate::state::State;

/// The right to ask for changes in an owner's name: from [`crate::DirectMap::add_owner`], to be had from nowhere else,
/// and good for that map alone. No report has one in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OwnerId {
    pub(crate) slot: SlotId,
    pub(crate) map: MapId,
}

/// How people know an owner: a word, and a number where there are several of the kind (`task 17`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnerName {
    /// The word.
    pub name: &'static str,
    /// The number.
    pub number: Option<u64>,
}

impl OwnerName {
    /// Returns the only one of its kind.
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

/// The owner, the reason, and the place in the source.
#[derive(Clone, Copy, Debug)]
pub struct Cause {
    pub(crate) owner: OwnerId,
    /// Why: a few words.
    pub reason: &'static str,
    /// Where.
    pub call_site: &'static Location<'static>,
}

impl Cause {
    /// Makes a cause with the caller's place in the source.
    #[track_caller]
    pub const fn new(owner: OwnerId, reason: &'static str) -> Self {
        Self { owner, reason, call_site: Location::caller() }
    }

    /// Returns the owner.
    pub const fn owner(&self) -> OwnerId {
        self.owner
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
    /// Returns this CPU and the present time.
    ///
    /// # Panics
    /// If the token is another machine's.
    pub fn now<M: Machine>(machine: &M, pinned: Pinned<'_>) -> Self {
        Self { cpu: machine.cpu_of(pinned), time_ns: machine.now_ns() }
    }
}

/// The sums of an owner, and its limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Totals {
    /// Changed ranges.
    pub holds: u64,
    /// Frames in them.
    pub frames: u64,
    /// Large pages, of 2 MiB and of 1 GiB, that are split on its account.
    pub splits: u64,
    /// Large pages that its holds break, each counted for each of them, and one for each hold that breaks none: the sum
    /// that its limit bounds.
    pub breaks: u64,
    /// How many of those there may be.
    pub limit: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct HoldId(pub(crate) SlotId);

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct SplitId(pub(crate) SlotId);

/// Where the handle of a hold is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Handle {
    /// Its holder has it.
    Out,
    /// It was left, to be adopted.
    Left,
    /// A change is under way that takes several steps: pages before its cursor are changed, those behind are not.
    Working,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct HoldRecord {
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

impl HoldRecord {
    /// Tells whether `block` cannot be one page because of this hold alone.
    pub(crate) fn breaks(&self, block: Block) -> bool {
        let (frames, whole) = (self.frames, block.frames());
        let may_cover = match self.pinned {
            Some(size) => size >= block.size(),
            None => self.handle != Handle::Working,
        };
        frames.overlaps(whole) && !(may_cover && frames.covers(whole))
    }
}

/// Returns how many large pages, up to `largest`, a hold of `frames` is charged for: those that it breaks, and one
/// where it breaks none, because its record and its flushes are its own.
pub(crate) fn breaks_of(frames: PfnRange, pinned: Option<PageSize>, largest: PageSize) -> u64 {
    let of_size = |size: PageSize| {
        let (first, last) =
            (Block::around(frames.start(), size), Block::around(Pfn::new(frames.end().get() - 1), size));
        if pinned.is_some_and(|pinned| pinned < size) {
            return (last.start().get() - first.start().get()) / size.frames() + 1;
        }
        let (below, above) = (first.is_split_at(frames.start()), last.is_split_at(frames.end()));
        if first == last { u64::from(below || above) } else { u64::from(below) + u64::from(above) }
    };
    let sizes = [PageSize::Size2M, PageSize::Size1G].into_iter();
    if frames.is_empty() { 0 } else { sizes.filter(|&size| size <= largest).map(of_size).sum::<u64>().max(1) }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Split {
    pub(crate) block: Block,
    /// The table in place of the large page.
    pub(crate) table: Pfn,
    /// The next in the list of the hold that it is charged to, or of a batch.
    pub(crate) next: Option<SplitId>,
}

/// An owner, packed so that records are no larger for it. Its holds break fewer than 2^32 pages: so many take more than
/// 90 GB of records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    name: &'static str,
    /// `u64::MAX` for none.
    number: u64,
    pub(crate) frames: u64,
    pub(crate) paid_until_ns: u64,
    /// 0 for no rate.
    step_ns: u32,
    burst: u32,
    pub(crate) breaks: u32,
    /// `u32::MAX` for none.
    breaks_limit: u32,
    pub(crate) holds: u32,
    pub(crate) splits: u32,
    pub(crate) previous: Option<SlotId>,
    pub(crate) next: Option<SlotId>,
}

impl Owner {
    pub(crate) fn new(name: OwnerName, limits: Limits, next: Option<SlotId>) -> Self {
        let mut owner = Self {
            name: name.name,
            number: name.number.unwrap_or(u64::MAX),
            frames: 0,
            breaks: 0,
            breaks_limit: 0,
            step_ns: 0,
            paid_until_ns: 0,
            burst: 0,
            holds: 0,
            splits: 0,
            previous: None,
            next,
        };
        owner.set_limits(limits);
        owner
    }

    pub(crate) const fn set_limits(&mut self, limits: Limits) {
        self.breaks_limit = if limits.breaks < u32::MAX as u64 { limits.breaks as u32 } else { u32::MAX };
        (self.step_ns, self.burst) = match limits.rate {
            Some(rate) => (rate.step_ns, rate.burst),
            None => (0, 0),
        };
    }

    pub(crate) fn name(&self) -> OwnerName {
        OwnerName { name: self.name, number: (self.number != u64::MAX).then_some(self.number) }
    }

    pub(crate) fn totals(&self) -> Totals {
        Totals {
            holds: u64::from(self.holds),
            frames: self.frames,
            splits: u64::from(self.splits),
            breaks: u64::from(self.breaks),
            limit: if self.breaks_limit == u32::MAX { u64::MAX } else { u64::from(self.breaks_limit) },
        }
    }

    pub(crate) fn rate(&self) -> Option<Rate> {
        (self.step_ns > 0).then_some(Rate { step_ns: self.step_ns, burst: self.burst })
    }
}
