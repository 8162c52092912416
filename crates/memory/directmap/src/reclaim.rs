//! The way of merged tables back to the reserve, from a batch that was flushed, in steps.
//!
//! One flush frees up to 64 kept tables, and those of the batch's own merges. For each of them a step searches the
//! quarantine and closes the gap there, frees a record, and writes two entries. So the map's lock is held for a few
//! tables at a time ([`STEP_TABLES`]).

use core::task::Poll;

use rhumb_machine::impossible;
use rhumb_pagetable::flush::FlushStats;
use rhumb_pagetable::{Entry, TableMemory};

use crate::batch::{FlushedBatch, MergedTables};
use crate::map::DirectMap;
use crate::rules::Rules;

/// Tables that one step takes back. Closing the gap of each moves at most 3 KiB of the quarantine's places, which takes
/// some 0.1 us.
pub const STEP_TABLES: usize = 8;

/// The tables of a flushed batch, on their way to the reserve: the work of [`DirectMap::reclaim_tables`], in steps.
#[must_use = "tables and their records are lost unless all steps are done"]
#[derive(Debug)]
pub struct Reclaiming {
    stats: FlushStats,
    stage: Stage,
}

/// How far a reclaim has come.
#[derive(Debug)]
enum Stage {
    /// The map has not seen the ticket.
    Flushed(FlushedBatch),
    Tables(MergedTables),
    Done,
}

impl Reclaiming {
    /// Returns a reclaim that has not begun.
    pub const fn new(flushed: FlushedBatch) -> Self {
        Self { stats: flushed.stats(), stage: Stage::Flushed(flushed) }
    }

    /// Does the next step: takes up to [`STEP_TABLES`] tables back into `map`, to which the batch belongs. The last
    /// step returns how much was flushed.
    ///
    /// # Panics
    /// As [`DirectMap::reclaim_tables`].
    pub fn step<T: TableMemory, R: Rules>(&mut self, map: &mut DirectMap<T, R>) -> Poll<FlushStats> {
        map.advance_reclaim(self, STEP_TABLES)
    }
}

impl<T: TableMemory, R: Rules> DirectMap<T, R> {
    /// Takes back the tables of a flushed batch of this map, and returns how much was flushed.
    ///
    /// Cost: two writes for each table. In steps: [`Reclaiming`].
    ///
    /// # Panics
    /// If the batch is another map's, or another machine than the map's has flushed it.
    pub fn reclaim_tables(&mut self, flushed: FlushedBatch) -> FlushStats {
        let mut work = Reclaiming::new(flushed);
        loop {
            if let Poll::Ready(stats) = self.advance_reclaim(&mut work, usize::MAX) {
                return stats;
            }
        }
    }

    fn advance_reclaim(&mut self, work: &mut Reclaiming, tables: usize) -> Poll<FlushStats> {
        self.edits += 1;
        let mut merged = match core::mem::replace(&mut work.stage, Stage::Done) {
            Stage::Flushed(flushed) => match flushed.redeem(self.machine) {
                Some(merged) => merged,
                None => panic!("the batch was flushed on another machine than the map's"),
            },
            Stage::Tables(merged) => merged,
            Stage::Done => return Poll::Ready(work.stats),
        };
        if let Some(map) = merged.map {
            self.journal.map.demand(map);
        }
        for _ in 0..tables {
            let Some(id) = merged.pop(&self.journal) else { return Poll::Ready(work.stats) };
            match self.journal.split(id).map(|split| (split.block, split.table)) {
                Some((block, table)) => {
                    self.quarantine.forget(block, id);
                    // The link of the reserve's chain takes the place of the first entry; the other entries stay until
                    // the table is used again.
                    self.tree.memory.write(table, 0, Entry::EMPTY);
                    self.reserve.push(&mut self.tree.memory, table);
                }
                None => impossible!("a table that waits for a flush keeps its record"),
            }
            self.journal.free_split(id);
        }
        if merged.is_empty() {
            return Poll::Ready(work.stats);
        }
        work.stage = Stage::Tables(merged);
        Poll::Pending
    }
}
