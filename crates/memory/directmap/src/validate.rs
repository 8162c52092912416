//! All that is kept beside the tables, recomputed from them.

use core::fmt;
use core::task::Poll;

use rhumb_machine::{Block, PageSize, Pfn, PfnRange};
use rhumb_pagetable::{ENTRIES, Entry, PageCounts, TableMemory, Visit, edit};

use crate::map::DirectMap;
use crate::records::{Handle, HoldRecord, OwnerId, SplitId, Totals};
use crate::rules::Rules;
use crate::work::STEP_ENTRIES;

/// The things that do not fit together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inconsistency {
    /// The map has other pages than are counted.
    Pages {
        /// The contents of the tables.
        found: PageCounts,
        /// The count.
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
    /// A kept table does not say what the page says that has taken its place, or is in the map.
    Kept {
        /// Its block.
        block: Block,
    },
    /// The totals of some owner are not what its holds add up to.
    Owners,
    /// Records are lost, or counted twice.
    Records {
        /// In use by holds, splits and owners.
        used: u64,
        /// Free.
        free: u64,
        /// In all, less those of merged tables, which are kept or wait for a flush.
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
            Self::Kept { block } => write!(f, "the kept table of {block} is not as the map is"),
            Self::Owners => f.write_str("the totals of owners are not what their holds add up to"),
            Self::Records { used, free, capacity } => {
                write!(f, "{used} records are used and {free} free, of {capacity}")
            }
        }
    }
}

impl core::error::Error for Inconsistency {}

/// The sum over all holds, each weighted by its owner: equal sums mean equal totals of each owner.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Sums {
    holds: u64,
    frames: u64,
    splits: u64,
    breaks: u64,
}

impl Sums {
    fn add(&mut self, weight: u64, totals: &Totals) {
        for (sum, count) in [
            (&mut self.holds, totals.holds),
            (&mut self.frames, totals.frames),
            (&mut self.splits, totals.splits),
            (&mut self.breaks, totals.breaks),
        ] {
            *sum = sum.wrapping_add(weight.wrapping_mul(count));
        }
    }
}

/// Where a validation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Pages,
    Holds,
    Kept,
    Owners,
}

/// A validation under way: the work of [`DirectMap::validate`], in steps. The map may change between two steps: then
/// the sums are of no moment, and are not compared; each hold is checked all the same.
#[must_use = "it does nothing until its steps are done"]
#[derive(Debug)]
pub struct Validation {
    stage: Stage,
    /// The map's number of edits at the last step.
    edits: Option<u64>,
    is_disturbed: bool,
    next: Pfn,
    owner: Option<OwnerId>,
    pages: PageCounts,
    used: u64,
    holds: Sums,
    owners: Sums,
}

impl Validation {
    /// Returns one that has not begun.
    pub fn new() -> Self {
        Self {
            stage: Stage::Pages,
            edits: None,
            is_disturbed: false,
            next: Pfn::new(0),
            owner: None,
            pages: PageCounts::NONE,
            used: 0,
            holds: Sums::default(),
            owners: Sums::default(),
        }
    }

    /// Does the next step on `map`, the same one each time.
    ///
    /// # Errors
    /// As [`DirectMap::validate`].
    pub fn step<T: TableMemory, R: Rules>(
        &mut self,
        map: &DirectMap<T, R>,
    ) -> Poll<Result<(), Inconsistency>> {
        match map.advance_validation(self, STEP_ENTRIES) {
            Ok(false) => Poll::Pending,
            Ok(true) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl Default for Validation {
    fn default() -> Self {
        Self::new()
    }
}

/// A hold or an owner costs as much as so many entries.
const COST_OF_A_RECORD: u64 = 32;

impl<T: TableMemory, R: Rules> DirectMap<T, R> {
    /// Checks everything against everything.
    ///
    /// # Errors
    /// The first thing that does not fit.
    ///
    /// Cost: a look at each entry, hold and owner. In steps: [`Validation`].
    pub fn validate(&self) -> Result<(), Inconsistency> {
        let mut work = Validation::new();
        while !self.advance_validation(&mut work, u64::MAX)? {}
        Ok(())
    }

    /// Tells whether it is done.
    fn advance_validation(&self, work: &mut Validation, mut budget: u64) -> Result<bool, Inconsistency> {
        work.is_disturbed |= work.edits.is_some_and(|edits| edits != self.edits);
        work.edits = Some(self.edits);
        if work.stage == Stage::Pages {
            if !self.count_pages(work, &mut budget) {
                return Ok(false);
            }
            let (found, counted) = (work.pages, self.tree.pages);
            if !work.is_disturbed && found != counted {
                return Err(Inconsistency::Pages { found, counted });
            }
            (work.stage, work.next) = (Stage::Holds, Pfn::new(0));
        }
        if work.stage == Stage::Holds {
            if !self.validate_holds(work, &mut budget)? {
                return Ok(false);
            }
            (work.stage, work.next) = (Stage::Kept, Pfn::new(0));
        }
        if work.stage == Stage::Kept {
            if !self.validate_kept(work, &mut budget)? {
                return Ok(false);
            }
            work.stage = Stage::Owners;
        }
        if !self.sum_owners(work, &mut budget) {
            return Ok(false);
        }
        if work.is_disturbed {
            return Ok(true);
        }
        if work.holds != work.owners {
            return Err(Inconsistency::Owners);
        }
        let (used, free) = (work.used, self.journal.available());
        let capacity = self.journal.capacity() - self.quarantine.tables();
        if used + free != capacity {
            return Err(Inconsistency::Records { used, free, capacity });
        }
        Ok(true)
    }

    /// Counts pages by size. Whether it is done.
    fn count_pages(&self, work: &mut Validation, budget: &mut u64) -> bool {
        let all = PfnRange::new(work.next, Pfn::new(self.tree.frames)).unwrap_or_default();
        let mut scan = self.tree.scan(all);
        while let Some(next) = scan.next_address() {
            work.next = self.tree.pfn(next);
            if *budget == 0 {
                return false;
            }
            if let Some((Visit::Leaf(leaf), pages)) = scan.next_run_within(u64::MAX, budget) {
                work.pages.add(leaf.size, pages);
            }
        }
        true
    }

    /// Checks holds, and adds up what they and their splits are. Whether it is done.
    fn validate_holds(&self, work: &mut Validation, budget: &mut u64) -> Result<bool, Inconsistency> {
        while *budget > 0 {
            let Some(id) = self.journal.covering(work.next).or_else(|| self.journal.ceiling(work.next))
            else {
                return Ok(true);
            };
            let Some(hold) = self.journal.hold(id) else { return Ok(true) };
            if work.next <= hold.frames.start() {
                if hold.frames.is_empty() || self.journal.floor(hold.frames.start()) != Some(id) {
                    return Err(Inconsistency::Order { frames: hold.frames });
                }
                let splits = self.validate_splits(hold)?;
                let breaks = self.journal.breaks_of(hold.frames, hold.pinned);
                let totals = Totals { holds: 1, frames: hold.frames.frames(), splits, breaks, limit: 0 };
                work.holds.add(self.journal.weight(hold.cause.owner), &totals);
                work.used += 1 + splits;
                work.next = hold.frames.start();
                *budget = budget.saturating_sub(COST_OF_A_RECORD);
            }
            self.validate_pages(hold, &mut work.next, budget)?;
        }
        Ok(false)
    }

    fn sum_owners(&self, work: &mut Validation, budget: &mut u64) -> bool {
        while *budget > 0 {
            let Some(id) = self.journal.next_owner(work.owner) else { return true };
            let Some(owner) = self.journal.owner(id) else { return true };
            work.owners.add(self.journal.weight(id), &owner.totals());
            work.used += 1;
            work.owner = Some(id);
            *budget = budget.saturating_sub(COST_OF_A_RECORD);
        }
        false
    }

    /// Checks a hold's pages from `next` on, and leaves in it where to go on. At least one run of one page is checked,
    /// so that `next` lies past the start of each hold that has been added up: it is added up once.
    fn validate_pages(
        &self,
        hold: &HoldRecord,
        next: &mut Pfn,
        budget: &mut u64,
    ) -> Result<(), Inconsistency> {
        if hold.handle == Handle::Working {
            *next = hold.frames.end();
        }
        while *next < hold.frames.end() {
            let pfn = *next;
            let wrong = Inconsistency::Entry { pfn };
            let Some((step, size)) = self.tree.end_of_walk(pfn) else { return Err(wrong) };
            let left = hold.frames.end().since(pfn) / size.frames();
            if Block::around(pfn, size).start() != pfn || left == 0 {
                return Err(wrong);
            }
            let run = edit::run_of_pages(
                &self.tree.memory,
                step,
                usize::try_from(left.min((*budget).max(1))).unwrap_or(ENTRIES),
            );
            for page in 0..run {
                let pfn = pfn.plus(page as u64 * size.frames());
                let entry = self.tree.memory.read(step.table, step.index + page);
                let is_as_said = match hold.pinned {
                    Some(largest) => entry.is_present() && size <= largest,
                    None => entry == hold.state.entry(pfn.addr(), size),
                };
                if !is_as_said {
                    return Err(Inconsistency::Entry { pfn });
                }
            }
            *next = pfn.plus(run as u64 * size.frames());
            *budget = budget.saturating_sub(run as u64);
            if *budget == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Checks kept tables from that of `work.next` on. Whether it is done.
    fn validate_kept(&self, work: &mut Validation, budget: &mut u64) -> Result<bool, Inconsistency> {
        for (block, id) in self.quarantine.each_kept().filter(|(block, _)| block.start() >= work.next) {
            // Tables of blocks that begin at the same frame are of two sizes at most.
            if *budget == 0 && work.next < block.start() {
                work.next = block.start();
                return Ok(false);
            }
            if !self.is_kept_as_mapped(block, id) {
                return Err(Inconsistency::Kept { block });
            }
            *budget = budget.saturating_sub(ENTRIES as u64);
        }
        Ok(true)
    }

    /// Tells whether the kept table of a block has the entries by which a split of the page there would replace it.
    fn is_kept_as_mapped(&self, block: Block, id: SplitId) -> bool {
        let (Some(split), Some(smaller)) = (self.journal.split(id), block.size().smaller()) else {
            return false;
        };
        let Some((step, size)) = self.tree.end_of_walk(block.start()) else { return false };
        let first = if step.entry.is_present() {
            step.entry.attributes(size).map(|all| Entry::leaf(block.start().addr(), smaller, all))
        } else {
            Some(Entry::EMPTY)
        };
        size >= block.size()
            && split.block == block
            && first == Some(self.tree.memory.read(split.table, 0))
            && edit::is_uniform(&self.tree.memory, split.table, block.size())
    }

    /// Checks a hold's splits, and returns how many there are.
    fn validate_splits(&self, hold: &HoldRecord) -> Result<u64, Inconsistency> {
        let mut splits = 0;
        let mut next = hold.splits;
        while let Some(split) = next.and_then(|id| self.journal.split(id)) {
            if !hold.breaks(split.block)
                || split.block.size() == PageSize::Size4K
                || self.tree.split_table(split.block) != Some(split.table)
            {
                return Err(Inconsistency::Split { block: split.block });
            }
            splits += 1;
            next = split.next;
        }
        Ok(splits)
    }
}
