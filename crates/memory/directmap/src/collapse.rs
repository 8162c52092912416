//! Merging the pages that boot has left small.
//!
//! A page that a change has split is merged by the restore that removes the last reason; no caller need ask. A map that
//! was built of small pages (`directmap=4k`) has tables that no change has made: those can be merged on request.

use core::task::Poll;

use rhumb_machine::{Block, PageSize, Pfn, PfnRange};
use rhumb_pagetable::{ENTRIES, TableMemory, edit};

use crate::batch::Batch;
use crate::map::DirectMap;
use crate::rules::Rules;
use crate::work::STEP_ENTRIES;

/// A walk and a look into the journal, in entries.
const COST_OF_A_LOOK: u64 = 16;

/// The result of [`DirectMap::collapse`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Collapsed {
    /// 2-MiB pages made.
    pub level2: u64,
    /// 1-GiB pages made.
    pub level3: u64,
    /// Pages that could have been made with more records in the reserve.
    pub left: u64,
}

/// Tables that a collapse leaves in a batch before it waits for the flush.
pub const MERGES_OF_A_FLUSH: u64 = 64;

/// A collapse under way: the work of [`DirectMap::collapse`], in steps.
#[must_use = "it does nothing until its steps are done"]
#[derive(Debug)]
pub struct Collapsing {
    frames: PfnRange,
    size: PageSize,
    next: Pfn,
    done: Collapsed,
}

impl Collapsing {
    /// Returns a collapse that has not begun.
    pub const fn new(frames: PfnRange) -> Self {
        Self {
            frames,
            size: PageSize::Size2M,
            next: frames.start(),
            done: Collapsed { level2: 0, level3: 0, left: 0 },
        }
    }

    /// Does the next step on `map`. Where the batch has [`MERGES_OF_A_FLUSH`] tables, or it has some and the reserve no
    /// record, the batch [is due](Batch::is_due): nothing more is done until it has been flushed and its tables
    /// reclaimed.
    ///
    /// # Panics
    /// If the batch is another map's.
    pub fn step<T: TableMemory, R: Rules>(
        &mut self,
        map: &mut DirectMap<T, R>,
        batch: &mut Batch,
    ) -> Poll<Collapsed> {
        map.advance_collapse(self, STEP_ENTRIES, MERGES_OF_A_FLUSH, batch)
    }
}

impl<T: TableMemory, R: Rules> DirectMap<T, R> {
    /// Merges all blocks within `frames` whose pages are alike and that no hold keeps split, up to the largest page of
    /// the CPU. Their tables go to the reserve. No attribute changes: where it stops short, the map is as good as
    /// before.
    ///
    /// Cost: a read of each entry of each table in the range; one write and one record for each page made. Holes and
    /// larger pages, which have no tables, are passed over by the entry that ends the walk. In steps: [`Collapsing`].
    ///
    /// # Panics
    /// If the batch is another map's.
    pub fn collapse(&mut self, frames: PfnRange, batch: &mut Batch) -> Collapsed {
        let mut work = Collapsing::new(frames);
        loop {
            if let Poll::Ready(done) = self.advance_collapse(&mut work, u64::MAX, u64::MAX, batch) {
                return done;
            }
        }
    }

    fn advance_collapse(
        &mut self,
        work: &mut Collapsing,
        mut budget: u64,
        merges: u64,
        batch: &mut Batch,
    ) -> Poll<Collapsed> {
        batch.demand(self.journal.map);
        self.edits += 1;
        let end = work.frames.end().min(Pfn::new(self.tree.frames));
        while work.size <= self.largest {
            // The first block that begins there or later.
            let mut block = Block::around(work.next.plus(work.size.frames() - 1), work.size);
            while block.end() <= end {
                if batch.tables() >= merges {
                    batch.ask_for_flush();
                }
                if budget == 0 || merges < u64::MAX && batch.is_due() {
                    work.next = block.start();
                    return Poll::Pending;
                }
                budget = budget.saturating_sub(COST_OF_A_LOOK);
                let step = self.collapse_block(block, batch);
                if matches!(step, Step::NoRecord) && merges < u64::MAX && batch.tables() > 0 {
                    // The tables in the batch have the records, and give them back.
                    batch.ask_for_flush();
                    work.next = block.start();
                    return Poll::Pending;
                }
                block = Block::around(block.end(), work.size);
                match step {
                    Step::Merged if work.size == PageSize::Size2M => work.done.level2 += 1,
                    Step::Merged => work.done.level3 += 1,
                    Step::NoRecord => work.done.left += 1,
                    Step::Whole => {}
                    // The end is one of blocks, too, and the blocks up to there have no tables.
                    Step::NoTables { end } => block = Block::around(end, work.size),
                }
                if !matches!(step, Step::NoTables { .. }) {
                    budget = budget.saturating_sub(ENTRIES as u64);
                }
            }
            if work.size == PageSize::Size1G {
                break;
            }
            (work.size, work.next) = (PageSize::Size1G, work.frames.start());
        }
        Poll::Ready(work.done)
    }

    fn collapse_block(&mut self, block: Block, batch: &mut Batch) -> Step {
        let level = block.size().level();
        let step = match self.tree.entry_of(block) {
            Ok(step) => step,
            Err(above) => return Step::NoTables { end: self.tree.end_of_entry(block.start(), above) },
        };
        let Some(table) = step.entry.child(level) else { return Step::Whole };
        if self.journal.breaker(block).is_some() || !edit::is_uniform(&self.tree.memory, table, block.size())
        {
            return Step::Whole;
        }
        let first = self.tree.memory.read(table, 0);
        let is_left = match block.size().smaller() {
            // A table that maps other memory is wrong (I1), and stays for an audit to find.
            Some(smaller) if first.is_present() => first.phys(smaller) != block.start().addr(),
            // Absent pages stay as they are. A restore flushes nothing for them, and a CPU that has cached the entry
            // which refers to their table would go on finding them absent there.
            _ => true,
        };
        if is_left {
            return Step::Whole;
        }
        match self.journal.note_table(block, table) {
            Some(id) => {
                // A flush comes soon, for many of them.
                self.merge(block, table);
                self.send_off(id, block, batch);
                Step::Merged
            }
            None => Step::NoRecord,
        }
    }
}

/// The outcome for one block.
#[derive(Clone, Copy)]
enum Step {
    Merged,
    /// It is one page already, or cannot be.
    Whole,
    /// Up to here the walk ends above the block: in a hole, or a larger page.
    NoTables {
        end: Pfn,
    },
    NoRecord,
}
