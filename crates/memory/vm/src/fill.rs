//! Words for all of an empty range, and the tables that they take.
//!
//! ```text
//!   survey ──> all pages are empty, so many tables are missing
//!   make_way ──> these tables are in the tree, with no words
//!   fill ──> the words: no table is missing any more
//! ```
//!
//! A range gets words part by part, because a copy has pages with frames between runs of fresh ones. Two parts may need the
//! same table, so that the count goes over all parts in ascending order, and remembers the last table of each level.
//! Everything that can fail comes before the first word (I7).

use rhumb_machine::{Machine, PageSize, VirtAddr, VirtRange, impossible};
use rhumb_pagetable::levels::{span_bytes, span_shift};
use rhumb_pagetable::{Access, ENTRIES, Entry, TableChain, TableMemory};

use crate::error::{Resource, VmError};
use crate::map::{Map, OverLimit, Place};
use crate::planted::{self, Fault};
use crate::space::Space;
use crate::word::Word;

const PAGE: u64 = PageSize::Size4K.bytes();
/// The highest level at which a word covers all the pages that its entry spans.
const MOST_LEVEL: u8 = 3;

/// The words of a part of a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Words {
    /// One for all pages of an entry that the part covers, at the highest level that has such words: fresh pages.
    Fresh,
    /// One for each page: pages that have frames, or places in sheets.
    OfPages,
}

impl Words {
    /// Returns the highest level at which there are such words.
    const fn most_level(self) -> u8 {
        match self {
            Self::Fresh => MOST_LEVEL,
            Self::OfPages => 1,
        }
    }
}

/// The parts of a range: calls its argument for each, in ascending order.
pub(crate) trait Parts: Fn(&mut dyn FnMut(VirtRange, Words)) {}

impl<F: Fn(&mut dyn FnMut(VirtRange, Words))> Parts for F {}

/// A count of the tables that are missing for words in parts of a range.
#[derive(Default, Debug)]
struct Missing {
    tables: u64,
    /// The entry of each level that was counted last, by its number in the address space.
    last: [Option<u64>; 8],
}

impl Missing {
    fn counted(&self) -> u64 {
        if planted::is(Fault::TableNotCounted) { self.tables.saturating_sub(1) } else { self.tables }
    }

    /// Adds the tables that it takes to give the addresses from `first` to `last`, which are below one empty entry of
    /// `level` and above all that were added before, words of their own.
    fn add(&mut self, level: u8, (first, last): (u64, u64), words: Words) {
        for level in 2..=level {
            let (shift, offset) = (span_shift(level), span_bytes(level) - 1);
            let (low, high) = (first >> shift, last >> shift);
            if level > words.most_level() {
                // Each entry refers to a table. The lowest one may be one that an earlier part needs, too.
                self.tables += high - low + u64::from(self.last[level as usize] != Some(low));
                self.last[level as usize] = Some(high);
                continue;
            }
            // The entries in between are whole, and have words.
            let is_whole = |entry: u64| first <= entry << shift && last >= entry << shift | offset;
            for entry in [low, high] {
                if !is_whole(entry) && self.last[level as usize] != Some(entry) {
                    self.tables += 1;
                    self.last[level as usize] = Some(entry);
                }
            }
        }
    }
}

impl<S: Space> Map<S> {
    /// Makes an empty range, whose lanes the caller holds, ready for the words of `parts`, which are all of it: charges the
    /// pages, of which so many are resident, and puts the tables that are missing into the tree. [`Map::fill`] writes the
    /// words then, and cannot fail.
    ///
    /// # Errors
    /// [`VmError`]: a page is not empty, a limit is reached, or there is no frame for a table. Nothing has changed.
    pub(crate) fn prepare(&self, range: VirtRange, resident: u64, parts: impl Parts) -> Result<(), VmError> {
        let mut missing = Missing::default();
        let mut result = Ok(());
        parts(&mut |part, words| {
            if result.is_ok() {
                result = self.survey(part, words, &mut missing);
            }
        });
        result?;
        let pages = range.bytes() / PAGE;
        self.account.take(Resource::Addresses, pages).map_err(VmError::Limit)?;
        let charge = || self.account.take(Resource::Resident, resident).map_err(|_| OverLimit);
        if let Err(OverLimit) = self.charging(charge) {
            self.account.give(Resource::Addresses, pages);
            return Err(VmError::Limit(Resource::Resident));
        }
        let made = self.make_all_ways(missing.counted(), parts);
        if !matches!(made, Ok(true)) {
            self.account.give(Resource::Addresses, pages);
            self.account.give(Resource::Resident, resident);
        }
        match made {
            Ok(true) => Ok(()),
            Ok(false) => impossible!("the tables of {range} were counted" => Err(VmError::NoRoom(pages))),
            Err(error) => Err(error),
        }
    }

    /// Puts so many tables into the tree for the words of `parts`. Tells whether they were enough.
    fn make_all_ways(&self, count: u64, parts: impl Parts) -> Result<bool, VmError> {
        let guard = self.space.machine().pin();
        let mut chain = self.take_tables(guard.pinned(), count)?;
        let mut is_made = true;
        parts(&mut |part, words| is_made = is_made && self.make_way(part, words, &mut chain));
        if !chain.is_empty() {
            self.return_tables(guard.pinned(), chain);
        }
        Ok(is_made)
    }

    /// Checks that a part is empty, and adds the tables that are missing for its words to a count.
    fn survey(&self, range: VirtRange, words: Words, missing: &mut Missing) -> Result<(), VmError> {
        let tables = self.tables();
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
            missing.add(place.level, (at.get(), last.get()), words);
            at = last.plus(1);
        }
        Ok(())
    }

    /// Checks that the words of a table from `place` on are empty.
    pub(crate) fn check_empty(&self, tables: &S::Tables, place: &Place, count: usize) -> Result<(), VmError> {
        match (0..count).find(|page| tables.read(place.table, place.index + page) != Entry::EMPTY) {
            Some(page) => Err(VmError::Occupied(place.at.plus(page as u64 * PAGE))),
            None => Ok(()),
        }
    }

    /// Puts the tables that the words of a part need into the tree. Tells whether there were enough.
    fn make_way(&self, range: VirtRange, words: Words, chain: &mut TableChain) -> bool {
        let privilege = self.space.attributes(Access::ReadOnly).privilege;
        let mut tables = self.tables();
        let mut at = range.start();
        while at < range.end() {
            let place = self.place(&tables, at);
            if place.level == 1 {
                at = at.plus(run_length(&place, range.end()) as u64 * PAGE);
            } else if place.level <= words.most_level() && place.is_whole(at, range.end()) {
                at = at.plus(place.bytes());
            } else if let Some(table) = chain.pop(&mut tables) {
                self.note_used(&mut tables, &place, 1);
                tables.write(place.table, place.index, Entry::table(table, privilege));
            } else {
                return false;
            }
        }
        true
    }

    /// Writes a word for all of a part, to which [`Map::prepare`] has made the way.
    pub(crate) fn fill(&self, range: VirtRange, word: Word) {
        let mut tables = self.tables();
        let mut at = range.start();
        while at < range.end() {
            let place = self.place(&tables, at);
            let count = if place.level == 1 { run_length(&place, range.end()) } else { 1 };
            if place.level > MOST_LEVEL || place.level > 1 && !place.is_whole(at, range.end()) {
                return impossible!("the way to {range} was made");
            }
            self.note_used(&mut tables, &place, count);
            tables.write_run(place.table, place.index, word.0, 0, count);
            at = at.plus(place.bytes() * count as u64);
        }
    }
}

/// Returns how many words of a table of level 1 lie between `place` and `end`.
pub(crate) fn run_length(place: &Place, end: VirtAddr) -> usize {
    ((end.since(place.at) / PAGE) as usize).min(ENTRIES - place.index)
}

#[cfg(test)]
mod tests;
