//! Making and removing mappings, whole or not at all (invariant I7).
//!
//! `map` works in three steps: *survey* reads the tables on the way, finds conflicts and counts the missing tables;
//! then all of those are *taken*; then the entries are *filled in*, which cannot fail. `unmap` looks at both ends of
//! its range first: only there can a large page lie across it, which it refuses to split.
//!
//! A table entry allows everything, user access only in the user half; leaves alone decide. An existing table
//! entry (another writer's) that forbids the rights of a new leaf is an error, not a surprise.
//!
//! Locking: none. The caller is the only writer of the tree (I8).
//!
//! Flushing: none. `map` only fills entries that were absent, which no TLB holds. `unmap` returns what has to be
//! flushed together with the tables that wait for it ([`Unflushed`]), and only the [`Flushed`] ticket gives these back
//! (I6).

use rhumb_machine::{PageSize, Pfn, VirtAddr, VirtRange};

use crate::attributes::Privilege;
use crate::entry::Entry;
use crate::error::MapError;
use crate::flush::{Flushed, Unflushed};
use crate::levels::{ENTRIES, Root, index_at, span_bytes};
use crate::memory::{OutOfTables, TableChain, TableMemory, TableSource};
use crate::planted::{self, Fault};
use crate::runs::{Mapping, PageCounts, Run, TableCounter, clip};
use crate::walk::{Walk, walk};

/// The result of [`Mapper::map`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MapOutcome {
    /// Pages mapped.
    pub pages: PageCounts,
    /// Tables taken.
    pub tables: u64,
}

/// The fate of tables that an unmap leaves empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EmptyTables {
    /// They stay, for the next mapping there.
    Keep,
    /// They are detached, but no entry of the root changes: for a half whose root entries several roots share.
    DetachBelowRoot,
    /// They are detached.
    Detach,
}

/// The result of [`Mapper::unmap`]: pages that are mapped no longer, and tables that were left empty. A CPU may still
/// walk the tables, so they come out by the flush of their batch, and by nothing else (I6).
#[must_use = "frames and tables may be reused only after the flush"]
#[derive(Debug)]
pub struct UnmapOutcome {
    /// Pages that were mapped and no longer are; holes in the range count nothing.
    pub pages: PageCounts,
    /// The tables, and the batch whose flush they wait for.
    pub tables: Unflushed<DetachedTables>,
}

/// Tables that an unmap has detached from their tree.
#[must_use = "dropping it leaks the tables"]
#[derive(Debug, Default)]
pub struct DetachedTables(TableChain);

impl DetachedTables {
    /// Returns how many there are.
    pub const fn len(&self) -> u64 {
        self.0.len()
    }

    /// Tells whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Flushed<DetachedTables> {
    /// Gives the tables back: no CPU walks them any more.
    ///
    /// # Safety
    /// `memory` is that of the tree in which the range was unmapped, its tables came from `source`
    /// ([`TableSource::give_back`]), and the machine that flushed is the one whose CPUs use that tree.
    ///
    /// ```compile_fail,E0133
    /// # use rhumb_pagetable::flush::Flushed;
    /// # use rhumb_pagetable::{DetachedTables, TableMemory, TableSource};
    /// fn mixed<M: TableMemory, S: TableSource>(one: Flushed<DetachedTables>, others: &mut M, source: &mut S) {
    ///     one.release(others, source); // the tables of one address space for another
    /// }
    /// ```
    #[expect(unsafe_code, reason = "the source trusts what comes back")]
    pub unsafe fn release<M, S>(self, memory: &mut M, source: &mut S)
    where
        M: TableMemory + ?Sized,
        S: TableSource + ?Sized,
    {
        // SAFETY: the caller promises that the tables came from `source`, and that the machine whose CPUs use the tree
        // has flushed (I6); the tables were blank when they were detached.
        unsafe { self.into_waiting().0.give_back(memory, source) };
    }
}

/// One tree of tables and the memory that it lies in, for changing.
#[derive(Debug)]
pub struct Mapper<'memory, M: TableMemory + ?Sized> {
    root: Root,
    memory: &'memory mut M,
}

impl<'memory, M: TableMemory + ?Sized> Mapper<'memory, M> {
    /// Makes a mapper of the tree under `root`.
    pub const fn new(root: Root, memory: &'memory mut M) -> Self {
        Self { root, memory }
    }

    /// Returns the tree.
    pub const fn root(&self) -> Root {
        self.root
    }

    /// Returns the walk that a CPU makes for `virt`.
    pub fn walk(&self, virt: VirtAddr) -> Walk {
        walk(self.memory, self.root, virt)
    }

    /// Maps, with tables from `source`, by the largest pages that fit. All or nothing.
    ///
    /// Cost: one write per page and two per new table; reads of the tables that exist on the way. No flush.
    #[expect(unsafe_code, reason = "gives back what it has taken and not used")]
    pub fn map<S>(&mut self, mapping: &Mapping, source: &mut S) -> Result<MapOutcome, MapError>
    where
        S: TableSource + ?Sized,
    {
        let tables = self.survey(mapping)?;
        let mut chain = TableChain::take(tables, self.memory, source)
            .map_err(|OutOfTables| MapError::OutOfTables { needed: tables })?;
        let pages = self.fill(mapping, &mut chain);
        // SAFETY: they came from this source just now, and were not used.
        unsafe { chain.give_back(self.memory, source) };
        Ok(MapOutcome { pages: pages?, tables })
    }

    /// Maps as [`Mapper::map`] does, with tables that were taken beforehand.
    pub fn map_from(&mut self, mapping: &Mapping, chain: &mut TableChain) -> Result<MapOutcome, MapError> {
        let tables = self.survey(mapping)?;
        if chain.len() < tables {
            return Err(MapError::OutOfTables { needed: tables });
        }
        Ok(MapOutcome { pages: self.fill(mapping, chain)?, tables })
    }

    /// Returns how many new tables `mapping` takes in this tree as it is, or why it cannot be made. Writes nothing.
    pub fn survey(&self, mapping: &Mapping) -> Result<u64, MapError> {
        mapping.check(&self.root)?;
        let mut missing = TableCounter::new(self.root.levels);
        for run in mapping.runs() {
            let first = self.root.levels.linear_of(run.virt);
            let last = first + (run.pages << run.size.shift()) - 1;
            let part = Part { first, last, lowest: run.size.level() };
            self.survey_table(self.root.table, self.root.levels.top(), part, mapping, &mut missing)?;
        }
        Ok(missing.tables())
    }

    /// Surveys a table and those below it: a recursion at most four deep, one for each level below the root.
    fn survey_table(
        &self,
        table: Pfn,
        level: u8,
        part: Part,
        mapping: &Mapping,
        missing: &mut TableCounter,
    ) -> Result<(), MapError> {
        for index in index_at(part.first, level)..=index_at(part.last, level) {
            let entry = self.memory.read(table, index);
            let below = part.within(index, level);
            if !entry.is_present() {
                if level > part.lowest {
                    missing.add(below.first, below.last, part.lowest, level - 1);
                }
                continue;
            }
            let virt = self.root.levels.virt_of(below.first);
            if entry.reserved_bits(level, self.root.phys_bits()) != 0 {
                return Err(MapError::Malformed { virt, level, entry });
            }
            match entry.child(level) {
                Some(child) if level > part.lowest => {
                    if !entry.permissions().cover(mapping.attributes.permissions()) {
                        return Err(MapError::TableForbids { virt, level, entry });
                    }
                    self.survey_table(child, level - 1, below, mapping, missing)?;
                }
                Some(_) => return Err(MapError::TableInTheWay { virt, level, entry }),
                None => return Err(MapError::AlreadyMapped { virt, level, entry }),
            }
        }
        Ok(())
    }

    /// Writes the entries. The survey has found the way free and the chain long enough.
    fn fill(&mut self, mapping: &Mapping, chain: &mut TableChain) -> Result<PageCounts, MapError> {
        let mut pages = PageCounts::NONE;
        for run in mapping.runs() {
            self.fill_run(run, mapping, chain)?;
            pages.add(run.size, run.pages);
        }
        Ok(pages)
    }

    /// Fills one table of leaves after the other, each written as one run.
    fn fill_run(&mut self, run: Run, mapping: &Mapping, chain: &mut TableChain) -> Result<(), MapError> {
        let (lowest, step) = (run.size.level(), run.size.bytes());
        let mut position = self.root.levels.linear_of(run.virt);
        let mut entry = Entry::leaf(run.phys, run.size, mapping.attributes);
        let mut left = run.pages;
        while left > 0 {
            let table = self.table_for(position, lowest, chain)?;
            let index = index_at(position, lowest);
            let count = (ENTRIES - index).min(usize::try_from(left).unwrap_or(ENTRIES));
            self.memory.write_run(table, index, entry, step, count);
            let bytes = count as u64 * step;
            left -= count as u64;
            position += bytes;
            entry = entry.advanced(bytes);
        }
        Ok(())
    }

    /// Returns the table at level `lowest` on the way to `position`; missing ones come from `chain`.
    fn table_for(&mut self, position: u64, lowest: u8, chain: &mut TableChain) -> Result<Pfn, MapError> {
        let levels = self.root.levels;
        let mut table = self.root.table;
        for level in (lowest + 1..=levels.top()).rev() {
            let index = index_at(position, level);
            let entry = self.memory.read(table, index);
            table = match entry.child(level) {
                Some(child) => child,
                None => {
                    let Some(new) = chain.pop(self.memory) else {
                        // Only if another writer changed the tables since the survey, against I8.
                        return Err(MapError::OutOfTables { needed: 1 });
                    };
                    let upper_half = position >> (levels.virt_bits() - 1) != 0;
                    let privilege = if upper_half { Privilege::Supervisor } else { Privilege::User };
                    self.memory.write(table, index, Entry::table(new, privilege));
                    new
                }
            };
        }
        Ok(table)
    }

    /// Removes all mappings in `range`; holes in it are no error. All or nothing.
    ///
    /// The caller then flushes what comes back, and only after that reuses the frames and releases the tables.
    ///
    /// # Errors
    /// [`MapError::SplitsLargePage`] where a page reaches over an end of `range`, [`MapError::Malformed`] where an
    /// entry does that cannot be followed; otherwise for a bad range.
    ///
    /// Cost: one write per page and per detached table; reads of the tables that cover the range.
    pub fn unmap(&mut self, range: VirtRange, empty: EmptyTables) -> Result<UnmapOutcome, MapError> {
        if range.is_empty() {
            return Err(MapError::Empty { virt: range.start() });
        }
        if !range.is_aligned(PageSize::Size4K) {
            return Err(MapError::UnalignedRange { range });
        }
        let levels = self.root.levels;
        let Some((first, last)) = levels.positions(range) else {
            return Err(MapError::NotCanonical { range });
        };
        for end in [range.start(), levels.virt_of(last)] {
            let walk = self.walk(end);
            if let Some(step) = walk.steps().last()
                && step.entry.reserved_bits(step.level, self.root.phys_bits()) != 0
            {
                let start = levels.linear_of(end) & !(span_bytes(step.level) - 1);
                if start < first || start + (span_bytes(step.level) - 1) > last {
                    let (virt, level, entry) = (levels.virt_of(start), step.level, step.entry);
                    return Err(MapError::Malformed { virt, level, entry });
                }
            }
            if let Some(leaf) = walk.leaf()
                && (levels.linear_of(leaf.virt) < first
                    || levels.linear_of(leaf.virt) + (leaf.size.bytes() - 1) > last)
            {
                return Err(MapError::SplitsLargePage {
                    virt: leaf.virt,
                    level: leaf.size.level(),
                    entry: leaf.entry,
                });
            }
        }
        let mut unmapped = UnmapOutcome { pages: PageCounts::NONE, tables: Unflushed::default() };
        let part = Part { first, last, lowest: 1 };
        self.clear(self.root.table, levels.top(), part, empty, &mut unmapped);
        Ok(unmapped)
    }

    /// Clears the leaves of `part` below `table`. Recursion at most four deep.
    fn clear(&mut self, table: Pfn, level: u8, part: Part, empty: EmptyTables, unmapped: &mut UnmapOutcome) {
        let detach = match empty {
            EmptyTables::Keep => false,
            EmptyTables::DetachBelowRoot => level < self.root.levels.top(),
            EmptyTables::Detach => true,
        };
        for index in index_at(part.first, level)..=index_at(part.last, level) {
            let entry = self.memory.read(table, index);
            let spanned = part.within(index, level);
            if let Some(size) = entry.page_size(level) {
                self.memory.write(table, index, Entry::EMPTY);
                unmapped.pages.add(size, 1);
                unmapped.tables.batch.add_leaf(self.page_at(spanned.first, size), size);
            } else if let Some(child) = entry.child(level)
                && level > 1
                && entry.reserved_bits(level, self.root.phys_bits()) == 0
            {
                self.clear(child, level - 1, spanned, empty, unmapped);
                if detach && self.is_blank(child) {
                    self.memory.write(table, index, Entry::EMPTY);
                    unmapped.tables.waiting.0.push(self.memory, child);
                    if !planted::is(Fault::TablesUnflushed) {
                        unmapped.tables.batch.add_table(self.root.levels.virt_of(spanned.first));
                    }
                }
            }
        }
    }

    /// Returns the page of `size` around a linear position. Its end is an address: the last page of all cannot be
    /// mapped.
    fn page_at(&self, position: u64, size: PageSize) -> VirtRange {
        let start = self.root.levels.virt_of(position).align_down(size);
        VirtRange::of_length(start, size.bytes()).unwrap_or_default()
    }

    /// Tells whether no entry of `table` holds anything.
    fn is_blank(&self, table: Pfn) -> bool {
        (0..ENTRIES).all(|index| self.memory.read(table, index) == Entry::EMPTY)
    }
}

/// Part of a run: linear positions, and the level of its leaves.
#[derive(Clone, Copy)]
struct Part {
    first: u64,
    last: u64,
    lowest: u8,
}

impl Part {
    /// Returns the part of it that the entry `index` at `level` spans; the entry is one that the part goes through.
    fn within(self, index: usize, level: u8) -> Self {
        let steps = (index - index_at(self.first, level)) as u64;
        let position = self.first + steps * span_bytes(level);
        let (first, last) = clip(self.first, self.last, position, level);
        Self { first, last, lowest: self.lowest }
    }
}
