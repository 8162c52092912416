//! Changing what pages allow, and what a fork does with them.

use core::ops::Range;

use rhumb_machine::{PageSize, Pfn, VirtAddr, VirtRange};
use rhumb_pagetable::flush::Unflushed;
use rhumb_pagetable::{Entry, TableEntry, TableMemory, bits};

use crate::error::VmError;
use crate::fill::run_length;
use crate::gone::Gone;
use crate::map::{Map, Place};
use crate::planted::{self, Fault};
use crate::space::Space;
use crate::unmap::KEY;
use crate::word::{Inherit, Marks, Protection, State, Word};

const PAGE: u64 = PageSize::Size4K.bytes();

impl<S: Space> Map<S> {
    /// Gives all pages of a range these rights.
    ///
    /// # Errors
    /// [`VmError`]: a page of the range is not allocated, or an end of it is in the middle of memory that has no table
    /// yet, and there is none. Nothing has changed then.
    ///
    /// Cost: two looks at each word, and one flush where a page that has a frame has lost a right. A page that was written
    /// and is to be executed, or the other way round, is neither of them until all CPUs have dropped what they knew of it
    /// (I4): one look more at each word.
    pub fn protect(&self, range: VirtRange, protection: Protection) -> Result<(), VmError> {
        self.change(range, |marks| marks.with_protection(protection))
    }

    /// Says what a fork does with the pages of a range.
    ///
    /// # Errors
    /// Those of [`Map::protect`]; for [`Inherit::Share`] there is no frame for tables and sheets, one each for 2 MiB.
    pub fn inherit(&self, range: VirtRange, inherit: Inherit) -> Result<(), VmError> {
        self.check(range)?;
        let _lanes = self.lanes.hold(range, || self.space.relax());
        self.check_allocated(range)?;
        if inherit == Inherit::Share {
            self.make_objects(range)?;
        }
        self.change_held(range, |marks| marks.with_inherit(inherit))
    }

    /// Changes the marks of all pages of a range.
    fn change(&self, range: VirtRange, new: impl Fn(Marks) -> Marks) -> Result<(), VmError> {
        self.check(range)?;
        let _lanes = self.lanes.hold(range, || self.space.relax());
        self.check_allocated(range)?;
        self.change_held(range, new)
    }

    /// Changes the marks of a range that is allocated, and whose lanes the caller holds.
    pub(crate) fn change_held(&self, range: VirtRange, new: impl Fn(Marks) -> Marks) -> Result<(), VmError> {
        self.cut_ends(range)?;
        while self.change_words(range, &new) == Done::Halfway {}
        Ok(())
    }

    /// Changes the words of a range, and has all CPUs drop the rights that are lost.
    fn change_words(&self, range: VirtRange, new: &impl Fn(Marks) -> Marks) -> Done {
        let mut going = Unflushed::new(Gone::default(), KEY);
        let mut done = Done::Whole;
        let mut at = range.start();
        while at < range.end() {
            let next = self.locked(at, |_, tables, place| {
                self.change_run(tables, (place, range.end()), new, (&mut going, &mut done))
            });
            if next == at {
                self.space.relax();
            }
            at = next;
        }
        if !planted::is(Fault::NoFlushOfRights) {
            self.finish(&mut going);
        }
        done
    }

    /// Changes the words of one table from `place` up to `end`, and returns where it has come to.
    fn change_run(
        &self,
        tables: &mut S::Tables,
        (place, end): (Place, VirtAddr),
        new: &impl Fn(Marks) -> Marks,
        (going, done): (&mut Unflushed<Gone>, &mut Done),
    ) -> VirtAddr {
        let end = place.index + if place.level == 1 { run_length(&place, end) } else { 1 };
        let page = |index: usize| place.at.plus((index - place.index) as u64 * place.bytes());
        let mut index = place.index;
        while index < end {
            let Some(change) = self.change_of(Word(tables.read(place.table, index)), place.size(), new)
            else {
                break;
            };
            let first = index;
            index += change.make(tables, place.table, index..end);
            if change.done == Done::Halfway {
                *done = Done::Halfway;
            }
            if change.loses
                && let Some(range) = VirtRange::new(page(first), page(index))
            {
                going.batch_mut(KEY).add_leaf(range, place.size());
            }
        }
        page(index)
    }

    /// Returns how a word changes. `None` where a CPU copies the page.
    fn change_of(&self, word: Word, size: PageSize, new: &impl Fn(Marks) -> Marks) -> Option<Change> {
        let (mut loses, mut done) = (false, Done::Whole);
        let changed = match word.state(size) {
            State::Busy(_) => return None,
            State::Empty => word,
            State::Fresh(marks) => Word::fresh(new(marks)),
            State::Named(slot, marks) => Word::named(slot, new(marks)),
            State::Mapped(pfn, marks) => {
                let mut changed = new(marks);
                if marks.protection().swaps(changed.protection()) {
                    changed = changed.with_protection(Protection::Read);
                    done = Done::Halfway;
                }
                loses = !marks.protection().is_within(changed.protection());
                Word::mapped(pfn, size, changed, |access| self.space.attributes(access))
            }
        };
        Some(Change { done, ..Change::of(word, changed, loses) })
    }

    /// Checks that all pages of a range are allocated. The caller holds the lanes.
    pub(crate) fn check_allocated(&self, range: VirtRange) -> Result<(), VmError> {
        let tables = self.tables();
        let mut at = range.start();
        while at < range.end() {
            let place = self.place(&tables, at);
            let count = if place.level == 1 { run_length(&place, range.end()) } else { 1 };
            if let Some(page) = find_empty(&tables, place.table, place.index..place.index + count) {
                let page = page as u64 * PAGE;
                return Err(VmError::NotAllocated(if place.level == 1 { at.plus(page) } else { at }));
            }
            at = place.at.plus(count as u64 * place.bytes());
        }
        Ok(())
    }
}

/// Returns how many words of a table from the first of `indices` on are before one that is empty, if one is.
fn find_empty<T: TableMemory>(tables: &T, table: Pfn, indices: Range<usize>) -> Option<usize> {
    match tables.in_place(table) {
        Some(entries) => entries[indices].iter().position(|entry| entry.load() == Entry::EMPTY),
        None => indices.into_iter().position(|index| tables.read(table, index) == Entry::EMPTY),
    }
}

/// How far a change of rights has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Done {
    /// Each page has its new rights.
    Whole,
    /// Pages have lost one of two rights that no page has at once, and have yet to be given the other.
    Halfway,
}

/// A change of a word: the same one is made to each word that differs in its address alone, as the words of a range
/// mostly do.
struct Change {
    before: u64,
    after: u64,
    /// The address bits that change, where a page becomes present or absent.
    flipped: u64,
    /// Whether a right is lost.
    loses: bool,
    /// Whether another change follows.
    done: Done,
}

impl Change {
    fn of(word: Word, changed: Word, loses: bool) -> Self {
        let flipped = if word.0.is_present() == changed.0.is_present() { 0 } else { bits::ADDRESS };
        Self {
            before: word.0.bits() & !bits::ADDRESS,
            after: changed.0.bits() & !bits::ADDRESS,
            flipped,
            loses,
            done: Done::Whole,
        }
    }

    /// Makes the change to the words of a table from the first of `indices` on, as long as they are alike. Returns how
    /// many these are.
    fn make<T: TableMemory>(&self, tables: &mut T, table: Pfn, indices: Range<usize>) -> usize {
        let Self { before, after, flipped, .. } = *self;
        let first = indices.start;
        if let Some(entries) = tables.in_place(table) {
            let like = |entry: &&TableEntry| {
                let word = entry.load().bits();
                let is_like = word & !bits::ADDRESS == before;
                if is_like {
                    entry.store(Entry::from_bits((word ^ flipped) & bits::ADDRESS | after));
                }
                is_like
            };
            return entries[indices].iter().take_while(like).count();
        }
        for index in indices.clone() {
            let word = tables.read(table, index).bits();
            if word & !bits::ADDRESS != before {
                return index - first;
            }
            tables.write(table, index, Entry::from_bits((word ^ flipped) & bits::ADDRESS | after));
        }
        indices.end - first
    }
}
