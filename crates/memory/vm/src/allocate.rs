//! Allocating addresses: a search for empty pages, and words that say what they are.

use rhumb_machine::{Machine, PageSize, VirtAddr, VirtRange, impossible};
use rhumb_pagetable::levels::span_bytes;
use rhumb_pagetable::{Access, ENTRIES, Entry, TableChain, TableMemory};

use crate::error::{Resource, VmError};
use crate::map::{Map, Place};
use crate::space::Space;
use crate::word::{Inherit, Marks, Protection, Word};

const PAGE: u64 = PageSize::Size4K.bytes();
/// The highest level at which a word stands for all the pages that its entry spans.
const MOST_LEVEL: u8 = 3;

/// A request for memory that reads as zeroes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allocation {
    pages: u64,
    at: Option<VirtAddr>,
    align_pages: u64,
    protection: Protection,
    inherit: Inherit,
}

impl Allocation {
    /// Asks for so many pages, readable and writable, where the map likes, copied by a fork.
    pub const fn pages(pages: u64) -> Self {
        Self { pages, at: None, align_pages: 1, protection: Protection::ReadWrite, inherit: Inherit::Copy }
    }

    /// Asks for this first address, or an error.
    #[must_use]
    pub const fn at(self, at: VirtAddr) -> Self {
        Self { at: Some(at), ..self }
    }

    /// Asks for a first address that is a multiple of so many pages, a power of two.
    #[must_use]
    pub const fn aligned(self, pages: u64) -> Self {
        Self { align_pages: pages, ..self }
    }

    /// Asks for these rights.
    #[must_use]
    pub const fn protection(self, protection: Protection) -> Self {
        Self { protection, ..self }
    }

    pub(crate) const fn of_pages(self, pages: u64) -> Self {
        Self { pages, ..self }
    }

    pub(crate) const fn is_for_sharing(&self) -> bool {
        matches!(self.inherit, Inherit::Share)
    }

    pub(crate) const fn marks(&self) -> Marks {
        Marks::new(self.protection, self.inherit)
    }

    /// Says what a fork does with it.
    #[must_use]
    pub const fn inherit(self, inherit: Inherit) -> Self {
        Self { inherit, ..self }
    }
}

impl<S: Space> Map<S> {
    /// Allocates addresses. Their pages get frames when they are used.
    ///
    /// # Errors
    /// [`VmError`]: the range that was asked for is not empty or not the map's, there is no room, no frame for a table,
    /// or a limit is reached.
    ///
    /// Cost: a word for each page at the ends of the range that is no whole 2 MiB, for each such 2 MiB, and for each GiB;
    /// a frame for each table that is missing. The search begins where the last one ended, or where pages were unmapped
    /// below; it reads a word for each page of a table that has any. No flush.
    pub fn allocate(&self, request: &Allocation) -> Result<VirtRange, VmError> {
        if request.inherit == Inherit::Share {
            return self.allocate_shared(request);
        }
        let word = Word::fresh(request.marks());
        self.with_room(request, |range| self.enter(range, word))
    }

    /// Allocates pages that are fit to be shared.
    fn allocate_shared(&self, request: &Allocation) -> Result<VirtRange, VmError> {
        let range = self.allocate(&request.inherit(Inherit::Copy))?;
        if let Err(error) = self.inherit(range, Inherit::Share) {
            if self.unmap(range).is_err() {
                impossible!("the ends of what was allocated are ends of words");
            }
            return Err(error);
        }
        Ok(range)
    }

    /// Finds the empty range that is asked for, and has `enter` fill it while its lanes are held.
    pub(crate) fn with_room(
        &self,
        request: &Allocation,
        mut enter: impl FnMut(VirtRange) -> Result<(), VmError>,
    ) -> Result<VirtRange, VmError> {
        let bytes = request.pages.checked_mul(PAGE).filter(|&bytes| bytes > 0 && bytes <= self.range.bytes());
        let Some(bytes) = bytes else {
            return Err(VmError::NoRoom(request.pages));
        };
        if let Some(at) = request.at {
            let range = VirtRange::of_length(at, bytes).ok_or(VmError::NoRoom(request.pages))?;
            self.check(range)?;
            let _lanes = self.lanes.hold(range, || self.space.relax());
            enter(range)?;
            return Ok(range);
        }
        let align = request.align_pages.checked_mul(PAGE).filter(|align| align.is_power_of_two());
        let Some(align) = align.filter(|&align| align <= self.range.bytes()) else {
            return Err(VmError::BadAlignment(request.align_pages));
        };
        self.with_room_anywhere(bytes, align, &mut enter)
    }

    fn with_room_anywhere(
        &self,
        bytes: u64,
        align: u64,
        enter: &mut impl FnMut(VirtRange) -> Result<(), VmError>,
    ) -> Result<VirtRange, VmError> {
        let needed = bytes.saturating_add(self.guard_bytes());
        let first = self.lanes.of_cpu(self.here(self.space.machine().pin().pinned()));
        let count = self.lanes.count();
        for lane in (0..count).map(|step| (first + step) % count) {
            let all = self.lanes.range(lane);
            let _lanes = self.lanes.hold(all, || self.space.relax());
            let hint = VirtAddr::new(self.lanes.hint(lane)).max(all.start()).min(all.end());
            let above = VirtRange::new(hint, all.end()).unwrap_or_default();
            // The part below the hint is searched with as much above the hint as a range across it needs.
            let edge = hint
                .checked_add(needed.saturating_add(self.guard_bytes()))
                .unwrap_or(all.end())
                .min(all.end());
            let below = VirtRange::new(all.start(), edge).unwrap_or_default();
            let Some(at) = self.find(above, needed, align).or_else(|| self.find(below, needed, align)) else {
                continue;
            };
            let Some(range) = VirtRange::of_length(at, bytes) else { continue };
            enter(range)?;
            self.lanes.set_hint(lane, range.end());
            return Ok(range);
        }
        // A range that no lane has room for may lie across several.
        if count > 1 && bytes > self.lanes.range(0).bytes() / 2 {
            let _lanes = self.lanes.hold(self.range, || self.space.relax());
            if let Some(range) =
                self.find(self.range, needed, align).and_then(|at| VirtRange::of_length(at, bytes))
            {
                enter(range)?;
                return Ok(range);
            }
        }
        Err(VmError::NoRoom(bytes / PAGE))
    }

    pub(crate) fn guard_bytes(&self) -> u64 {
        self.space.guard_pages() * PAGE
    }

    /// Returns the first address of `needed` empty bytes of `within`, below which the pages of a guard are empty, too. The
    /// caller holds the lanes.
    fn find(&self, within: VirtRange, needed: u64, align: u64) -> Option<VirtAddr> {
        let tables = self.space.tables();
        let guard = self.guard_bytes();
        // The first address at which the range may begin above `at`, and the first page that has to be empty for that.
        let begin = |at: VirtAddr| {
            let gap = VirtAddr::new(at.checked_add(guard)?.get().checked_next_multiple_of(align)?);
            Some((gap, VirtAddr::new(gap.get() - guard)))
        };
        let (mut gap, mut at) = begin(within.start())?;
        loop {
            let end = gap.checked_add(needed).filter(|&end| end <= within.end())?;
            if at >= end {
                return Some(gap);
            }
            let place = self.place(&tables, at);
            if place.level > 1 {
                at = place.at.checked_add(place.bytes())?;
                if !place.word(&tables).is_empty() {
                    (gap, at) = begin(at)?;
                }
                continue;
            }
            for index in place.index..ENTRIES {
                if at >= end {
                    break;
                }
                at = at.plus(PAGE);
                if tables.read(place.table, index) != Entry::EMPTY {
                    (gap, at) = begin(at)?;
                    break;
                }
            }
        }
    }

    /// Gives all pages of `range`, whose lanes the caller holds, a word.
    fn enter(&self, range: VirtRange, word: Word) -> Result<(), VmError> {
        let pages = range.bytes() / PAGE;
        let mut tables = self.space.tables();
        let place = self.place(&tables, range.start());
        let count = if place.level == 1 { run_length(&place, range.end()) } else { 0 };
        if count as u64 == pages {
            // The common case: all of it is in one table.
            self.check_empty(&tables, &place, count)?;
            self.account.take(Resource::Addresses, pages).map_err(VmError::Limit)?;
            self.note_used(&mut tables, &place, count);
            tables.write_run(place.table, place.index, word.0, 0, count);
            return Ok(());
        }
        let guard = self.space.machine().pin();
        let pinned = guard.pinned();
        let missing = self.survey(range)?;
        self.account.take(Resource::Addresses, pages).map_err(VmError::Limit)?;
        match self.take_tables(pinned, missing) {
            Ok(mut chain) => {
                self.fill(range, word, &mut chain);
                if !chain.is_empty() {
                    self.return_tables(pinned, chain);
                }
                Ok(())
            }
            Err(error) => {
                self.account.give(Resource::Addresses, pages);
                Err(error)
            }
        }
    }

    /// Returns how many tables are missing for words in all of `range`.
    ///
    /// # Errors
    /// [`VmError::Occupied`]: a page is not empty.
    pub(crate) fn survey(&self, range: VirtRange) -> Result<u64, VmError> {
        let tables = self.space.tables();
        let mut missing = 0;
        let mut at = range.start();
        while at < range.end() {
            let place = self.place(&tables, at);
            if place.level == 1 {
                let count = run_length(&place, range.end());
                self.check_empty(&tables, &place, count)?;
                at = at.plus(count as u64 * PAGE);
                continue;
            }
            if !place.word(&tables).is_empty() {
                return Err(VmError::Occupied(at));
            }
            let last = VirtAddr::new((place.at.get() + (place.bytes() - 1)).min(range.end().get() - 1));
            missing += tables_below(place.level, at.get(), last.get());
            at = last.plus(1);
        }
        Ok(missing)
    }

    /// Checks that the words of a table from `place` on are empty.
    fn check_empty(&self, tables: &S::Tables, place: &Place, count: usize) -> Result<(), VmError> {
        match (0..count).find(|page| tables.read(place.table, place.index + page) != Entry::EMPTY) {
            Some(page) => Err(VmError::Occupied(place.at.plus(page as u64 * PAGE))),
            None => Ok(()),
        }
    }

    /// Writes a word for all of `range`, which is empty, with tables from `chain`. The caller holds the lanes.
    pub(crate) fn fill(&self, range: VirtRange, word: Word, chain: &mut TableChain) {
        let privilege = self.space.attributes(Access::ReadOnly).privilege;
        let mut tables = self.space.tables();
        let mut at = range.start();
        while at < range.end() {
            let place = self.place(&tables, at);
            if place.level == 1 {
                let count = run_length(&place, range.end());
                self.note_used(&mut tables, &place, count);
                tables.write_run(place.table, place.index, word.0, 0, count);
                at = at.plus(count as u64 * PAGE);
            } else if place.level <= MOST_LEVEL && place.at == at && place.bytes() <= range.end().since(at) {
                self.note_used(&mut tables, &place, 1);
                tables.write(place.table, place.index, word.0);
                at = at.plus(place.bytes());
            } else if let Some(table) = chain.pop(&mut tables) {
                self.note_used(&mut tables, &place, 1);
                tables.write(place.table, place.index, Entry::table(table, privilege));
            } else {
                return impossible!("the tables of {range} were counted");
            }
        }
    }
}

/// Returns how many words of a table of level 1 lie between `place` and `end`.
pub(crate) fn run_length(place: &Place, end: VirtAddr) -> usize {
    ((end.since(place.at) / PAGE) as usize).min(ENTRIES - place.index)
}

/// Returns how many tables it takes to give the addresses from `first` to `last`, which are below one empty entry of
/// `level`, words of their own.
fn tables_below(level: u8, first: u64, last: u64) -> u64 {
    let offset = span_bytes(level) - 1;
    if level == 1 || level <= MOST_LEVEL && first & offset == 0 && last & offset == offset {
        return 0;
    }
    let below = span_bytes(level - 1);
    if level - 1 > MOST_LEVEL {
        let entries = first / below..=last / below;
        let part =
            |entry| tables_below(level - 1, first.max(entry * below), last.min(entry * below + below - 1));
        return 1 + entries.map(part).sum::<u64>();
    }
    // Those in between are whole, and take none.
    let end_of_first = last.min(first | (below - 1));
    let start_of_last = last & !(below - 1);
    let at_end = if start_of_last > first { tables_below(level - 1, start_of_last, last) } else { 0 };
    1 + tables_below(level - 1, first, end_of_first) + at_end
}

#[cfg(test)]
mod tests;
