//! Going through all that a tree maps, in ascending order, without a look below absent entries.
//!
//! The cost is one read for each entry of each table that covers the range: 1 TiB in 1-GiB pages is a few thousand
//! reads. State is one table and one set of permissions for each level: no allocation, no recursion.

use rhumb_machine::{PageSize, Pfn, VirtAddr, VirtRange};

use crate::attributes::Permissions;
use crate::entry::Entry;
use crate::levels::{ENTRIES, Root, index_at, span_bytes};
use crate::memory::TableMemory;
use crate::walk::Leaf;

/// An entry with reserved bits set: a CPU that walks through it faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed {
    /// The first address that goes through the entry.
    pub virt: VirtAddr,
    /// The level of its table.
    pub level: u8,
    /// The table.
    pub table: Pfn,
    /// Which of its entries.
    pub index: usize,
    /// The frames that are mapped there.
    pub entry: Entry,
    /// The bits that should be clear.
    pub reserved: u64,
}

/// The finding of a scan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Visit {
    /// A page.
    Leaf(Leaf),
    /// An entry that cannot be followed.
    Malformed(Malformed),
}

/// All pages, and all malformed entries, of a range.
#[derive(Clone, Debug)]
pub struct Scan<'memory, M: TableMemory + ?Sized> {
    memory: &'memory M,
    root: Root,
    /// Root entries that this tree also has were scanned there.
    seen: Option<Root>,
    /// Linear positions: the next one to look at and the last one; none left where `next > last`.
    next: u64,
    last: u64,
    /// The level of the table to look into next.
    level: u8,
    /// By level: the table on the way to `next`, and the permissions of the entries above it.
    path: [(Pfn, Permissions); 6],
}

impl<'memory, M: TableMemory + ?Sized> Scan<'memory, M> {
    /// Makes a scan of each page that overlaps `range`, without the parts of `range` that are not canonical.
    pub fn new(memory: &'memory M, root: Root, range: VirtRange) -> Self {
        Self::over(memory, root, root.levels.clamped_positions(range))
    }

    /// Makes one of the whole address space.
    pub fn all(memory: &'memory M, root: Root) -> Self {
        Self::over(memory, root, Some((0, (1 << root.levels.virt_bits()) - 1)))
    }

    /// Makes one of the kernel's half, to its very last page.
    pub fn kernel_half(memory: &'memory M, root: Root) -> Self {
        let bits = root.levels.virt_bits();
        Self::over(memory, root, Some((1 << (bits - 1), (1 << bits) - 1)))
    }

    /// Makes one of the linear positions from the first to the last given, or of none.
    pub(crate) fn over(memory: &'memory M, root: Root, positions: Option<(u64, u64)>) -> Self {
        let (next, last) = positions.unwrap_or((1, 0));
        let path = [(root.table, Permissions::ALL); 6];
        Self { memory, root, seen: None, next, last, level: root.levels.top(), path }
    }

    /// Leaves out everything below root entries that are the same in `other`'s root.
    #[must_use]
    pub(crate) fn without_shared(mut self, other: Option<Root>) -> Self {
        self.seen = other;
        self
    }

    fn is_shared(&self, entry: Entry, index: usize) -> bool {
        self.level == self.root.levels.top()
            && self.seen.is_some_and(|other| self.memory.read(other.table, index) == entry)
    }

    /// Goes past `entries` entries at `level`, from the one around `next` on, and up where the last was that of its
    /// table.
    fn step_over(&mut self, entries: u64) {
        let span = span_bytes(self.level);
        self.next = (self.next & !(span - 1)) + entries * span;
        while self.level < self.root.levels.top() && index_at(self.next, self.level) == 0 {
            self.level += 1;
        }
    }

    /// Returns how many entries, from `index` on, go on where the one before ends; at least one, at most `most`.
    fn run_length(&self, table: Pfn, index: usize, first: Entry, size: PageSize, most: u64) -> u64 {
        let left = ((self.last - self.next) >> size.shift()) + 1;
        // An entry past the width of physical addresses is malformed, not the next of a run.
        let wide = ((1 << self.root.phys_bits()) - first.phys(size).get()) >> size.shift();
        let most = most.min(left).min(wide);
        let mut entry = first;
        let mut run = 1;
        for index in index + 1..ENTRIES {
            entry = entry.advanced(size.bytes());
            if run >= most || self.memory.read(table, index) != entry {
                break;
            }
            run += 1;
        }
        run
    }

    /// Returns the next thing found; if a page, together with up to `most - 1` pages behind it that have the same bits
    /// and adjoin it in physical memory, too. A table of equal pages is one step.
    pub fn next_run(&mut self, most: u64) -> Option<(Visit, u64)> {
        self.next_run_within(most, &mut { u64::MAX })
    }

    /// Returns where the scan goes on; `None` at its end.
    pub fn next_address(&self) -> Option<VirtAddr> {
        (self.next <= self.last).then(|| self.root.levels.virt_of(self.next))
    }

    /// Returns the next run as [`Scan::next_run`] does, by at most `looks` looks at entries, which are taken from
    /// `looks`. `None` also where they are used up, as [`Scan::next_address`] tells. For scans with a lock held, since
    /// an absent entry is a look, too.
    pub fn next_run_within(&mut self, most: u64, looks: &mut u64) -> Option<(Visit, u64)> {
        while self.next <= self.last && *looks > 0 {
            *looks -= 1;
            let level = self.level;
            let (table, above) = self.path[usize::from(level)];
            let index = index_at(self.next, level);
            let entry = self.memory.read(table, index);
            if !entry.is_present() || self.is_shared(entry, index) {
                self.step_over(1);
                continue;
            }
            let virt = self.root.levels.virt_of(self.next & !(span_bytes(level) - 1));
            let reserved = entry.reserved_bits(level, self.root.phys_bits());
            if reserved != 0 {
                self.step_over(1);
                return Some((Visit::Malformed(Malformed { virt, level, table, index, entry, reserved }), 1));
            }
            if let Some(size) = entry.page_size(level) {
                let pages = self.run_length(table, index, entry, size, most.min(looks.saturating_add(1)));
                *looks = looks.saturating_sub(pages - 1);
                self.step_over(pages);
                return Some((Visit::Leaf(Leaf::of(entry, virt, size, above)), pages));
            }
            let Some(child) = entry.child(level) else {
                self.step_over(1);
                continue;
            };
            self.level -= 1;
            self.path[usize::from(self.level)] = (child, above.and(entry.permissions()));
        }
        None
    }
}

impl<M: TableMemory + ?Sized> Iterator for Scan<'_, M> {
    type Item = Visit;

    fn next(&mut self) -> Option<Visit> {
        self.next_run(1).map(|(visit, _)| visit)
    }
}

/// All pages of a range. Malformed entries, which map nothing, are passed over.
#[derive(Clone, Debug)]
pub struct Leaves<'memory, M: TableMemory + ?Sized>(pub(crate) Scan<'memory, M>);

impl<'memory, M: TableMemory + ?Sized> Leaves<'memory, M> {
    /// Makes one of each page that overlaps `range`.
    pub fn new(memory: &'memory M, root: Root, range: VirtRange) -> Self {
        Self(Scan::new(memory, root, range))
    }

    /// Makes one of the whole address space.
    pub fn all(memory: &'memory M, root: Root) -> Self {
        Self(Scan::all(memory, root))
    }

    /// Makes one of the kernel's half.
    pub fn kernel_half(memory: &'memory M, root: Root) -> Self {
        Self(Scan::kernel_half(memory, root))
    }
}

impl<M: TableMemory + ?Sized> Iterator for Leaves<'_, M> {
    type Item = Leaf;

    fn next(&mut self) -> Option<Leaf> {
        self.0.find_map(|visit| match visit {
            Visit::Leaf(leaf) => Some(leaf),
            Visit::Malformed(_) => None,
        })
    }
}
