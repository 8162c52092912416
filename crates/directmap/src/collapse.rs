//! Making whole what boot has left small.
//!
//! Whatever a change has cut is merged by the restore that removes the last reason; nobody need ask. A map that was
//! built of small pages (`directmap=4k`) has tables that no change has cut: those can be merged on request.

use rhumb_machine::{PageSize, Pfn, PfnRange};
use rhumb_pagetable::TableMemory;

use crate::batch::Batch;
use crate::change::DirectMap;
use crate::records::Block;
use crate::rules::Rules;

/// What [`DirectMap::collapse`] did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Collapsed {
    /// 2-MiB pages made.
    pub level2: u64,
    /// 1-GiB pages made.
    pub level3: u64,
    /// Pages that could have been made with more records in the reserve.
    pub left: u64,
}

impl<T: TableMemory, R: Rules> DirectMap<T, R> {
    /// Merges all blocks within `frames` whose pages are alike and that no hold keeps broken, up to the largest page of
    /// the CPU. Their tables go to the reserve. No attribute changes: where it stops short, the map is as good as
    /// before.
    ///
    /// Cost: a read of each entry of each table in the range; one write and one record for each page made. What has no
    /// tables, holes and larger pages, is passed over by the entry that ends the walk.
    pub fn collapse(&mut self, frames: PfnRange, batch: &mut Batch) -> Collapsed {
        let mut done = Collapsed::default();
        let all = PfnRange::new(Pfn::new(0), Pfn::new(self.tree.frames)).unwrap_or_default();
        let (start, end) = (frames.intersection(all).start(), frames.intersection(all).end());
        for size in [PageSize::Size2M, PageSize::Size1G] {
            if size > self.largest {
                break;
            }
            let mut block = Block::around(Pfn::new(start.get() + size.frames() - 1), size);
            while block.end() <= end {
                match self.collapse_block(block, batch) {
                    Step::Merged if size == PageSize::Size2M => done.level2 += 1,
                    Step::Merged => done.level3 += 1,
                    Step::NoRecord => done.left += 1,
                    Step::Whole => {}
                    Step::NoTables { end } => {
                        // The end is one of blocks, too: what is left out has none of their tables.
                        block = Block::around(end, size);
                        continue;
                    }
                }
                block = Block::around(block.end(), size);
            }
        }
        done
    }

    fn collapse_block(&mut self, block: Block, batch: &mut Batch) -> Step {
        let walk = self.tree.walk(block.start());
        let level = block.size().level();
        let Some(step) = walk.steps().iter().find(|step| step.level == level) else {
            let above = walk.steps().last().map_or(level, |step| step.level);
            return Step::NoTables { end: self.tree.end_of_entry(block.start(), above) };
        };
        let Some(table) = step.entry.child(level) else { return Step::Whole };
        if self.journal.breaker(block).is_some() || !self.tree.is_uniform(block, table) {
            return Step::Whole;
        }
        // An absent block that nobody holds is a hole.
        if !self.tree.memory.read(table, 0).is_present() && self.journal.covering(block.start()).is_none() {
            return Step::Whole;
        }
        match self.journal.note_table(block, table) {
            Some(id) => {
                self.merge(id, block, table, batch);
                Step::Merged
            }
            None => Step::NoRecord,
        }
    }
}

/// What became of one block.
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
