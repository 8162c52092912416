//! Fork: a new map with the pages of this one, which are copied when either map writes.
//!
//! Tables are copied, and each frame is shared. Other CPUs may use and fault on the map meanwhile: a page is copied as it
//! is when its table is reached, and a write that comes later, through a translation that its CPU has cached, goes to a
//! frame that both maps have. It counts as a write before the fork, because the fork is over only when all CPUs have
//! flushed; and a page that is written twice meanwhile keeps both writes ([`crate::cow`]).

use rhumb_machine::{Machine, PageSize, VirtAddr, VirtRange};
use rhumb_pagetable::flush::Unflushed;
use rhumb_pagetable::{Access, ENTRIES, Entry, TableMemory};

use crate::account::Limits;
use crate::error::{Resource, VmError};
use crate::gone::Gone;
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
    /// The next page is an object's, and is copied.
    is_object: bool,
    is_refused: bool,
}

impl<S: Space> Map<S> {
    /// Makes a map of `space` that has this map's pages, but for those that are not inherited. `space` has the same
    /// addresses, and no entries among them.
    ///
    /// # Errors
    /// [`VmError`]: there is no frame for a table, a limit of the new map is reached, or the addresses differ. This map
    /// has not changed then; its pages may be slower to write once.
    ///
    /// Cost: a look at each word of each table; a frame for each table; for each page that has a frame, its descriptor,
    /// and two words; one flush, if a page could be written.
    pub fn fork(&self, space: S, limits: Limits) -> Result<Self, VmError> {
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
        let tables = self.space.tables();
        let mut at = self.range.start();
        while at < self.range.end() {
            let way = self.descend(&tables, at);
            let word = way.word(&tables);
            if word.0.child(way.level).is_some() {
                self.fork_table(child, way, going)?;
            } else if let State::Fresh(marks) = word.state(way.size())
                && marks.inherit() == Inherit::Copy
            {
                child.account.take(Resource::Addresses, way.pages()).map_err(VmError::Limit)?;
                let place = child.make_tables(at, way.level)?;
                child.space.tables().write(place.table, place.index, word.0);
            }
            match way.at.checked_add(way.bytes()) {
                Some(next) => at = next,
                None => break,
            }
        }
        Ok(())
    }

    /// Copies the table of level 1 to which the entry at `way` refers.
    fn fork_table(&self, child: &Self, way: Place, going: &mut Unflushed<Gone>) -> Result<(), VmError> {
        let place = child.make_tables(way.at, 1)?;
        let mut copied = Copied::default();
        while copied.next < ENTRIES {
            let from = copied.next;
            copied = self.locked(way.at, |_, tables, now| self.fork_words(child, tables, now, place, from));
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

    /// Copies the words of this map's table at `now` from the entry `from` on into the table at `to`, which no CPU has yet.
    fn fork_words(&self, child: &Self, tables: &mut S::Tables, now: Place, to: Place, from: usize) -> Copied {
        let mut copied = Copied { next: from, ..Copied::default() };
        while copied.next < ENTRIES {
            let word = Word(tables.read(now.table, copied.next));
            let given = match word.state(PageSize::Size4K) {
                State::Busy(_) => break,
                State::Fresh(marks) if marks.inherit() == Inherit::Copy => Some(word),
                State::Named(_, marks) if marks.inherit() == Inherit::Copy => {
                    copied.is_object = true;
                    break;
                }
                State::Mapped(_, marks) if marks.is_object() && marks.inherit() == Inherit::Copy => {
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
                State::Mapped(pfn, marks) if marks.inherit() == Inherit::Share => {
                    let slot = sheet::slot_of(self.space.frames(), pfn);
                    if let Err(TooManySharers) = sheet::add(self.space.frames(), slot.sheet, 1) {
                        copied.is_refused = true;
                        break;
                    }
                    Some(Word::named(slot, marks))
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

    /// Gives the new map a copy of the object's page that the entry `index` of a table has.
    fn fork_object(&self, child: &Self, to: Place, index: usize) -> Result<(), VmError> {
        let at = to.at.plus(index as u64 * PAGE);
        let Some(marks) = self.marks_at(at) else { return Ok(()) };
        child.account.take(Resource::Addresses, 1).map_err(VmError::Limit)?;
        let guard = self.space.machine().pin();
        let word = match self.duplicate(guard.pinned(), at)? {
            Some(frame) => {
                let resident = child.account.take_anyway(Resource::Resident, 1);
                let word = child.word_of(frame.into_pfn(), marks.private());
                child.space.tables().write(to.table, index, word.0);
                return resident.map_err(VmError::Limit);
            }
            None => Word::fresh(marks.private()),
        };
        child.space.tables().write(to.table, index, word.0);
        Ok(())
    }

    /// Makes the tables on the way to the entry of `at` at `level`, and returns its place. For a map that nothing else
    /// uses yet.
    fn make_tables(&self, at: VirtAddr, level: u8) -> Result<Place, VmError> {
        let privilege = self.space.attributes(Access::ReadOnly).privilege;
        let guard = self.space.machine().pin();
        let mut tables = self.space.tables();
        loop {
            let place = if level == 1 { self.place(&tables, at) } else { self.descend(&tables, at) };
            if place.level <= level {
                return Ok(place);
            }
            let table = self.take_table(guard.pinned())?;
            tables.write(place.table, place.index, Entry::table(table.into_pfn(), privilege));
        }
    }
}
