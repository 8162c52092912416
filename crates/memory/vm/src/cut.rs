//! Giving the pages of a word that covers many pages words of their own.

use rhumb_machine::{Machine, PageSize, VirtAddr, VirtRange};
use rhumb_pagetable::{Access, ENTRIES, Entry, TableMemory};

use crate::error::VmError;
use crate::hint::Hint;
use crate::map::{Map, Place};
use crate::planted::{self, Fault};
use crate::space::Space;
use crate::word::{State, Word};

impl<S: Space> Map<S> {
    /// Has words end at both ends of a range whose lanes the caller holds.
    ///
    /// # Errors
    /// There is no table; all pages are as they were.
    pub(crate) fn cut_ends(&self, range: VirtRange) -> Result<(), VmError> {
        let place = self.place(&self.tables(), range.start());
        let pages = range.end().since(place.at) / PageSize::Size4K.bytes();
        if place.level == 1 && pages <= (ENTRIES - place.index) as u64 {
            // The common case: all of it is in one table.
            return Ok(());
        }
        self.cut(range.start())?;
        self.cut(range.end())
    }

    /// Has a word end at `at`: a word that covers pages on both sides of it becomes a table of words. The caller holds
    /// the lane of `at`.
    ///
    /// # Errors
    /// There is no table; all pages are as they were.
    fn cut(&self, at: VirtAddr) -> Result<(), VmError> {
        if at >= self.range.end() {
            return Ok(());
        }
        loop {
            let tables = self.tables();
            let place = self.place(&tables, at);
            let word = place.word(&tables);
            if place.level == 1 || place.at == at || word.is_empty() {
                return Ok(());
            }
            self.divide(place, word)?;
        }
    }

    /// Replaces `word`, which covers many pages, by a table of words for these pages, if the word is still there.
    ///
    /// # Errors
    /// There is no table, and the word is still there.
    pub(crate) fn divide(&self, place: Place, word: Word) -> Result<(), VmError> {
        let State::Fresh(_) = word.state(place.size()) else { return Ok(()) };
        let guard = self.space.machine().pin();
        let frame = match self.take_table(guard.pinned()) {
            Ok(frame) => frame,
            Err(error) => return self.unless_changed(place, word, error),
        };
        let privilege = self.space.attributes(Access::ReadOnly).privilege;
        // Before the table is in the tree, so that each CPU that finds it finds its words.
        self.tables().write_run(frame.pfn(), 0, word.0, 0, ENTRIES);
        let refused = self.locked(place.at, |_, tables, now| {
            if now != place || now.word(tables) != word {
                return Some(frame);
            }
            let entry = Hint::ALL.added_to(Entry::table(frame.into_pfn(), privilege));
            tables.write(place.table, place.index, entry);
            None
        });
        if let Some(frame) = refused {
            self.return_table(guard.pinned(), frame);
        }
        Ok(())
    }

    /// Returns the error of a step that replaces `word`, if the word is still there. Where it is not, another CPU was faster
    /// and has perhaps used up what this one was refused: the caller looks anew.
    pub(crate) fn unless_changed<E>(&self, place: Place, word: Word, error: E) -> Result<(), E> {
        let is_there = self.locked(place.at, |_, tables, now| now == place && now.word(tables) == word);
        if is_there || planted::is(Fault::NoLookAfterFailure) { Err(error) } else { Ok(()) }
    }
}
