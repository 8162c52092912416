//! The map's own part of the page tables, by frames: where they lie in the map, and the editor of its pages.
//!
//! Nothing here decides anything or can fail, because each edit was found possible before. Only the journal knows
//! whether the zeroes of an absent page mean a hole or frames that were taken out.

use rhumb_machine::{Block, PageSize, Pfn, PfnRange, VirtAddr, VirtRange};
use rhumb_pagetable::levels::span_bytes;
use rhumb_pagetable::{
    CachedAs, Editor, Leaf, PageCounts, Root, Scan, Step, TableMemory, Visit, edit, entry_at,
};

use crate::batch::Batch;
use crate::state::State;

/// Tables, and where the map lies in them.
#[derive(Debug)]
pub(crate) struct Tree<T: TableMemory> {
    pub(crate) memory: T,
    pub(crate) root: Root,
    pub(crate) base: VirtAddr,
    /// Frames that fit between the base and the end of the map's address range.
    pub(crate) frames: u64,
    /// Pages in the map.
    pub(crate) pages: PageCounts,
}

impl<T: TableMemory> Tree<T> {
    /// Returns where the map shows `pfn` (I1). The frame is below `frames`.
    pub(crate) const fn virt(&self, pfn: Pfn) -> VirtAddr {
        self.base.plus(pfn.addr().get())
    }

    /// Returns where the map shows `frames`.
    pub(crate) fn virt_range(&self, frames: PfnRange) -> VirtRange {
        VirtRange::of_length(self.virt(frames.start()), frames.addrs().bytes()).unwrap_or_default()
    }

    /// Begins a scan of all pages that overlap `frames`, for [`Tree::next_run`].
    pub(crate) fn scan(&self, frames: PfnRange) -> Scan<'_, T> {
        Scan::new(&self.memory, self.root, self.virt_range(frames))
    }

    /// Returns the next page of a scan, with up to `most - 1` alike behind it. Entries that cannot be followed are
    /// holes.
    pub(crate) fn next_run(&self, scan: &mut Scan<'_, T>, most: u64) -> Option<(Leaf, u64)> {
        loop {
            if let (Visit::Leaf(leaf), pages) = scan.next_run(most)? {
                return Some((leaf, pages));
            }
        }
    }

    /// Returns the frame that the map shows at `virt`.
    pub(crate) const fn pfn(&self, virt: VirtAddr) -> Pfn {
        Pfn::new(virt.since(self.base) >> 12)
    }

    /// Returns the entry at which the walk of `pfn` ends, present or not.
    pub(crate) fn end_of_walk(&self, pfn: Pfn) -> Option<(Step, PageSize)> {
        edit::end_of_walk(&self.memory, self.root, self.virt(pfn))
    }

    /// Returns the entry that maps `block` itself, or the level above it at which the walk ends.
    pub(crate) fn entry_of(&self, block: Block) -> Result<Step, u8> {
        entry_at(&self.memory, self.root, self.virt(block.start()), block.size().level())
    }

    /// Returns the table that a split has put in place of the page that is `block`, while it is there.
    pub(crate) fn split_table(&self, block: Block) -> Option<Pfn> {
        edit::split_table(&self.memory, self.root, self.virt(block.start()), block.size())
    }

    /// Returns one past the last frame of the entry at `level` on the way to `pfn`. The base is not a multiple of what
    /// the upper levels span, so this is counted in addresses.
    pub(crate) const fn end_of_entry(&self, pfn: Pfn, level: u8) -> Pfn {
        let last = self.virt(pfn).get() | (span_bytes(level) - 1);
        self.pfn(VirtAddr::new(last)).plus(1)
    }

    #[inline]
    const fn editor(&mut self) -> Editor<'_, T> {
        Editor::new(self.root, &mut self.memory, &mut self.pages)
    }

    /// Splits the page that is `block`: `table` takes its place.
    pub(crate) fn split(&mut self, block: Block, table: Pfn) {
        let virt = self.virt(block.start());
        self.editor().split(virt, block.size(), table);
    }

    /// Splits the page that is `block` again: `table`, which a merge has taken from there, takes its place as it is.
    pub(crate) fn split_again(&mut self, block: Block, table: Pfn) {
        let virt = self.virt(block.start());
        self.editor().split_again(virt, block.size(), table);
    }

    /// Merges the pages of `table`, all alike, into the one page that is `block`. CPUs may walk the table from then on,
    /// and hold its pages.
    pub(crate) fn merge(&mut self, block: Block, table: Pfn) {
        let virt = self.virt(block.start());
        self.editor().merge(virt, block.size(), table);
    }

    /// Gives every page of `frames` the entry of `state`, as far as `budget` goes, and returns where it has stopped.
    /// Both ends are borders of pages. CPUs may have cached the pages as `cached` says.
    pub(crate) fn set(
        &mut self,
        frames: PfnRange,
        state: State,
        cached: CachedAs,
        budget: &mut u64,
        batch: &mut Batch,
    ) -> Pfn {
        let (range, phys) = (self.virt_range(frames), frames.start().addr());
        let end = self.editor().set(range, phys, state.attributes(), cached, budget, batch.pages_mut());
        self.pfn(end)
    }
}
