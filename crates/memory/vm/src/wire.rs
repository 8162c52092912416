//! Pages that keep their frames, pages that get them beforehand, and pages whose contents are given up.

use rhumb_machine::{PageSize, VirtAddr, VirtRange};
use rhumb_pagetable::TableMemory;
use rhumb_pagetable::flush::Unflushed;

use crate::error::{FaultError, Resource, VmError};
use crate::fill::run_length;
use crate::gone::Gone;
use crate::map::{Map, Place};
use crate::space::Space;
use crate::unmap::KEY;
use crate::word::{Marks, State, Word};

const PAGE: u64 = PageSize::Size4K.bytes();

impl<S: Space> Map<S> {
    /// Wires a range: each page has a frame of its own from here on, and no use that its rights allow faults. A fork and a
    /// copy leave the frames of wired pages to this map, and have copies. Pages that are wired stay so.
    ///
    /// # Errors
    /// [`VmError`]: a page is not allocated, there is no frame, or a limit is reached. No page is wired that was not; some
    /// may have a frame now.
    pub fn wire(&self, range: VirtRange) -> Result<(), VmError> {
        self.check(range)?;
        let _lanes = self.lanes.hold(range, || self.space.relax());
        self.check_allocated(range)?;
        self.cut_ends(range)?;
        let wanted = self.count_pages(range, |marks| !marks.is_wired());
        self.account.take(Resource::Wired, wanted).map_err(VmError::Limit)?;
        self.populate_held(range)
            .and_then(|()| self.change_held(range, Marks::wired))
            .inspect_err(|_| self.account.give(Resource::Wired, wanted))
    }

    /// Ends what [`Map::wire`] does. Pages that are not wired stay so.
    ///
    /// # Errors
    /// [`VmError`]: a page is not allocated. Nothing has changed then.
    pub fn unwire(&self, range: VirtRange) -> Result<(), VmError> {
        self.check(range)?;
        let _lanes = self.lanes.hold(range, || self.space.relax());
        self.check_allocated(range)?;
        let wired = self.count_pages(range, Marks::is_wired);
        self.change_held(range, Marks::unwired)?;
        self.account.give(Resource::Wired, wired);
        Ok(())
    }

    /// Gives each page of a range a frame of its own before it is used, so that its first use does not fault.
    ///
    /// # Errors
    /// As for [`Map::wire`].
    pub fn populate(&self, range: VirtRange) -> Result<(), VmError> {
        self.check(range)?;
        let _lanes = self.lanes.hold(range, || self.space.relax());
        self.check_allocated(range)?;
        self.populate_held(range)
    }

    /// Gives up the contents of a range: its pages read as zeroes, and have no frames. Pages that other maps may write,
    /// too, and pages of devices keep theirs.
    ///
    /// # Errors
    /// [`VmError`]: a page is not allocated, or is wired, or there is no table for an end of the range. Nothing has changed
    /// then.
    pub fn purge(&self, range: VirtRange) -> Result<(), VmError> {
        self.check(range)?;
        let _lanes = self.lanes.hold(range, || self.space.relax());
        self.check_allocated(range)?;
        if self.count_pages(range, Marks::is_wired) > 0 {
            return Err(VmError::Wired(range));
        }
        let mut going = Unflushed::new(Gone::default(), KEY);
        let mut at = range.start();
        while at < range.end() {
            let next =
                self.locked(at, |_, tables, place| purge_words(tables, (place, at), range.end(), &mut going));
            if going.waiting().is_full() {
                self.finish(&mut going);
            } else if next == at {
                // Another CPU copies the page.
                self.space.relax();
            }
            at = next;
        }
        self.finish(&mut going);
        Ok(())
    }

    /// Returns how many pages of a range, whose lanes the caller holds, have such marks.
    fn count_pages(&self, range: VirtRange, is_such: impl Fn(Marks) -> bool) -> u64 {
        let tables = self.tables();
        let mut count = 0;
        let mut at = range.start();
        while at < range.end() {
            let place = self.place(&tables, at);
            if place.level > 1 {
                let next = VirtAddr::new(range.end().get().min(place.at.get() + place.bytes()));
                if place.word(&tables).state(place.size()).marks().is_some_and(&is_such) {
                    count += next.since(at) / PAGE;
                }
                at = next;
                continue;
            }
            let words = run_length(&place, range.end());
            for index in place.index..place.index + words {
                let marks = Word(tables.read(place.table, index)).state(PageSize::Size4K).marks();
                count += u64::from(marks.is_some_and(&is_such));
            }
            at = at.plus(words as u64 * PAGE);
        }
        count
    }

    fn populate_held(&self, range: VirtRange) -> Result<(), VmError> {
        let mut at = range.start();
        while at < range.end() {
            self.own(at).map_err(VmError::from)?;
            at = at.plus(PAGE);
        }
        Ok(())
    }

    /// Gives the page of `at`, whose lane the caller holds, a frame of its own, whatever its rights are.
    fn own(&self, at: VirtAddr) -> Result<(), FaultError> {
        loop {
            let (place, word) = self.locked(at, |_, tables, place| (place, place.word(tables)));
            match word.state(place.size()) {
                State::Empty => return Err(FaultError::NotAllocated(at)),
                State::Busy(_) => self.space.relax(),
                State::Fresh(_) if place.level > 1 => self.divide_for_fault(place, word)?,
                State::Fresh(_) => drop(self.zero(place, word)?),
                // The lane keeps the word, and the word the sheet.
                State::Named(slot, _) => {
                    let pfn = self.page_of(slot).map_err(FaultError::NoFrame)?;
                    self.enter_page(place, word, || pfn)?;
                }
                State::Mapped(_, marks) if marks.is_shared() => self.unshare(place, word)?,
                State::Mapped(..) => return Ok(()),
            }
        }
    }
}

/// Makes the words of one table from `at` up to `end` fresh, but for those of objects. Returns where it has come to.
fn purge_words<T: TableMemory>(
    tables: &mut T,
    (place, at): (Place, VirtAddr),
    end: VirtAddr,
    going: &mut Unflushed<Gone>,
) -> VirtAddr {
    if place.level > 1 {
        // It is fresh: no word above level 1 has a frame.
        return VirtAddr::new(end.get().min(place.at.get() + place.bytes()));
    }
    let mut at = at;
    for index in place.index..place.index + run_length(&place, end) {
        let word = Word(tables.read(place.table, index));
        match word.state(PageSize::Size4K) {
            State::Busy(_) => break,
            State::Mapped(_, marks) if !marks.is_object() && !marks.is_device() => {
                if going.waiting_mut(KEY).pages.try_push(word).is_err() {
                    break;
                }
                tables.write(place.table, index, Word::fresh(marks.private()).0);
                if let Some(page) = VirtRange::of_length(at, PAGE) {
                    going.batch_mut(KEY).add_leaf(page, PageSize::Size4K);
                }
            }
            State::Empty | State::Fresh(_) | State::Named(..) | State::Mapped(..) => {}
        }
        at = at.plus(PAGE);
    }
    at
}
