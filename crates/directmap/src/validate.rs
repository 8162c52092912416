//! All that is kept beside the tables, recomputed from them.

use core::fmt;

use rhumb_machine::{PageSize, Pfn, PfnRange};
use rhumb_pagetable::{PageCounts, TableMemory};

use crate::change::DirectMap;
use crate::records::{Block, Hold, Totals};
use crate::rules::Rules;

/// What does not fit together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inconsistency {
    /// The map has other pages than are counted.
    Pages {
        /// What the tables hold.
        found: PageCounts,
        /// What is counted.
        counted: PageCounts,
    },
    /// A hold is not above the one before, or cannot be found.
    Order {
        /// Its frames.
        frames: PfnRange,
    },
    /// A page of a hold is not as the hold says.
    Entry {
        /// The page's first frame.
        pfn: Pfn,
    },
    /// A split is charged to a hold that does not break it, or its table is not where it should be.
    Split {
        /// The block.
        block: Block,
    },
    /// An owner's totals are wrong.
    Owner {
        /// What the journal adds up to.
        found: Totals,
        /// What is kept.
        counted: Totals,
    },
    /// Records are lost, or counted twice.
    Records {
        /// In use by holds, splits and owners.
        used: u64,
        /// Free.
        free: u64,
        /// In all, less those of tables that wait for a flush.
        capacity: u64,
    },
}

impl fmt::Display for Inconsistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pages { found, counted } => {
                write!(f, "the map has pages {found}, but {counted} are counted")
            }
            Self::Order { frames } => write!(f, "the hold of {frames} is out of order"),
            Self::Entry { pfn } => write!(f, "frame {pfn} is not mapped as its hold says"),
            Self::Split { block } => write!(f, "the split of {block} is not as it is written down"),
            Self::Owner { found, counted } => {
                write!(f, "an owner has {found:?}, but {counted:?} is written down")
            }
            Self::Records { used, free, capacity } => {
                write!(f, "{used} records are used and {free} free, of {capacity}")
            }
        }
    }
}

impl core::error::Error for Inconsistency {}

impl<T: TableMemory, R: Rules> DirectMap<T, R> {
    /// Checks everything against everything.
    ///
    /// # Errors
    /// The first thing that does not fit.
    ///
    /// Cost: a look at each entry and, for each owner, at each hold.
    pub fn validate(&self) -> Result<(), Inconsistency> {
        self.validate_pages()?;
        let mut used = 0;
        let mut end = Pfn::new(0);
        let mut next = self.journal.ceiling(end);
        while let Some(id) = next {
            let Some(hold) = self.journal.hold(id) else { break };
            if hold.frames.is_empty()
                || hold.frames.start() < end
                || self.journal.floor(hold.frames.start()) != Some(id)
            {
                return Err(Inconsistency::Order { frames: hold.frames });
            }
            end = hold.frames.end();
            used += 1 + self.validate_hold(hold)?;
            next = self.journal.next_hold(id);
        }
        for owner in self.owners() {
            used += 1;
            let mut found = Totals { holds: 0, frames: 0, splits: 0, limit: owner.totals.limit };
            for hold in self.holds().filter(|hold| hold.cause.owner == owner.id) {
                found.holds += 1;
                found.frames += hold.frames.frames();
            }
            found.splits = self.splits().filter(|split| split.hold.cause.owner == owner.id).count() as u64;
            if found != owner.totals {
                return Err(Inconsistency::Owner { found, counted: owner.totals });
            }
        }
        let (free, capacity) = (self.journal.available(), self.journal.capacity() - self.tree.waiting);
        if used + free != capacity {
            return Err(Inconsistency::Records { used, free, capacity });
        }
        Ok(())
    }

    fn validate_pages(&self) -> Result<(), Inconsistency> {
        let mut found = PageCounts::NONE;
        let all = PfnRange::new(Pfn::new(0), Pfn::new(self.tree.frames)).unwrap_or_default();
        self.tree.leaves(all).for_each(|leaf| found.add(leaf.size, 1));
        let counted = self.tree.pages;
        if found == counted { Ok(()) } else { Err(Inconsistency::Pages { found, counted }) }
    }

    /// Checks a hold's pages and splits, and returns how many splits it has.
    fn validate_hold(&self, hold: &Hold) -> Result<u64, Inconsistency> {
        let mut pfn = hold.frames.start();
        while pfn < hold.frames.end() {
            let Some((step, size)) = self.tree.end_of_walk(pfn) else {
                return Err(Inconsistency::Entry { pfn });
            };
            let page = Block::around(pfn, size);
            let as_said = match hold.pinned {
                Some(largest) => step.entry.is_present() && size <= largest,
                None => step.entry == hold.state.entry(pfn.addr(), size),
            };
            if page.start() != pfn || page.end() > hold.frames.end() || !as_said {
                return Err(Inconsistency::Entry { pfn });
            }
            pfn = page.end();
        }
        let mut splits = 0;
        let mut next = hold.splits;
        while let Some(split) = next.and_then(|id| self.journal.split(id)) {
            let walk = self.tree.walk(split.block.start());
            let level = split.block.size().level();
            let above = walk.steps().iter().find(|step| step.level == level);
            if !hold.breaks(split.block)
                || split.block.size() == PageSize::Size4K
                || above.and_then(|step| step.entry.child(level)) != Some(split.table)
            {
                return Err(Inconsistency::Split { block: split.block });
            }
            splits += 1;
            next = split.next;
        }
        Ok(splits)
    }
}
