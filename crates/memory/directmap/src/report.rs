//! The journal's reports for people: why a page is small, which owner holds which frames, in all or one by one.

use core::fmt;
use core::panic::Location;

use rhumb_machine::{Block, Counted, PageSize, Pfn, PfnRange};
use rhumb_pagetable::{ENTRIES, PageCounts, TableMemory};

use crate::journal::Journal;
use crate::map::{Counters, DirectMap};
use crate::records::{At, Cause, Handle, HoldId, OwnerId, OwnerName, Totals};
use crate::rules::Rules;
use crate::state::State;

/// A changed range.
#[derive(Clone, Copy, Debug)]
pub struct HoldReport {
    /// Its frames.
    pub frames: PfnRange,
    /// Their state in the map.
    pub state: State,
    /// The largest page that they are kept in, where they are pinned small.
    pub pinned: Option<PageSize>,
    /// The owner of the hold.
    pub owner: OwnerName,
    /// Why: a few words.
    pub reason: &'static str,
    /// Where in the source.
    pub call_site: &'static Location<'static>,
    /// On which CPU and when.
    pub at: At,
    /// Whether its handle was left, to be adopted.
    pub is_left: bool,
    cause: Cause,
    id: HoldId,
}

impl HoldReport {
    /// Tells whether it is `owner`'s.
    pub fn is_of(&self, owner: OwnerId) -> bool {
        self.cause.owner == owner
    }
}

impl fmt::Display for HoldReport {
    /// `[0x1000, 0x1001) np, by secret memory: a secret page, kernel/src/secret.rs:17, CPU 2 at 12.345678 s`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.frames)?;
        match self.pinned {
            Some(size) => write!(f, "kept in {size} pages")?,
            None => self.state.fmt(f)?,
        }
        let site = self.call_site;
        write!(f, ", by {}: {}, {}:{}, ", self.owner, self.reason, site.file(), site.line())?;
        let (seconds, rest) = (self.at.time_ns / 1_000_000_000, self.at.time_ns % 1_000_000_000);
        write!(f, "CPU {} at {seconds}.{:06} s", self.at.cpu, rest / 1000)
    }
}

/// A large page that is split, and a hold that keeps it so.
#[derive(Clone, Copy, Debug)]
pub struct SplitReport {
    /// Where the large page stood.
    pub block: Block,
    /// The hold that it is charged to.
    pub hold: HoldReport,
}

impl fmt::Display for SplitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} split for {}", self.block, self.hold)
    }
}

/// An owner and its totals.
#[derive(Clone, Copy, Debug)]
pub struct OwnerReport {
    /// Its name.
    pub name: OwnerName,
    /// Its totals.
    pub totals: Totals,
}

impl fmt::Display for OwnerReport {
    /// `secret memory: 3 ranges, 12 kB, 2 large pages split, 6 of 16 breaks`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals { holds, frames, splits, breaks, limit } = self.totals;
        write!(
            f,
            "{}: {}, {} kB, {} split",
            self.name,
            Counted(holds, "range"),
            frames * 4,
            Counted(splits, "large page")
        )?;
        if limit == u64::MAX { Ok(()) } else { write!(f, ", {breaks} of {}", Counted(limit, "break")) }
    }
}

/// Why boot has not mapped a block by one page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BootReason {
    /// Not all of it is RAM in the map.
    Hole,
    /// Parts of it are mapped otherwise than the rest: read-only frames, the kernel's text.
    Permissions,
    /// Boot was told to use small pages.
    Small,
}

impl fmt::Display for BootReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hole => "not all of it is RAM in the map",
            Self::Permissions => "boot maps a part of it otherwise than the rest",
            Self::Small => "boot has built it of smaller pages",
        })
    }
}

/// Why a block is not one page.
#[derive(Clone, Copy, Debug)]
pub enum Broken {
    /// A change has split it, and holds keep it so.
    By {
        /// The hold that it is charged to, as in [`DirectMap::splits`]; another where that is not among the first
        /// [`LOOKED_AT`].
        hold: HoldReport,
        /// How many others break it, too; at least so many where it is [`LOOKED_AT`].
        others: u64,
    },
    /// It never was one.
    SinceBoot(BootReason),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::By { hold, others: 0 } => write!(f, "because of {hold}"),
            Self::By { hold, others } => {
                let more = if *others >= LOOKED_AT { " or more" } else { "" };
                let range = if *others == 1 { "range" } else { "ranges" };
                write!(f, "because of {hold}, and of {others}{more} other {range}")
            }
            Self::SinceBoot(reason) => write!(f, "since boot: {reason}"),
        }
    }
}

/// Holds in a block that [`DirectMap::why`] looks at.
pub const LOOKED_AT: u64 = 32;

/// Why a frame is mapped as it is.
#[derive(Clone, Copy, Debug)]
pub struct Why {
    /// The frame.
    pub pfn: Pfn,
    /// The page that it is in, or would be in if it were in the map.
    pub page: Option<Block>,
    /// The hold on it.
    pub held: Option<HoldReport>,
    /// Why its 2-MiB block is not one page; `None` where it is.
    pub broken_2m: Option<Broken>,
    /// Why its 1-GiB block is not one page; `None` where it is, or where the CPU has no such pages.
    pub broken_1g: Option<Broken>,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.page {
            Some(page) => write!(f, "frame {} is in a page of {page}", self.pfn)?,
            None => write!(f, "frame {} is not in the direct map", self.pfn)?,
        }
        if let Some(held) = &self.held {
            write!(f, "\n  held: {held}")?;
        }
        for (size, broken) in [("2M", &self.broken_2m), ("1G", &self.broken_1g)] {
            if let Some(broken) = broken {
                write!(f, "\n  no {size} page {broken}")?;
            }
        }
        Ok(())
    }
}

impl Journal {
    fn report(&self, id: HoldId) -> Option<HoldReport> {
        let hold = self.hold(id)?;
        let owner = self.name_of(hold.cause.owner);
        let (frames, state, pinned) = (hold.frames, hold.state, hold.pinned);
        let Cause { reason, call_site, .. } = hold.cause;
        let is_left = hold.handle == Handle::Left;
        let (cause, at) = (hold.cause, hold.at);
        Some(HoldReport { frames, state, pinned, owner, reason, call_site, at, is_left, cause, id })
    }
}

impl<T: TableMemory, R: Rules> DirectMap<T, R> {
    /// Tells why `pfn` is mapped as it is: `directmap why`.
    ///
    /// Cost: a few walks, a look at [`LOOKED_AT`] holds for each size, and at two tables where boot is the reason.
    pub fn why(&self, pfn: Pfn) -> Why {
        let report = |id: Option<HoldId>| self.journal.report(id?);
        let inside = pfn.get() < self.tree.frames;
        let held = report(self.journal.covering(pfn));
        let end = if inside { self.tree.end_of_walk(pfn) } else { None };
        let page = end.filter(|(step, _)| held.is_some() || step.entry.is_present());
        let broken = |size: PageSize| {
            if page.is_none_or(|(_, found)| found >= size) || size > self.largest {
                return None;
            }
            let block = Block::around(pfn, size);
            let by = if self.tree.split_table(block).is_some() { self.broken_by(block) } else { None };
            Some(by.unwrap_or_else(|| Broken::SinceBoot(self.boot_reason(block))))
        };
        Why {
            pfn,
            page: page.map(|(_, size)| Block::around(pfn, size)),
            held,
            broken_2m: broken(PageSize::Size2M),
            broken_1g: broken(PageSize::Size1G),
        }
    }

    /// Returns the hold that a block is charged to, and how many others break it.
    fn broken_by(&self, block: Block) -> Option<Broken> {
        let last = self.journal.breaker(block)?;
        let mut charged = if self.journal.is_charged_to(block, last) { Some(last) } else { None };
        let (mut next, mut looked_at) = (self.journal.first_in(block.frames()), 0);
        let mut others = 0;
        while let Some(id) = next.filter(|_| looked_at < LOOKED_AT) {
            let Some(hold) = self.journal.hold(id).filter(|hold| hold.frames.overlaps(block.frames())) else {
                break;
            };
            if charged.is_none() && self.journal.is_charged_to(block, id) {
                charged = Some(id);
            }
            looked_at += 1;
            others += u64::from(hold.breaks(block));
            next = self.journal.next_hold(id);
        }
        // The last one is one of them, or lies behind those that were looked at.
        let others = if looked_at < LOOKED_AT { others.saturating_sub(1) } else { LOOKED_AT };
        Some(Broken::By { hold: self.journal.report(charged.unwrap_or(last))?, others })
    }

    /// Tells why a block that no change has split is not one page.
    fn boot_reason(&self, block: Block) -> BootReason {
        let entry = self.tree.entry_of(block).map(|step| step.entry);
        let Some(table) = entry.ok().and_then(|entry| entry.child(block.size().level())) else {
            return BootReason::Hole;
        };
        let Some(smaller) = block.size().smaller() else { return BootReason::Small };
        let mut access = None;
        let mut looked_at = 0;
        for index in 0..ENTRIES {
            let part = Block::around(block.start().plus(index as u64 * smaller.frames()), smaller);
            let entry = self.tree.memory.read(table, index);
            if entry.child(smaller.level()).is_some() {
                if self.tree.split_table(part).is_some() {
                    continue;
                }
                return self.boot_reason(part);
            }
            let is_ordinary = entry == State::ORDINARY.entry(part.start().addr(), smaller);
            if !is_ordinary {
                // A state that a hold has made is not boot's doing.
                looked_at += 1;
                if looked_at > LOOKED_AT {
                    break;
                }
                if self.journal.covering(part.start()).is_some() {
                    continue;
                }
                if !entry.is_present() {
                    return BootReason::Hole;
                }
            }
            if *access.get_or_insert(is_ordinary) != is_ordinary {
                return BootReason::Permissions;
            }
        }
        BootReason::Small
    }

    /// Returns all changed ranges, in ascending order.
    pub fn holds(&self) -> impl Iterator<Item = HoldReport> + '_ {
        self.holds_in(PfnRange::new(Pfn::new(0), Pfn::new(u64::MAX)).unwrap_or_default())
    }

    /// Returns the changed ranges that have a frame in `frames`, in ascending order.
    pub fn holds_in(&self, frames: PfnRange) -> impl Iterator<Item = HoldReport> + '_ {
        let mut next = self.journal.first_in(frames);
        core::iter::from_fn(move || {
            let report = self.journal.report(next?)?;
            next = self.journal.next_hold(report.id);
            report.frames.overlaps(frames).then_some(report)
        })
    }

    /// Returns all large pages that are split, each with the hold that it is charged to: `directmap journal`.
    pub fn splits(&self) -> impl Iterator<Item = SplitReport> + '_ {
        self.holds().flat_map(|hold| self.splits_of(hold))
    }

    /// Returns the large pages that are split on a hold's account: a dozen at most.
    pub fn splits_of(&self, hold: HoldReport) -> impl Iterator<Item = SplitReport> + '_ {
        let mut next = self.journal.hold(hold.id).and_then(|hold| hold.splits);
        core::iter::from_fn(move || {
            let split = self.journal.split(next?)?;
            next = split.next;
            Some(SplitReport { block: split.block, hold })
        })
    }

    /// Returns how many changed ranges there are.
    pub const fn hold_count(&self) -> u64 {
        self.journal.holds
    }

    /// Returns how many large pages are split.
    pub const fn split_count(&self) -> u64 {
        self.journal.splits
    }

    /// Returns how many merged tables are kept, for their blocks to be split again or for the next flush of all.
    pub const fn kept_tables(&self) -> u64 {
        self.quarantine.kept()
    }

    /// Returns the merged tables that CPUs may still walk, each with its block: those that are kept, and those that
    /// wait for the flush of a batch, but for some of these if there are more than 64.
    pub fn merged_tables(&self) -> impl Iterator<Item = (Block, Pfn)> + '_ {
        let table = |(block, id)| Some((block, self.journal.split(id)?.table));
        self.quarantine.each_placed().filter_map(table)
    }

    /// Returns all owners: `directmap owners`.
    pub fn owners(&self) -> impl Iterator<Item = OwnerReport> + '_ {
        let mut last = None;
        core::iter::from_fn(move || {
            let id = self.journal.next_owner(last)?;
            last = Some(id);
            self.owner(id)
        })
    }

    /// Returns one owner; `None` if it is not registered.
    pub fn owner(&self, id: OwnerId) -> Option<OwnerReport> {
        self.journal.owner(id).map(|owner| OwnerReport { name: owner.name(), totals: owner.totals() })
    }

    /// Returns the pages in the map by size, which meminfo calls `DirectMap4k`, `DirectMap2M`, `DirectMap1G`.
    pub const fn pages(&self) -> PageCounts {
        self.tree.pages
    }

    /// Returns the counts since boot.
    pub const fn counters(&self) -> Counters {
        self.counters
    }
}

impl fmt::Display for Counters {
    /// Returns the lines of `vmstat`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "direct_map_level2_splits {}", self.level2_splits)?;
        writeln!(f, "direct_map_level3_splits {}", self.level3_splits)?;
        writeln!(f, "direct_map_level2_collapses {}", self.level2_collapses)?;
        writeln!(f, "direct_map_level3_collapses {}", self.level3_collapses)?;
        writeln!(f, "direct_map_tables_taken_back {}", self.tables_taken_back)?;
        writeln!(f, "direct_map_changes {}", self.changes)?;
        writeln!(f, "direct_map_restores {}", self.restores)?;
        write!(f, "direct_map_refusals {}", self.refusals)
    }
}
