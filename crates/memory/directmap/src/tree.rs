//! The map's own part of the page tables: finding, cutting, painting and merging pages.
//!
//! Nothing here decides anything or can fail: what is to be done was found possible. Each write of an entry changes the
//! size of a page or its attributes, never both: a page is cut with its attributes, then the pieces change; pieces are
//! made alike, then they are merged. So a CPU that walks meanwhile, or holds a translation from before, finds a
//! translation that was true before the change or is true after it, and one flush at the end of the change is enough.
//! Source: Intel SDM volume 3, 5.10.2.3 (details of TLB use) and 5.10.4 (invalidation).
//!
//! Absent pages are entries of all zero bits, at the level where the page stood: whether zeroes mean a hole or frames
//! that were taken out is for the journal to know.

use rhumb_machine::{Block, PageSize, Pfn, PfnRange, VirtAddr, VirtRange};
use rhumb_pagetable::{
    ENTRIES, Entry, Leaf, PageCounts, Privilege, Root, Scan, Step, TableMemory, Visit, bits, descend,
    levels::span_bytes,
};

use crate::batch::Batch;
use crate::planted::{self, Fault};
use crate::state::State;

/// Tables, and where the map stands in them.
#[derive(Debug)]
pub(crate) struct Tree<T: TableMemory> {
    pub(crate) memory: T,
    pub(crate) root: Root,
    pub(crate) base: VirtAddr,
    /// Frames that fit between the base and the end of the map's window.
    pub(crate) frames: u64,
    /// Pages in the map.
    pub(crate) pages: PageCounts,
    /// Merged tables whose flush is not over: CPUs may hold pages of theirs.
    pub(crate) waiting: u64,
}

impl<T: TableMemory> Tree<T> {
    /// Where `pfn` stands (I1). The frame is below `frames`.
    pub(crate) const fn virt(&self, pfn: Pfn) -> VirtAddr {
        self.base.plus(pfn.addr().get())
    }

    /// Where `frames` stand.
    pub(crate) fn virt_range(&self, frames: PfnRange) -> VirtRange {
        VirtRange::of_length(self.virt(frames.start()), frames.addrs().bytes()).unwrap_or_default()
    }

    /// A scan of all pages that overlap `frames`, for [`Tree::next_run`].
    pub(crate) fn scan(&self, frames: PfnRange) -> Scan<'_, T> {
        Scan::new(&self.memory, self.root, self.virt_range(frames))
    }

    /// The next page of a scan, with up to `most - 1` alike behind it. Entries that cannot be followed are holes.
    pub(crate) fn next_run(&self, scan: &mut Scan<'_, T>, most: u64) -> Option<(Leaf, u64)> {
        loop {
            if let (Visit::Leaf(leaf), pages) = scan.next_run(most)? {
                return Some((leaf, pages));
            }
        }
    }

    /// The frame that stands at `virt`.
    pub(crate) const fn pfn(&self, virt: VirtAddr) -> Pfn {
        Pfn::new(virt.since(self.base) >> 12)
    }

    /// The entry at which the walk of `pfn` ends, present or not.
    pub(crate) fn end_of_walk(&self, pfn: Pfn) -> Option<(Step, PageSize)> {
        let step = descend(&self.memory, self.root, self.virt(pfn), 1)?;
        Some((step, PageSize::from_level(step.level)?))
    }

    /// Returns the entry that maps `block` itself, or the level above it at which the walk ends.
    pub(crate) fn entry_of(&self, block: Block) -> Result<Step, u8> {
        let level = block.size().level();
        match descend(&self.memory, self.root, self.virt(block.start()), level) {
            Some(step) if step.level == level => Ok(step),
            other => Err(other.map_or(level, |step| step.level)),
        }
    }

    /// One past the last frame that the entry at `level` on the way to `pfn` stands for. The base is not a multiple of
    /// what the upper levels span, so this is counted in addresses.
    pub(crate) const fn end_of_entry(&self, pfn: Pfn, level: u8) -> Pfn {
        let last = self.virt(pfn).get() | (span_bytes(level) - 1);
        self.pfn(VirtAddr::new(last)).plus(1)
    }

    /// Puts `table` in place of the page that is `block`: the same attributes in the next smaller size.
    ///
    /// The table is filled before it is hung in, since its entries may be those of another block yet. Nothing is to be
    /// flushed: the large page and its pieces mean the same, and a piece that is painted then is flushed by itself,
    /// which drops what a CPU holds of the large page for its addresses.
    pub(crate) fn cut(&mut self, block: Block, table: Pfn) {
        let Some((step, size)) = self.end_of_walk(block.start()) else { return };
        let Some(smaller) = size.smaller() else { return };
        let (first, distance) = match step.entry.attributes(size) {
            Some(attributes) if step.entry.is_present() => {
                (Entry::leaf(block.start().addr(), smaller, attributes), smaller.bytes())
            }
            _ => (Entry::EMPTY, 0),
        };
        if planted::is(Fault::HungInUnfilled) {
            self.memory.write(step.table, step.index, cut_entry(table));
        }
        self.memory.write_run(table, 0, first, distance, ENTRIES);
        self.memory.write(step.table, step.index, cut_entry(table));
        if first.is_present() {
            self.count(size, 0, 1);
            self.count(smaller, ENTRIES as u64, 0);
        }
    }

    /// Puts one page in place of the table that splits `block`. All pages below are alike.
    pub(crate) fn merge(&mut self, block: Block, table: Pfn, batch: &mut Batch) {
        let Some(smaller) = block.size().smaller() else { return };
        let first = self.memory.read(table, 0);
        let whole = match first.attributes(smaller) {
            Some(attributes) if first.is_present() => {
                Entry::leaf(block.start().addr(), block.size(), attributes)
            }
            _ => Entry::EMPTY,
        };
        let Ok(step) = self.entry_of(block) else { return };
        self.memory.write(step.table, step.index, whole);
        let range = self.virt_range(block.frames());
        if !planted::is(Fault::MergedTableUnflushed) {
            batch.add_table(range);
        }
        self.waiting += 1;
        if whole.is_present() {
            self.count(smaller, 0, ENTRIES as u64);
            self.count(block.size(), 1, 0);
            // Not one small page may stay cached: a later flush of the large page would drop one of them only.
            if !planted::is(Fault::MergedPagesUnflushed) {
                batch.add_leaf(range, smaller);
            }
        }
    }

    /// Whether all entries of `table`, which stands for `block`, are what cutting one page would write.
    pub(crate) fn is_uniform(&self, block: Block, table: Pfn) -> bool {
        let Some(smaller) = block.size().smaller() else { return false };
        let first = self.memory.read(table, 0);
        let distance = match first.attributes(smaller) {
            Some(attributes) if first.is_present() => {
                if first != Entry::leaf(block.start().addr(), smaller, attributes) {
                    return false;
                }
                smaller.bytes()
            }
            _ => 0,
        };
        (1..ENTRIES).all(|index| self.memory.read(table, index) == first.advanced(distance * index as u64))
    }

    /// The table that a change has put in place of the page that is `block`, while it is there.
    pub(crate) fn cut_table(&self, block: Block) -> Option<Pfn> {
        let entry = self.entry_of(block).ok()?.entry;
        entry.child(block.size().level()).filter(|_| entry.bits() & bits::SOFTWARE != 0)
    }

    /// Gives every page of `frames` the entry of `state`, as far as `budget` goes, and returns where it has stopped.
    /// Both ends are borders of pages.
    pub(crate) fn paint(
        &mut self,
        frames: PfnRange,
        state: State,
        budget: &mut u64,
        batch: &mut Batch,
    ) -> Pfn {
        let mut next = frames.start();
        while next < frames.end() && *budget > 0 {
            let Some((step, size)) = self.end_of_walk(next) else { return frames.end() };
            let left = (frames.end().since(next) / size.frames()).min(*budget);
            let run = self.run_of_pages(step, usize::try_from(left).unwrap_or(ENTRIES));
            let first = state.entry(next.addr(), size);
            let distance = if first.is_present() { size.bytes() } else { 0 };
            self.memory.write_run(step.table, step.index, first, distance, run);
            let pages = run as u64;
            *budget = budget.saturating_sub(pages);
            let was_present = step.entry.is_present();
            self.count(size, if first.is_present() { pages } else { 0 }, if was_present { pages } else { 0 });
            let end = next.plus(pages * size.frames());
            let is_forgotten = next > frames.start() && planted::is(Fault::FirstRunFlushed);
            if was_present && !is_forgotten {
                let painted = PfnRange::new(next, end).unwrap_or_default();
                // Another's batch may hold the flush of small pages that became this large one, and be flushed later.
                let is_one = self.waiting == 0 || planted::is(Fault::WaitingForgotten);
                let cached = if is_one { size } else { PageSize::Size4K };
                batch.add_leaf(self.virt_range(painted), cached);
            }
            next = end;
        }
        next
    }

    /// How many entries from `step` on, in its table, are no tables and as present as the first; at most `most`, at
    /// least 1.
    pub(crate) fn run_of_pages(&self, step: Step, most: usize) -> usize {
        let end = ENTRIES.min(step.index.saturating_add(most));
        let alike = |&index: &usize| {
            let entry = self.memory.read(step.table, index);
            entry.child(step.level).is_none() && entry.is_present() == step.entry.is_present()
        };
        1 + (step.index + 1..end).take_while(alike).count()
    }

    fn count(&mut self, size: PageSize, more: u64, fewer: u64) {
        self.pages.add(size, more);
        self.pages.remove(size, fewer);
    }
}

/// The entry of a table that a change has put in place of a page. The mark tells it from those of boot.
fn cut_entry(table: Pfn) -> Entry {
    Entry::from_bits(Entry::table(table, Privilege::Supervisor).bits() | bits::SOFTWARE)
}
