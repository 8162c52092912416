//! What the journal tells people: why a page is small, who holds what, in all or one by one.

use core::fmt;

use rhumb_machine::{PageSize, Pfn, PfnRange};
use rhumb_pagetable::{PageCounts, TableMemory};

use crate::change::{Counters, DirectMap};
use crate::journal::Journal;
use crate::records::{At, Block, Cause, HoldId, OwnerId, OwnerName, SplitId, Totals};
use crate::rules::Rules;
use crate::state::State;

/// A changed range.
#[derive(Clone, Copy, Debug)]
pub struct HoldReport {
    /// Its frames.
    pub frames: PfnRange,
    /// How they stand in the map.
    pub state: State,
    /// The largest page that they are kept in, where they are pinned small.
    pub pinned: Option<PageSize>,
    /// Who holds them.
    pub owner: OwnerName,
    /// Who, why, and where in the source.
    pub cause: Cause,
    /// On which CPU and when.
    pub at: At,
    id: HoldId,
}

impl fmt::Display for HoldReport {
    /// `[0x1000, 0x1001) np, by secret memory: a secret page, kernel/src/secret.rs:17, CPU 2 at 12.345678 s`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.frames)?;
        match self.pinned {
            Some(size) => write!(f, "kept in {size} pages")?,
            None => self.state.fmt(f)?,
        }
        let site = self.cause.call_site;
        write!(f, ", by {}: {}, {}:{}, ", self.owner, self.cause.reason, site.file(), site.line())?;
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
    /// For [`DirectMap::adopt`] and the like.
    pub id: OwnerId,
    /// Its name.
    pub name: OwnerName,
    /// What it has.
    pub totals: Totals,
}

impl fmt::Display for OwnerReport {
    /// `secret memory: 3 ranges, 12 kB, 2 large pages split of at most 16`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals { holds, frames, splits, limit } = self.totals;
        write!(f, "{}: {holds} ranges, {} kB, {splits} large pages split", self.name, frames * 4)?;
        if limit == u64::MAX { Ok(()) } else { write!(f, " of at most {limit}") }
    }
}

/// Why a frame stands in the map as it does.
#[derive(Clone, Copy, Debug)]
pub struct Why {
    /// The frame.
    pub pfn: Pfn,
    /// The page that it stands in, or would stand in if it were in the map.
    pub page: Option<Block>,
    /// The hold on it.
    pub held: Option<HoldReport>,
    /// A hold that keeps its 2-MiB block broken.
    pub breaks_2m: Option<HoldReport>,
    /// A hold that keeps its 1-GiB block broken.
    pub breaks_1g: Option<HoldReport>,
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
        for (size, breaks) in [("2M", &self.breaks_2m), ("1G", &self.breaks_1g)] {
            if let Some(hold) = breaks {
                write!(f, "\n  no {size} page because of {hold}")?;
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
        Some(HoldReport { frames, state, pinned, owner, cause: hold.cause, at: hold.at, id })
    }
}

impl<T: TableMemory, R: Rules> DirectMap<T, R> {
    /// Why `pfn` stands in the map as it does: `directmap why`.
    pub fn why(&self, pfn: Pfn) -> Why {
        let report = |id: Option<HoldId>| self.journal.report(id?);
        let inside = pfn.get() < self.tree.frames;
        let held = report(self.journal.covering(pfn));
        let end = if inside { self.tree.end_of_walk(pfn) } else { None };
        let page = end.filter(|(step, _)| held.is_some() || step.entry.is_present());
        let broken_by = |size: PageSize| {
            if page.is_none_or(|(_, found)| found >= size) || size > self.largest {
                return None;
            }
            report(self.journal.breaker(Block::around(pfn, size)))
        };
        Why {
            pfn,
            page: page.map(|(_, size)| Block::around(pfn, size)),
            held,
            breaks_2m: broken_by(PageSize::Size2M),
            breaks_1g: broken_by(PageSize::Size1G),
        }
    }

    /// All changed ranges, in ascending order.
    pub fn holds(&self) -> impl Iterator<Item = HoldReport> + '_ {
        self.holds_in(PfnRange::new(Pfn::new(0), Pfn::new(u64::MAX)).unwrap_or_default())
    }

    /// The changed ranges that have a frame in `frames`, in ascending order.
    pub fn holds_in(&self, frames: PfnRange) -> impl Iterator<Item = HoldReport> + '_ {
        let mut next = self.journal.first_in(frames);
        core::iter::from_fn(move || {
            let report = self.journal.report(next?)?;
            next = self.journal.next_hold(report.id);
            report.frames.overlaps(frames).then_some(report)
        })
    }

    /// All large pages that are split, each with the hold that it is charged to: `directmap journal`.
    pub fn splits(&self) -> impl Iterator<Item = SplitReport> + '_ {
        let mut hold =
            self.journal.first_in(PfnRange::new(Pfn::new(0), Pfn::new(u64::MAX)).unwrap_or_default());
        let mut split: Option<SplitId> = hold.and_then(|id| self.journal.hold(id)?.splits);
        core::iter::from_fn(move || {
            loop {
                if let Some(found) = split.and_then(|id| self.journal.split(id)) {
                    split = found.next;
                    return Some(SplitReport { block: found.block, hold: self.journal.report(hold?)? });
                }
                hold = self.journal.next_hold(hold?);
                split = self.journal.hold(hold?)?.splits;
            }
        })
    }

    /// All owners: `directmap owners`.
    pub fn owners(&self) -> impl Iterator<Item = OwnerReport> + '_ {
        let mut last = None;
        core::iter::from_fn(move || {
            let id = self.journal.next_owner(last)?;
            last = Some(id);
            self.owner(id)
        })
    }

    /// One owner; `None` if it is not registered.
    pub fn owner(&self, id: OwnerId) -> Option<OwnerReport> {
        self.journal.owner(id).map(|owner| OwnerReport { id, name: owner.name, totals: owner.totals })
    }

    /// Pages in the map, by size: what meminfo calls `DirectMap4k`, `DirectMap2M`, `DirectMap1G`.
    pub const fn pages(&self) -> PageCounts {
        self.tree.pages
    }

    /// How often what was done, since boot.
    pub const fn counters(&self) -> Counters {
        self.counters
    }
}

impl fmt::Display for Counters {
    /// The lines of `vmstat`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "direct_map_level2_splits {}", self.level2_splits)?;
        writeln!(f, "direct_map_level3_splits {}", self.level3_splits)?;
        writeln!(f, "direct_map_level2_collapses {}", self.level2_collapses)?;
        writeln!(f, "direct_map_level3_collapses {}", self.level3_collapses)?;
        writeln!(f, "direct_map_changes {}", self.changes)?;
        writeln!(f, "direct_map_restores {}", self.restores)?;
        write!(f, "direct_map_refusals {}", self.refusals)
    }
}
