//! [`Editor`]: changing pages that are mapped. It splits them, sets their attributes, and merges them again.
//!
//! ```text
//!                split: the same attributes in 512 smaller pages
//!   one page ──────────────────────────────────────────────────> table of 512 entries
//!            <──────────────────────────────────────────────────   │     ^
//!                merge: the entries are alike                      └─────┘ set: other attributes, or absent
//! ```
//!
//! Each write of an entry changes the size of a page or its attributes, never both: a page is split with its
//! attributes, then the pieces change; the pieces are made alike, then they are merged. So a CPU that walks meanwhile,
//! or holds a translation from before, finds a translation that was true before the change or is true after it, and one
//! flush at the end of the change is enough.
//!
//! A merge changes nothing that a CPU can tell: the large page says what the small ones said. So it needs no flush by
//! itself. It leaves two debts to the caller, until each CPU has dropped everything: the table stays as it is, because
//! CPUs may walk it; and a change of the large page is flushed as one of small pages ([`CachedAs::Smallest`]). A page
//! that is split again meanwhile takes that very table back ([`Editor::split_again`]).
//!
//! | act | writes | the batch gets |
//! |---|---|---|
//! | [`Editor::split`] | 513 | nothing: the page and its pieces mean the same, and a piece that is set then is flushed by itself, which drops a cached large page for its addresses |
//! | [`Editor::set`] | one for each page | each page that was present |
//! | [`Editor::split_again`] | one | nothing: as above |
//! | [`Editor::merge`] | one | nothing: the page and its pieces mean the same |
//!
//! An absent page is an entry of all zero bits, at the level where the page was: the caller knows whether zeroes mean a
//! hole or memory that was taken out, and so are absent pages split and merged, too. Attributes that are writable and
//! executable cannot be said (I4). Nothing here can fail or allocates (I7, I10): the caller has found the pages, brings
//! the table for a split, and keeps the table of a merge until no CPU can walk it (I6).
//!
//! The entry of a table that a split has put in place of a page carries a mark, so that it is told from the tables that
//! the tree was built with ([`split_table`]).
//!
//! Locking: none. The caller is the only writer of the tree (I8).
//!
//! Source: Intel SDM volume 3, 5.10.2.3 (details of TLB use) and 5.10.4 (invalidation).

use rhumb_machine::{PageSize, Pfn, PhysAddr, VirtAddr, VirtRange, impossible};

use crate::attributes::{Attributes, Privilege};
use crate::entry::{Entry, bits};
use crate::flush::FlushBatch;
use crate::levels::{ENTRIES, Root};
use crate::memory::TableMemory;
use crate::planted::{self, Fault};
use crate::runs::PageCounts;
use crate::walk::{Step, descend, entry_at};

/// How CPUs may have cached the pages that are set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CachedAs {
    /// By the sizes by which they are mapped.
    Mapped,
    /// Perhaps by the smallest: pages were merged, and not every CPU has dropped everything since.
    Smallest,
}

/// One tree of tables, its memory, and the count of its pages, for changing pages that are mapped. See the module.
#[derive(Debug)]
pub struct Editor<'tree, M: TableMemory + ?Sized> {
    root: Root,
    memory: &'tree mut M,
    pages: &'tree mut PageCounts,
}

impl<'tree, M: TableMemory + ?Sized> Editor<'tree, M> {
    /// Makes an editor of the tree under `root`, which keeps `pages` true.
    pub const fn new(root: Root, memory: &'tree mut M, pages: &'tree mut PageCounts) -> Self {
        Self { root, memory, pages }
    }

    /// Splits the page of `size` at `virt`, present or absent: `table` takes its place, with the same attributes in the
    /// next smaller size.
    ///
    /// `table` may hold any entries, perhaps those of other memory. So it is filled before a CPU can reach it.
    pub fn split(&mut self, virt: VirtAddr, size: PageSize, table: Pfn) {
        let Some((place, smaller, first)) = self.pieces_of(virt, size) else { return };
        if planted::is(Fault::HungInUnfilled) {
            self.hang_in(virt, place, table);
        }
        self.memory.write_run(table, 0, first, distance(first, smaller), ENTRIES);
        self.hang_in(virt, place, table);
        self.count_split(size, smaller, first);
    }

    /// Splits the page of `size` at `virt` with the table that a merge has taken from there. The table stays as it is:
    /// its entries map the same as the page, and none of them is written, because CPUs may be walking it.
    pub fn split_again(&mut self, virt: VirtAddr, size: PageSize, table: Pfn) {
        let Some((place, smaller, first)) = self.pieces_of(virt, size) else { return };
        if self.memory.read(table, 0) != first {
            impossible!("the table at {} maps the same as the page at {virt}", table.addr());
            self.memory.write_run(table, 0, first, distance(first, smaller), ENTRIES);
        }
        debug_assert!(is_uniform(self.memory, table, size), "the table at {} was written", table.addr());
        self.hang_in(virt, place, table);
        self.count_split(size, smaller, first);
    }

    /// Returns the place of the page of `size` at `virt`, the size of its pieces, and the entry of the first of them.
    fn pieces_of(&self, virt: VirtAddr, size: PageSize) -> Option<(Step, PageSize, Entry)> {
        let (Ok(place), Some(smaller)) =
            (entry_at(self.memory, self.root, virt, size.level()), size.smaller())
        else {
            return impossible!("{virt} has no page of {size} that could be split" => None);
        };
        if place.entry.child(place.level).is_some() {
            return impossible!("{virt} has smaller pages than {size} already" => None);
        }
        Some((place, smaller, resized(place.entry, size, smaller)))
    }

    /// Has the entry at `place`, on the way to `virt`, refer to `table`, with the mark of a split.
    fn hang_in(&mut self, virt: VirtAddr, place: Step, table: Pfn) {
        let privilege =
            if virt >= self.root.levels.kernel_half() { Privilege::Supervisor } else { Privilege::User };
        let entry = Entry::from_bits(Entry::table(table, privilege).bits() | bits::SOFTWARE);
        self.memory.write(place.table, place.index, entry);
    }

    const fn count_split(&mut self, size: PageSize, smaller: PageSize, first: Entry) {
        if first.is_present() {
            self.pages.remove(size, 1);
            self.pages.add(smaller, ENTRIES as u64);
        }
    }

    /// Merges the pages of `table`, all of them alike, into one of `size` at `virt`. The table keeps its entries, which
    /// mean what the large page means, so a CPU may go on walking it, and using the small pages. It may be used again
    /// once each CPU has dropped everything; see the module.
    pub fn merge(&mut self, virt: VirtAddr, size: PageSize, table: Pfn) {
        let (Ok(step), Some(smaller)) =
            (entry_at(self.memory, self.root, virt, size.level()), size.smaller())
        else {
            return impossible!("{virt} has no table for a page of {size}");
        };
        if step.entry.child(step.level) != Some(table) {
            return impossible!("{virt} is not mapped by the table at {}", table.addr());
        }
        let whole = resized(self.memory.read(table, 0), smaller, size);
        self.memory.write(step.table, step.index, whole);
        if whole.is_present() {
            self.pages.remove(smaller, ENTRIES as u64);
            self.pages.add(size, 1);
        }
    }

    /// Gives every page of `range`, which shows memory from `phys` on, these attributes, or takes it out with `None`,
    /// as far as `budget` goes. Returns where it has stopped. Both ends of `range` are borders of pages, and the tables
    /// above allow what the attributes do.
    #[inline]
    pub fn set(
        &mut self,
        range: VirtRange,
        phys: PhysAddr,
        attributes: Option<Attributes>,
        cached: CachedAs,
        budget: &mut u64,
        batch: &mut FlushBatch,
    ) -> VirtAddr {
        debug_assert!(
            phys.is_aligned(PageSize::Size4K) && range.end().is_aligned(PageSize::Size4K),
            "{range} of {phys}"
        );
        let mut next = range.start();
        while next < range.end() && *budget > 0 {
            let Some((step, size)) = end_of_walk(self.memory, self.root, next) else {
                return impossible!("{next} has no page" => range.end());
            };
            debug_assert!(next.is_aligned(size), "{next} is inside a page of {size}");
            debug_assert!(
                range.end().since(next) >= size.bytes(),
                "{} is inside a page of {size}",
                range.end()
            );
            let left = (range.end().since(next) >> size.shift()).min(*budget);
            let run = run_of_pages(self.memory, step, usize::try_from(left).unwrap_or(ENTRIES));
            let first = attributes.map_or(Entry::EMPTY, |attributes| {
                Entry::leaf(phys.plus(next.since(range.start())), size, attributes)
            });
            self.memory.write_run(step.table, step.index, first, distance(first, size), run);
            let pages = run as u64;
            *budget = budget.saturating_sub(pages);
            if first.is_present() {
                self.pages.add(size, pages);
            }
            let end = next.plus(pages << size.shift());
            if step.entry.is_present() {
                self.pages.remove(size, pages);
                if next == range.start() || !planted::is(Fault::FirstRunFlushed) {
                    let size = if cached == CachedAs::Smallest { PageSize::Size4K } else { size };
                    batch.add_leaf(VirtRange::new(next, end).unwrap_or_default(), size);
                }
            }
            next = end;
        }
        next
    }
}

/// Returns the entry at which the walk of `virt` ends, present or not, and the size of its page; `None` where that is
/// at a level that has no pages.
pub fn end_of_walk<M: TableMemory + ?Sized>(
    memory: &M,
    root: Root,
    virt: VirtAddr,
) -> Option<(Step, PageSize)> {
    let step = descend(memory, root, virt, 1)?;
    Some((step, PageSize::from_level(step.level)?))
}

/// Counts the entries from `step` on, in its table, that are no tables and as present as the first: at most `most`, at
/// least 1.
pub fn run_of_pages<M: TableMemory + ?Sized>(memory: &M, step: Step, most: usize) -> usize {
    let end = ENTRIES.min(step.index.saturating_add(most));
    let alike = |&index: &usize| {
        let entry = memory.read(step.table, index);
        entry.child(step.level).is_none() && entry.is_present() == step.entry.is_present()
    };
    1 + (step.index + 1..end).take_while(alike).count()
}

/// Returns the table that a split has put in place of the page of `size` at `virt`, while it is there.
pub fn split_table<M: TableMemory + ?Sized>(
    memory: &M,
    root: Root,
    virt: VirtAddr,
    size: PageSize,
) -> Option<Pfn> {
    let entry = entry_at(memory, root, virt, size.level()).ok()?.entry;
    entry.child(size.level()).filter(|_| entry.bits() & bits::SOFTWARE != 0)
}

/// Tells whether all entries of `table` are what a split of one page of `size` would write, so that they can be merged.
pub fn is_uniform<M: TableMemory + ?Sized>(memory: &M, table: Pfn, size: PageSize) -> bool {
    let Some(smaller) = size.smaller() else { return false };
    let first = memory.read(table, 0);
    if first.is_present() {
        let (phys, attributes) = (first.phys(smaller), first.attributes(smaller));
        let leaf = attributes.map(|attributes| Entry::leaf(phys, smaller, attributes));
        if !phys.is_aligned(size) || leaf != Some(first) {
            return false;
        }
    } else if first != Entry::EMPTY {
        return false;
    }
    let step = distance(first, smaller);
    (1..ENTRIES).all(|index| memory.read(table, index) == first.advanced(step * index as u64))
}

/// Returns the leaf of size `to` that begins where the page of size `from` does that `entry` maps, with its attributes.
/// An absent page stays absent.
fn resized(entry: Entry, from: PageSize, to: PageSize) -> Entry {
    if !entry.is_present() {
        return Entry::EMPTY;
    }
    match entry.attributes(from) {
        Some(attributes) => Entry::leaf(entry.phys(from), to, attributes),
        None => impossible!("{entry} would be writable and executable" => Entry::EMPTY),
    }
}

/// Returns by how much the next page's entry differs from `first`, the entry of a page of `size`.
const fn distance(first: Entry, size: PageSize) -> u64 {
    if first.is_present() { size.bytes() } else { 0 }
}
