//! Fork: a new map with the pages of this one, which are copied when either map writes.
//!
//! Tables are copied, and each frame is shared. Other CPUs may use and fault on the map meanwhile: a page is copied as it
//! is when its table is reached, and a write that comes later, through a translation that its CPU has cached, goes to a
//! frame that both maps have. It counts as a write before the fork, because the fork is over only when all CPUs have
//! flushed; and a page that is written twice meanwhile keeps both writes ([`crate::cow`]).

use core::ops::Range;

use rhumb_machine::{Machine, PageSize, Pfn, VirtAddr, VirtRange};
use rhumb_pagetable::flush::Unflushed;
use rhumb_pagetable::levels::span_bytes;
use rhumb_pagetable::{Access, Entry, TableMemory};

use crate::account::Limits;
use crate::error::{Resource, VmError};
use crate::gone::Gone;
use crate::hint::Hint;
use crate::map::{Map, Place};
use crate::share::{self, TooManySharers};
use crate::sheet;
use crate::space::Space;
use crate::unmap::KEY;
use crate::word::{Inherit, State, Word};

const PAGE: u64 = PageSize::Size4K.bytes();

/// How far a table has been copied, and what the new map has by that.
#[derive(Default)]
struct Copied {
    next: usize,
    addresses: u64,
    resident: u64,
    /// The first and the last page that can no longer be written.
    lost: Option<(VirtAddr, VirtAddr)>,
    /// The next page is an object's, or wired, and is copied.
    is_object: bool,
    is_refused: bool,
}

impl<S: Space> Map<S> {
    /// Makes a map of `space` that has this map's pages, but for those that are not inherited. `space` has the same
    /// addresses, and no entries among them.
    ///
    /// # Errors
    /// [`VmError`]: there is no frame for a table, a limit of the new map is reached, the addresses differ, or `space` has
    /// the frames of another allocator. This map has not changed then; its pages may be slower to write once.
    ///
    /// Cost: a look at each word of each table; a frame for each table; for each page that has a frame, its descriptor,
    /// and two words; one flush, if a page could be written.
    pub fn fork(&self, space: S, limits: Limits) -> Result<Self, VmError> {
        // Frames that both maps have are counted, and freed, by one allocator.
        if !core::ptr::eq(space.frames(), self.space.frames()) {
            return Err(VmError::OtherFrames);
        }
        let child = Self::new(space, limits)?;
        if child.range != self.range {
            return Err(VmError::Outside(child.range));
        }
        let _lanes = self.lanes.hold(self.range, || self.space.relax());
        let mut going = Unflushed::new(Gone::default(), KEY);
        let result = self.fork_into(&child, &mut going);
        self.finish(&mut going);
        result.map(|()| child)
    }

    fn fork_into(&self, child: &Self, going: &mut Unflushed<Gone>) -> Result<(), VmError> {
        let root = self.space.root();
        self.fork_below(child, (root.table, root.levels.top(), Hint::ALL), 0, going)
    }

    /// Copies all words of a table and of those below it. `base` is the linear position of the table's first entry.
    fn fork_below(
        &self,
        child: &Self,
        (table, level, hint): (Pfn, u8, Hint),
        base: u64,
        going: &mut Unflushed<Gone>,
    ) -> Result<(), VmError> {
        let tables = self.tables();
        let levels = self.space.root().levels;
        for index in hint.ranges().flatten() {
            let entry = tables.read(table, index);
            if entry == Entry::EMPTY {
                continue;
            }
            let linear = base + index as u64 * span_bytes(level);
            let at = levels.virt_of(linear);
            // Above level 3 a table may have entries that are not the map's.
            let last = levels.virt_of(linear + (span_bytes(level) - 1));
            if last < self.range.start() || at >= self.range.end() {
                continue;
            }
            match entry.child(level) {
                Some(_) if level == 2 => self.fork_table(child, (at, self.hint_of(entry, level)), going)?,
                Some(below) => {
                    self.fork_below(child, (below, level - 1, self.hint_of(entry, level)), linear, going)?;
                }
                None => child.copy_fresh(at, level, Word(entry))?,
            }
        }
        Ok(())
    }

    /// Gives this map, which is new, the fresh word of another one.
    fn copy_fresh(&self, at: VirtAddr, level: u8, word: Word) -> Result<(), VmError> {
        let place = Place { level, ..self.descend(&self.tables(), at) };
        let State::Fresh(marks) = word.state(place.size()) else { return Ok(()) };
        if marks.inherit() == Inherit::Copy {
            self.account.take(Resource::Addresses, place.pages()).map_err(VmError::Limit)?;
            let place = self.make_tables(at, level)?;
            let mut tables = self.tables();
            self.note_used(&mut tables, &place, 1);
            tables.write(place.table, place.index, word.0);
        }
        Ok(())
    }

    /// Copies the table of level 1 at `at`.
    fn fork_table(
        &self,
        child: &Self,
        (at, hint): (VirtAddr, Hint),
        going: &mut Unflushed<Gone>,
    ) -> Result<(), VmError> {
        let place = child.make_tables(at, 1)?;
        for part in hint.ranges() {
            child.note_used(&mut child.tables(), &Place { index: part.start, ..place }, part.len());
            self.fork_part(child, (at, part), place, going)?;
        }
        Ok(())
    }

    /// Copies the entries of `part` of the table of level 1 at `at`.
    fn fork_part(
        &self,
        child: &Self,
        (at, part): (VirtAddr, Range<usize>),
        place: Place,
        going: &mut Unflushed<Gone>,
    ) -> Result<(), VmError> {
        let mut copied = Copied { next: part.start, ..Copied::default() };
        while copied.next < part.end {
            let from = copied.next;
            copied =
                self.locked(at, |_, tables, now| self.fork_words(child, tables, now, place, from..part.end));
            if let Some((first, last)) = copied.lost
                && let Some(range) = VirtRange::new(first, last.plus(PAGE))
            {
                going.batch_mut(KEY).add_leaf(range, PageSize::Size4K);
            }
            // The end of the child gives back what its words have, so that these are charged in any case.
            let resident = child.account.take_anyway(Resource::Resident, copied.resident);
            child.account.take(Resource::Addresses, copied.addresses).map_err(VmError::Limit)?;
            resident.map_err(VmError::Limit)?;
            if copied.is_refused {
                return Err(VmError::TooManySharers);
            }
            if copied.is_object {
                self.fork_object(child, place, copied.next)?;
                copied.next += 1;
            } else if copied.next == from {
                self.space.relax();
            }
        }
        Ok(())
    }

    /// Copies the words of `part` of this map's table at `now` into the table at `to`, which no CPU has yet.
    fn fork_words(
        &self,
        child: &Self,
        tables: &mut S::Tables,
        now: Place,
        to: Place,
        part: Range<usize>,
    ) -> Copied {
        let mut copied = Copied { next: part.start, ..Copied::default() };
        while copied.next < part.end {
            let word = Word(tables.read(now.table, copied.next));
            let given = match word.state(PageSize::Size4K) {
                State::Busy(_) => break,
                State::Fresh(marks) if marks.inherit() == Inherit::Copy => Some(word),
                State::Named(_, marks) if marks.inherit() == Inherit::Copy => {
                    copied.is_object = true;
                    break;
                }
                State::Mapped(pfn, marks) if marks.is_device() && marks.inherit() != Inherit::Nothing => {
                    Some(child.word_of(pfn, marks.unwired()))
                }
                State::Mapped(_, marks)
                    if (marks.is_object() || marks.is_wired()) && marks.inherit() == Inherit::Copy =>
                {
                    copied.is_object = true;
                    break;
                }
                State::Named(slot, marks) if marks.inherit() == Inherit::Share => {
                    if let Err(TooManySharers) = sheet::add(self.space.frames(), slot.sheet, 1) {
                        copied.is_refused = true;
                        break;
                    }
                    Some(word)
                }
                State::Mapped(pfn, marks) if marks.is_object() && marks.inherit() == Inherit::Share => {
                    let slot = sheet::slot_of(self.space.frames(), pfn);
                    if let Err(TooManySharers) = sheet::add(self.space.frames(), slot.sheet, 1) {
                        copied.is_refused = true;
                        break;
                    }
                    Some(Word::named(slot, marks.unwired()))
                }
                State::Mapped(pfn, marks) if marks.inherit() == Inherit::Copy => {
                    if let Err(TooManySharers) = share::add(self.space.frames(), pfn, marks) {
                        copied.is_refused = true;
                        break;
                    }
                    if !marks.is_shared() {
                        let shared = self.word_of(pfn, marks.shared());
                        tables.write(now.table, copied.next, shared.0);
                        if word.0.permissions().writable {
                            let at = now.at.align_down(PageSize::Size2M).plus(copied.next as u64 * PAGE);
                            copied.lost = Some((copied.lost.map_or(at, |(first, _)| first), at));
                        }
                    }
                    copied.resident += 1;
                    Some(child.word_of(pfn, marks.shared()))
                }
                State::Empty | State::Fresh(_) | State::Named(..) | State::Mapped(..) => None,
            };
            if let Some(word) = given {
                tables.write(to.table, copied.next, word.0);
                copied.addresses += 1;
            }
            copied.next += 1;
        }
        copied
    }

    /// Gives the new map a copy of the object's or the wired page that the entry `index` of a table has.
    fn fork_object(&self, child: &Self, to: Place, index: usize) -> Result<(), VmError> {
        let at = to.at.plus(index as u64 * PAGE);
        let Some(marks) = self.marks_at(at) else { return Ok(()) };
        child.account.take(Resource::Addresses, 1).map_err(VmError::Limit)?;
        let guard = self.space.machine().pin();
        let word = match self.duplicate(guard.pinned(), at)? {
            Some(frame) => {
                let resident = child.account.take_anyway(Resource::Resident, 1);
                let word = child.word_of(frame.into_pfn(), marks.private());
                child.tables().write(to.table, index, word.0);
                return resident.map_err(VmError::Limit);
            }
            None => Word::fresh(marks.private()),
        };
        child.tables().write(to.table, index, word.0);
        Ok(())
    }

    /// Makes the tables on the way to the entry of `at` at `level`, and returns its place. For a map that nothing else
    /// uses yet.
    fn make_tables(&self, at: VirtAddr, level: u8) -> Result<Place, VmError> {
        let privilege = self.space.attributes(Access::ReadOnly).privilege;
        let guard = self.space.machine().pin();
        let mut tables = self.tables();
        loop {
            let place = if level == 1 { self.place(&tables, at) } else { self.descend(&tables, at) };
            if place.level <= level {
                return Ok(place);
            }
            let table = self.take_table(guard.pinned())?;
            self.note_used(&mut tables, &place, 1);
            tables.write(place.table, place.index, Entry::table(table.into_pfn(), privilege));
        }
    }
}
