//! Unmapping: words become empty, CPUs flush, and frames and tables are free after that (I6).

use rhumb_machine::{Machine, PageSize, VirtAddr, VirtRange, impossible};
use rhumb_pagetable::flush::Unflushed;
use rhumb_pagetable::{ENTRIES, Entry, TableMemory};

use crate::error::{Resource, VmError};
use crate::fill::run_length;
use crate::gone::{Gone, GoneKey, GoneTable};
use crate::hint::Hint;
use crate::map::{Map, Place};
use crate::planted::{self, Fault};
use crate::space::Space;
use crate::word::{State, Word};

const PAGE: u64 = PageSize::Size4K.bytes();
/// The right to add to a flush.
pub(crate) const KEY: GoneKey = GoneKey(());

/// The outcome of a step of an unmapping.
struct Taken {
    /// Where the next step begins.
    next: VirtAddr,
    /// Pages that were allocated.
    pages: u64,
    /// Pages that were wired.
    wired: u64,
}

impl<S: Space> Map<S> {
    /// Unmaps a range. Pages that are not allocated stay so. Returns how many pages were allocated.
    ///
    /// # Errors
    /// [`VmError`]: the range is not the map's; or an end of it is in the middle of memory that has no table yet, and
    /// there is none. Nothing has changed then.
    ///
    /// Cost: a word for each page, or one for each table that is unmapped as a whole; a flush for 64 pages, 64 tables, or
    /// the end of the range; none where no page had a frame, and no table went.
    pub fn unmap(&self, range: VirtRange) -> Result<u64, VmError> {
        self.check(range)?;
        let _lanes = self.lanes.hold(range, || self.space.relax());
        // A range within 2 MiB needs no division where there is a table, which the first step sees.
        let last = VirtAddr::new(range.end().get() - 1);
        if range.start().align_down(PageSize::Size2M) != last.align_down(PageSize::Size2M) {
            self.cut_ends(range)?;
        }
        match self.remove(range) {
            Some(pages) => Ok(self.note_unmapped(range, pages)),
            None => {
                self.cut_ends(range)?;
                Ok(self.unmap_held(range))
            }
        }
    }

    /// Unmaps a range at whose ends words end, and whose lanes the caller holds.
    pub(crate) fn unmap_held(&self, range: VirtRange) -> u64 {
        let Some(pages) = self.remove(range) else {
            return impossible!("words end at both ends of {range}" => 0);
        };
        self.note_unmapped(range, pages)
    }

    /// Gives the addresses of a range back to the account and to the search for empty ones.
    fn note_unmapped(&self, range: VirtRange, pages: u64) -> u64 {
        self.account.give(Resource::Addresses, pages);
        self.lanes.lower_hints(range, self.guard_bytes());
        pages
    }

    /// Empties all words of a range, and frees what they had. The caller holds the lanes. `None` where the first word is
    /// one of more pages than these, before anything has changed.
    fn remove(&self, range: VirtRange) -> Option<u64> {
        let mut going = Unflushed::new(Gone::default(), KEY);
        let (mut pages, mut wired) = (0, 0);
        let mut at = range.start();
        while at < range.end() {
            let step = self.locked(at, |_, tables, place| {
                if place.level == 1 {
                    Some(take_words(tables, place, range.end(), &mut going))
                } else {
                    let is_whole = place.at == at && place.bytes() <= range.end().since(at);
                    (is_whole || place.word(tables).is_empty()).then(|| take_word(tables, place))
                }
            })?;
            pages += step.pages;
            wired += step.wired;
            if going.waiting().is_full() {
                self.finish(&mut going);
            } else if step.next == at {
                // Another CPU copies the page, which takes no lock and no lane.
                self.space.relax();
            }
            at = step.next;
        }
        self.finish(&mut going);
        self.account.give(Resource::Wired, wired);
        Some(pages)
    }

    /// Flushes, and frees what has waited.
    pub(crate) fn finish(&self, going: &mut Unflushed<Gone>) {
        if going.batch().is_empty() && going.waiting().is_empty() {
            return;
        }
        let guard = self.space.machine().pin();
        let pinned = guard.pinned();
        if planted::is(Fault::NoFlush) {
            return self.release(pinned, core::mem::take(going.waiting_mut(KEY)));
        }
        match self.space.flush(pinned, going).redeem(self.machine_identity()) {
            Some(gone) => self.release(pinned, gone),
            None => impossible!("a space flushes the CPUs of its own machine"),
        }
    }
}

/// Takes the word of an entry above level 1, which has no frame.
fn take_word<T: TableMemory>(tables: &mut T, place: Place) -> Taken {
    let is_empty = place.word(tables).is_empty();
    if !is_empty {
        tables.write(place.table, place.index, Entry::EMPTY);
    }
    Taken { next: place.at.plus(place.bytes()), pages: if is_empty { 0 } else { place.pages() }, wired: 0 }
}

/// Takes the words of a table from `place` up to `end`: the table itself, where these are all.
fn take_words<T: TableMemory>(
    tables: &mut T,
    place: Place,
    end: VirtAddr,
    going: &mut Unflushed<Gone>,
) -> Taken {
    let count = run_length(&place, end);
    if count == ENTRIES
        && let Some(taken) = take_table(tables, place, going)
    {
        return taken;
    }
    let (mut pages, mut wired) = (0, 0);
    let mut mapped: Option<(VirtAddr, VirtAddr)> = None;
    let mut at = place.at;
    for index in place.index..place.index + count {
        let word = Word(tables.read(place.table, index));
        match word.state(PageSize::Size4K) {
            State::Empty => {}
            State::Busy(_) => break,
            State::Fresh(_) => {
                tables.write(place.table, index, Entry::EMPTY);
                pages += 1;
            }
            State::Named(..) => {
                if going.waiting_mut(KEY).pages.try_push(word).is_err() {
                    break;
                }
                tables.write(place.table, index, Entry::EMPTY);
                pages += 1;
            }
            State::Mapped(_, marks) => {
                if going.waiting_mut(KEY).pages.try_push(word).is_err() {
                    break;
                }
                tables.write(place.table, index, Entry::EMPTY);
                wired += u64::from(marks.is_wired());
                mapped = Some((mapped.map_or(at, |(first, _)| first), at));
                pages += 1;
            }
        }
        at = at.plus(PAGE);
    }
    if let Some((first, last)) = mapped
        && let Some(range) = VirtRange::new(first, last.plus(PAGE))
    {
        going.batch_mut(KEY).add_leaf(range, PageSize::Size4K);
    }
    Taken { next: at, pages, wired }
}

/// Takes a table out of its tree, unless a CPU copies a page of it.
fn take_table<T: TableMemory>(tables: &mut T, place: Place, going: &mut Unflushed<Gone>) -> Option<Taken> {
    let (mut pages, mut wired) = (0, 0);
    for index in 0..ENTRIES {
        match Word(tables.read(place.table, index)).state(PageSize::Size4K) {
            State::Empty => {}
            State::Busy(_) => return None,
            State::Mapped(_, marks) => {
                pages += 1;
                wired += u64::from(marks.is_wired());
            }
            State::Fresh(_) | State::Named(..) => pages += 1,
        }
    }
    let range = VirtRange::of_length(place.at, PageSize::Size2M.bytes())?;
    let (table, index) = place.parent;
    let hint = Hint::of(tables.read(table, index));
    going.waiting_mut(KEY).tables.try_push(GoneTable::new(place.table, 1, hint)).ok()?;
    tables.write(table, index, Entry::EMPTY);
    let batch = going.batch_mut(KEY);
    batch.add_leaf(range, PageSize::Size4K);
    batch.add_table(place.at);
    Some(Taken { next: range.end(), pages, wired })
}
