//! Changing what pages allow, and what a fork does with them.

use rhumb_machine::{PageSize, VirtAddr, VirtRange};
use rhumb_pagetable::flush::Unflushed;
use rhumb_pagetable::{Entry, TableMemory};

use crate::allocate::run_length;
use crate::error::VmError;
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
    /// Cost: two looks at each word, and one flush where a page that has a frame has lost a right.
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
    fn change_held(&self, range: VirtRange, new: impl Fn(Marks) -> Marks) -> Result<(), VmError> {
        self.cut(range.start())?;
        self.cut(range.end())?;
        let mut going = Unflushed::new(Gone::default(), KEY);
        let mut at = range.start();
        while at < range.end() {
            let next = self
                .locked(at, |_, tables, place| self.change_run(tables, place, range.end(), &new, &mut going));
            if next == at {
                self.space.relax();
            }
            at = next;
        }
        if !planted::is(Fault::NoFlushOfRights) {
            self.finish(&mut going);
        }
        Ok(())
    }

    /// Changes the words of one table from `place` up to `end`, and returns where it has come to.
    fn change_run(
        &self,
        tables: &mut S::Tables,
        place: Place,
        end: VirtAddr,
        new: &impl Fn(Marks) -> Marks,
        going: &mut Unflushed<Gone>,
    ) -> VirtAddr {
        let count = if place.level == 1 { run_length(&place, end) } else { 1 };
        let size = place.size();
        let mut lost: Option<(VirtAddr, VirtAddr)> = None;
        let mut at = place.at;
        for index in place.index..place.index + count {
            let word = Word(tables.read(place.table, index));
            let changed = match word.state(size) {
                State::Busy(_) => break,
                State::Empty => word,
                State::Fresh(marks) => Word::fresh(new(marks)),
                State::Named(slot, marks) => Word::named(slot, new(marks)),
                State::Mapped(pfn, marks) => {
                    let marks_then = new(marks);
                    if !marks.protection().is_within(marks_then.protection()) {
                        lost = Some((lost.map_or(at, |(first, _)| first), at));
                    }
                    Word::mapped(pfn, size, marks_then, |access| self.space.attributes(access))
                }
            };
            if changed != word {
                tables.write(place.table, index, changed.0);
            }
            at = at.plus(place.bytes());
        }
        if let Some((first, last)) = lost
            && let Some(range) = VirtRange::new(first, last.plus(place.bytes()))
        {
            going.batch_mut(KEY).add_leaf(range, size);
        }
        at
    }

    /// Checks that all pages of a range are allocated. The caller holds the lanes.
    pub(crate) fn check_allocated(&self, range: VirtRange) -> Result<(), VmError> {
        let tables = self.space.tables();
        let mut at = range.start();
        while at < range.end() {
            let place = self.place(&tables, at);
            let count = if place.level == 1 { run_length(&place, range.end()) } else { 1 };
            for index in place.index..place.index + count {
                if tables.read(place.table, index) == Entry::EMPTY {
                    let page = (index - place.index) as u64 * PAGE;
                    return Err(VmError::NotAllocated(if place.level == 1 { at.plus(page) } else { at }));
                }
            }
            at = place.at.plus(count as u64 * place.bytes());
        }
        Ok(())
    }
}
