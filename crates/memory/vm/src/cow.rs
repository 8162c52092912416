//! Copy-on-write: the first write to a shared page.
//!
//! ```text
//!   shared, the count is 1   ──> the frame is this page's alone: writable again, no copy, no flush
//!   shared, the count is > 1 ──> busy, flush ──> copy ──> the new frame, writable ──> one word fewer has the old one
//! ```
//!
//! **Why the flush comes before the copy.** A CPU may still have a writable translation from before the page was shared,
//! because the fork that shared it has not flushed yet; and others have one to read, which must not outlive the copy. A
//! busy page has no translation anywhere once its flush is over, so that the copy is of contents that stay, and the new
//! frame needs no flush.

use rhumb_machine::{Machine, PageSize, VirtRange};
use rhumb_pagetable::TableMemory;
use rhumb_pagetable::flush::Unflushed;

use crate::error::FaultError;
use crate::gone::Gone;
use crate::map::{Map, Place};
use crate::planted::{self, Fault};
use crate::share;
use crate::space::Space;
use crate::unmap::KEY;
use crate::word::{State, Word};

/// The outcome of a write to a shared page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Written {
    /// It has a frame of its own, a copy.
    Copied,
    /// It is not what it was: look anew.
    Changed,
}

impl<S: Space> Map<S> {
    /// Gives the page of a shared word a frame of its own.
    pub(crate) fn write_shared(&self, place: Place, word: Word) -> Result<Written, FaultError> {
        let frames = self.space.frames();
        let guard = self.space.machine().pin();
        let pinned = guard.pinned();
        let mut frame = match self.space.alloc(pinned, Self::page_request()) {
            Ok(frame) => frame,
            Err(error) => {
                self.unless_changed(place, word, FaultError::NoFrame(error))?;
                return Ok(Written::Changed);
            }
        };
        let busy = self.locked(place.at, |_, tables, now| {
            let State::Mapped(pfn, marks) = word.state(place.size()) else { return None };
            if now != place || now.word(tables) != word {
                return None;
            }
            tables.write(place.table, place.index, Word::busy(pfn, marks).0);
            Some((pfn, marks))
        });
        let Some((from, marks)) = busy else {
            frames.free(pinned, frame);
            return Ok(Written::Changed);
        };
        if !planted::is(Fault::NoFlushOfCopy) {
            let mut going = Unflushed::new(Gone::default(), KEY);
            if let Some(page) = VirtRange::of_length(place.at, place.bytes()) {
                going.batch_mut(KEY).add_leaf(page, PageSize::Size4K);
            }
            drop(self.space.flush(pinned, &mut going));
        }
        self.copy_page(from, &mut frame);
        let own = self.word_of(frame.into_pfn(), marks.exclusive());
        // A busy word stays where it is: nothing but the CPU that made it so changes it.
        self.locked(place.at, |_, tables, _| tables.write(place.table, place.index, own.0));
        self.give_up_copied(pinned, from, marks);
        Ok(Written::Copied)
    }

    /// Gives the page of a shared word a frame of its own, if the word is still there: the one that it has, where no other
    /// word has that.
    pub(crate) fn unshare(&self, place: Place, word: Word) -> Result<(), FaultError> {
        let is_taken_over = self.locked(place.at, |_, tables, now| {
            now == place && now.word(tables) == word && self.take_over(tables, place, word)
        });
        if is_taken_over { Ok(()) } else { self.write_shared(place, word).map(|_| ()) }
    }

    /// Makes the frame of a shared word that no other word has the word's alone. Tells whether it has. The caller holds the
    /// lock of the word.
    pub(crate) fn take_over(&self, tables: &mut S::Tables, place: Place, word: Word) -> bool {
        let State::Mapped(pfn, marks) = word.state(place.size()) else { return false };
        if !share::is_sole(self.space.frames(), pfn) {
            return false;
        }
        tables.write(place.table, place.index, self.word_of(pfn, marks.exclusive()).0);
        true
    }
}
