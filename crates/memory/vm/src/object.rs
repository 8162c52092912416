//! Pages that several maps read and write: made of private pages, taken as a value, put into other maps.
//!
//! ```text
//!   share ──> the range's pages become those of sheets ──> MapCopy of names ──put──> the same pages in another map
//! ```
//!
//! A range that is shared stays where it is. So a memory object is a copy that is kept and duplicated; `remap` is `share`
//! and `put`; and shared memory of a parent and its children is [`Inherit::Share`](crate::Inherit::Share).

use rhumb_frames::{AllocError, Frame};
use rhumb_machine::{Machine, PageSize, Pfn, Pinned, VirtAddr, VirtRange};
use rhumb_pagetable::{ENTRIES, TableMemory};

use crate::copy::MapCopy;
use crate::error::VmError;
use crate::fill::run_length;
use crate::items::Item;
use crate::map::{Map, Place};
use crate::planted::{self, Fault};
use crate::share;
use crate::sheet;
use crate::space::Space;
use crate::word::{Marks, Slot, State, Word};

const PAGE: u64 = PageSize::Size4K.bytes();

/// Why a step of making objects has ended.
enum Stop {
    /// There is no more in this table.
    Done,
    /// A CPU copies the next page.
    Busy,
    /// The words cover many pages.
    Divide(Place, Word),
    /// The next page is a device's.
    Device,
    /// Another map has the frame of the next page until one writes.
    Shared(Place, Word),
}

impl<S: Space> Map<S> {
    /// Takes the pages of a range as a value without taking them out of the map: wherever the value is put, it is the same
    /// pages, and each map sees what another one writes.
    ///
    /// # Errors
    /// [`VmError`]: a page is not allocated, or there is no frame for the tables, sheets and lists, one of each for 2 MiB.
    /// Nothing has changed that a program could see.
    pub fn share(&self, range: VirtRange) -> Result<MapCopy<S::Machine>, VmError> {
        self.check(range)?;
        let _lanes = self.lanes.hold(range, || self.space.relax());
        self.check_allocated(range)?;
        self.make_objects(range)?;
        let mut copy = MapCopy::new(self.space.frames());
        let guard = self.space.machine().pin();
        let mut at = range.start();
        while at < range.end() {
            self.make_room(guard.pinned(), &mut copy)?;
            at = self
                .locked(at, |_, tables, place| self.name_words(tables, place, range.end(), &mut copy))
                .ok_or(VmError::TooManySharers)?;
        }
        Ok(copy)
    }

    /// Names all pages of a table from `place` up to `end`, which are objects'. `None` where they have too many names.
    fn name_words(
        &self,
        tables: &S::Tables,
        place: Place,
        end: VirtAddr,
        copy: &mut MapCopy<S::Machine>,
    ) -> Option<VirtAddr> {
        let count = run_length(&place, end);
        for index in place.index..place.index + count {
            let slot = match Word(tables.read(place.table, index)).state(PageSize::Size4K) {
                State::Named(slot, _) => slot,
                State::Mapped(pfn, _) => sheet::slot_of(self.space.frames(), pfn),
                State::Empty | State::Fresh(_) | State::Busy(_) => {
                    return rhumb_machine::impossible!("all pages were made objects" => None);
                }
            };
            sheet::add(self.space.frames(), slot.sheet, 1).ok()?;
            copy.add(Item::Named { slot });
        }
        Some(place.at.plus(count as u64 * PAGE))
    }

    /// Makes all pages of a range pages of sheets. The caller holds the lanes.
    ///
    /// # Errors
    /// There is no frame. Some pages may be pages of sheets that no other map knows, which no program can see.
    pub(crate) fn make_objects(&self, range: VirtRange) -> Result<(), VmError> {
        let guard = self.space.machine().pin();
        let pinned = guard.pinned();
        let mut at = range.start();
        while at < range.end() {
            let frame = self.take_zeroed_page(pinned).map_err(VmError::NoFrame)?;
            let frames = self.space.frames();
            let sheet = sheet::make(frames, frame);
            let result = self.fill_sheet(sheet, (at, range.end()));
            self.drop_sheet(pinned, sheet);
            at = result?;
        }
        Ok(())
    }

    /// Makes the pages of one table from `at` up to `end` pages of a sheet. Returns where it has come to.
    fn fill_sheet(&self, sheet: Pfn, (mut at, end): (VirtAddr, VirtAddr)) -> Result<VirtAddr, VmError> {
        let large = PageSize::Size2M;
        let end = VirtAddr::new(end.get().min(at.align_down(large).get() + large.bytes()));
        while at < end {
            let (next, stop) =
                self.locked(at, |_, tables, place| self.make_object_words(tables, place, (at, end), sheet));
            at = next;
            match stop {
                Stop::Done => {}
                Stop::Busy => self.space.relax(),
                Stop::Device => return Err(VmError::Device(at)),
                Stop::Divide(place, word) => self.divide(place, word)?,
                Stop::Shared(place, word) => self.unshare(place, word)?,
            }
        }
        Ok(at)
    }

    fn make_object_words(
        &self,
        tables: &mut S::Tables,
        place: Place,
        (mut at, end): (VirtAddr, VirtAddr),
        sheet: Pfn,
    ) -> (VirtAddr, Stop) {
        let frames = self.space.frames();
        if place.level > 1 {
            return (at, Stop::Divide(place, place.word(tables)));
        }
        for index in place.index..place.index + run_length(&place, end) {
            let word = Word(tables.read(place.table, index));
            let slot = Slot { sheet, index };
            let named = match word.state(PageSize::Size4K) {
                State::Busy(_) => return (at, Stop::Busy),
                State::Mapped(_, marks) if marks.is_device() => return (at, Stop::Device),
                State::Mapped(_, marks) if marks.is_shared() => {
                    let place = Place { index, at, ..place };
                    return (at, Stop::Shared(place, word));
                }
                State::Fresh(marks) => Some(Word::named(slot, marks)),
                State::Mapped(pfn, marks) if !marks.is_object() => {
                    sheet::adopt(frames, slot, pfn);
                    Some(self.word_of(pfn, marks.object()))
                }
                State::Empty | State::Named(..) | State::Mapped(..) => None,
            };
            if let Some(named) = named {
                // A sheet has 512 words, and so no more holders here than can be counted.
                if sheet::add(frames, sheet, 1).is_ok() {
                    tables.write(place.table, index, named.0);
                }
            }
            at = at.plus(PAGE);
        }
        (at, Stop::Done)
    }

    /// Returns the frame of a page of a sheet that a word of this map names, and makes it where there is none.
    pub(crate) fn page_of(&self, slot: Slot) -> Result<Pfn, AllocError> {
        let frames = self.space.frames();
        if let Some(pfn) = sheet::page(frames, slot) {
            return Ok(pfn);
        }
        let guard = self.space.machine().pin();
        let frame = match self.take_zeroed_page(guard.pinned()) {
            Ok(frame) => frame,
            Err(error) if planted::is(Fault::NoLookAfterFailure) => return Err(error),
            // Another CPU may have made it meanwhile.
            Err(error) => return sheet::page(frames, slot).ok_or(error),
        };
        Ok(sheet::put(frames, slot, frame).unwrap_or_else(|(pfn, frame)| {
            frames.free(guard.pinned(), frame);
            pfn
        }))
    }

    /// Returns the marks of the page of `at`. The caller holds its lane.
    pub(crate) fn marks_at(&self, at: VirtAddr) -> Option<Marks> {
        let tables = self.tables();
        let place = self.place(&tables, at);
        place.word(&tables).state(place.size()).marks()
    }

    /// Returns a copy of the object's or the wired page of `at`, or nothing where the page was not used yet. The caller holds its
    /// lane, so that the word goes on to hold the sheet.
    pub(crate) fn duplicate(&self, pinned: Pinned<'_>, at: VirtAddr) -> Result<Option<Frame>, VmError> {
        let frames = self.space.frames();
        let tables = self.tables();
        let place = self.place(&tables, at);
        let from = match place.word(&tables).state(place.size()) {
            State::Named(slot, _) => sheet::page(frames, slot),
            State::Mapped(pfn, _) => Some(pfn),
            State::Empty | State::Fresh(_) | State::Busy(_) => None,
        };
        let Some(from) = from else { return Ok(None) };
        let mut frame = self.space.alloc(pinned, Self::page_request()).map_err(VmError::NoFrame)?;
        self.copy_used_page(from, &mut frame);
        Ok(Some(frame))
    }

    /// Gives a frame that one item has a count.
    pub(crate) fn count_alone(&self, frame: Frame) -> Pfn {
        share::count_alone(self.space.frames(), frame)
    }

    /// Adds frames to a list until the items of a table have room.
    pub(crate) fn make_room(
        &self,
        pinned: Pinned<'_>,
        copy: &mut MapCopy<S::Machine>,
    ) -> Result<(), VmError> {
        while copy.items.room() <= ENTRIES {
            copy.items.add_node(self.space.alloc(pinned, Self::page_request()).map_err(VmError::NoFrame)?);
        }
        Ok(())
    }
}
