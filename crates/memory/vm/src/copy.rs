//! [`MapCopy`]: the contents of a range, as a value. A message carries one from map to map.
//!
//! ```text
//!   copy ──> the range stays, and each frame is shared           put ──> a range of another map, or of the same one
//!   take ──> the range is gone from the map                      drop ──> released
//! ```
//!
//! A copy is a list of items: a page that has a frame, or a run of fresh pages. It lies in frames of its own, 511 items
//! in each, so that 2 MiB of pages take 4 KiB.

use core::fmt;

use rhumb_frames::{Frames, Request};
use rhumb_machine::{Machine, PageSize, Pinned, VirtAddr, VirtRange, impossible};
use rhumb_pagetable::TableMemory;
use rhumb_pagetable::flush::Unflushed;

use crate::allocate::Allocation;
use crate::error::VmError;
use crate::fill::{Words, run_length};
use crate::gone::Gone;
use crate::items::{Item, Items};
use crate::map::{Map, Place};
use crate::share::{self, TooManySharers};
use crate::sheet;
use crate::space::Space;
use crate::unmap::KEY;
use crate::word::{Marks, State, Word};

const PAGE: u64 = PageSize::Size4K.bytes();

/// The contents of a range of pages.
#[must_use = "dropping it releases what it has"]
pub struct MapCopy<M: Machine + 'static> {
    pub(crate) items: Items<M>,
    pages: u64,
    resident: u64,
    /// Pages of sheets.
    named: u64,
}

impl<M: Machine> MapCopy<M> {
    pub(crate) const fn new(frames: &'static Frames<M>) -> Self {
        Self { items: Items::new(frames), pages: 0, resident: 0, named: 0 }
    }

    /// Returns a second value of the same pages, of which each one has a name: made by [`Map::share`].
    ///
    /// # Errors
    /// [`VmError`]: a page has as many names as can be counted, there is no frame for the list, or the copy has pages that
    /// are one holder's.
    pub fn duplicate(&self) -> Result<Self, VmError> {
        let guard = self.items.frames().machine().pin();
        let mut copy = Self::new(self.items.frames());
        let mut result = Ok(());
        self.items.for_each(|item| {
            if result.is_ok() {
                result = copy.name_again(guard.pinned(), item);
            }
        });
        result.map(|()| copy)
    }

    fn name_again(&mut self, pinned: Pinned<'_>, item: Item) -> Result<(), VmError> {
        let Item::Named { slot } = item else { return Err(VmError::NotShared) };
        let frames = self.items.frames();
        if self.items.room() == 0 {
            self.items.add_node(frames.alloc(pinned, Request::FRAME).map_err(VmError::NoFrame)?);
        }
        sheet::add(frames, slot.sheet, 1).map_err(|TooManySharers| VmError::TooManySharers)?;
        self.add(item);
        Ok(())
    }

    /// Returns how many pages it has.
    pub const fn pages(&self) -> u64 {
        self.pages
    }

    /// Returns how many of its pages have a frame.
    pub const fn resident_pages(&self) -> u64 {
        self.resident
    }

    /// Calls `act` for each run of fresh pages and for each run of others, if the copy's first page is at `start`.
    fn for_each_part(&self, start: VirtAddr, act: &mut dyn FnMut(VirtRange, Words)) {
        let (mut start, mut pages, mut words) = (start, 0, Words::Fresh);
        self.items.for_each(|item| {
            let (more, kind) = match item {
                Item::Fresh { pages } => (pages, Words::Fresh),
                Item::Named { .. } | Item::Page { .. } => (1, Words::OfPages),
            };
            // Fresh pages get words item by item, as large ones as the item allows.
            if kind != words || kind == Words::Fresh {
                if let Some(part) = VirtRange::of_length(start, pages * PAGE)
                    && pages > 0
                {
                    act(part, words);
                }
                start = start.plus(pages * PAGE);
                (pages, words) = (0, kind);
            }
            pages += more;
        });
        if let Some(part) = VirtRange::of_length(start, pages * PAGE)
            && pages > 0
        {
            act(part, words);
        }
    }

    pub(crate) fn add(&mut self, item: Item) {
        match item {
            Item::Fresh { pages } => self.pages += pages,
            Item::Named { .. } => {
                self.pages += 1;
                self.named += 1;
            }
            Item::Page { .. } => {
                self.pages += 1;
                self.resident += 1;
            }
        }
        if self.items.push(item).is_err() {
            impossible!("there is room for the items of a table");
        }
    }
}

impl<M: Machine> fmt::Debug for MapCopy<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MapCopy({} pages, {} resident)", self.pages, self.resident)
    }
}

/// A copy that a map has not taken, and why.
#[derive(Debug)]
pub struct Refused<M: Machine + 'static> {
    /// The copy, as it was.
    pub copy: MapCopy<M>,
    /// Why.
    pub error: VmError,
}

/// Why a step of a copy has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// There is no more in this table, or a CPU copies the next page.
    Done,
    /// The next page is an object's, or wired: it gets a frame of its own.
    Object,
    /// The next page is a device's.
    Device,
    /// The next page has as many words as can be counted.
    Refused,
}

impl<S: Space> Map<S> {
    /// Copies a range: its frames are shared until either side writes.
    ///
    /// # Errors
    /// [`VmError`]: a page is not allocated, or there is no frame for the list. The map has not changed; its pages may be
    /// slower to write once.
    ///
    /// Cost: for each page that has a frame its descriptor and a word; one flush, if a page could be written.
    pub fn copy(&self, range: VirtRange) -> Result<MapCopy<S::Machine>, VmError> {
        self.check(range)?;
        let _lanes = self.lanes.hold(range, || self.space.relax());
        self.copy_held(range)
    }

    /// Takes a range out of the map: it is unmapped, and its contents are the copy's. A page that no other map has is
    /// written where it is put without a copy of it.
    ///
    /// # Errors
    /// Those of [`Map::copy`] and of [`Map::unmap`].
    pub fn take(&self, range: VirtRange) -> Result<MapCopy<S::Machine>, VmError> {
        self.check(range)?;
        let _lanes = self.lanes.hold(range, || self.space.relax());
        self.cut_ends(range)?;
        let copy = self.copy_held(range)?;
        self.unmap_held(range);
        Ok(copy)
    }

    fn copy_held(&self, range: VirtRange) -> Result<MapCopy<S::Machine>, VmError> {
        self.check_allocated(range)?;
        let mut copy = MapCopy::new(self.space.frames());
        let mut going = Unflushed::new(Gone::default(), KEY);
        let result = self.copy_into(range, &mut copy, &mut going);
        self.finish(&mut going);
        result.map(|()| copy)
    }

    fn copy_into(
        &self,
        range: VirtRange,
        copy: &mut MapCopy<S::Machine>,
        going: &mut Unflushed<Gone>,
    ) -> Result<(), VmError> {
        let guard = self.space.machine().pin();
        let mut at = range.start();
        while at < range.end() {
            self.make_room(guard.pinned(), copy)?;
            let (next, stop) = self.locked(at, |_, tables, place| {
                self.copy_words(tables, place, (at, range.end()), copy, going)
            });
            match stop {
                Stop::Refused => return Err(VmError::TooManySharers),
                Stop::Device => return Err(VmError::Device(next)),
                Stop::Object => {
                    at = next.plus(PAGE);
                    match self.duplicate(guard.pinned(), next)? {
                        Some(frame) => copy.add(Item::Page { pfn: self.count_alone(frame) }),
                        None => copy.add(Item::Fresh { pages: 1 }),
                    }
                }
                Stop::Done => {
                    if next == at {
                        self.space.relax();
                    }
                    at = next;
                }
            }
        }
        Ok(())
    }

    /// Copies the words of one table from `at` up to `end`.
    fn copy_words(
        &self,
        tables: &mut S::Tables,
        place: Place,
        (at, end): (VirtAddr, VirtAddr),
        copy: &mut MapCopy<S::Machine>,
        going: &mut Unflushed<Gone>,
    ) -> (VirtAddr, Stop) {
        if place.level > 1 {
            // All of them are fresh: no page above level 1 has a frame.
            let next = VirtAddr::new(end.get().min(place.at.get() + place.bytes()));
            copy.add(Item::Fresh { pages: next.since(at) / PAGE });
            return (next, Stop::Done);
        }
        let mut next = at;
        let mut fresh = 0;
        let mut stop = Stop::Done;
        for index in place.index..place.index + run_length(&place, end) {
            let word = Word(tables.read(place.table, index));
            match word.state(PageSize::Size4K) {
                State::Busy(_) => break,
                State::Empty | State::Fresh(_) => fresh += 1,
                State::Named(..) => {
                    stop = Stop::Object;
                    break;
                }
                State::Mapped(_, marks) if marks.is_device() => {
                    stop = Stop::Device;
                    break;
                }
                State::Mapped(_, marks) if marks.is_object() || marks.is_wired() => {
                    stop = Stop::Object;
                    break;
                }
                State::Mapped(pfn, marks) => {
                    if let Err(TooManySharers) = share::add(self.space.frames(), pfn, marks) {
                        stop = Stop::Refused;
                        break;
                    }
                    if !marks.is_shared() {
                        tables.write(place.table, index, self.word_of(pfn, marks.shared()).0);
                        if word.0.permissions().writable
                            && let Some(page) = VirtRange::of_length(next, PAGE)
                        {
                            going.batch_mut(KEY).add_leaf(page, PageSize::Size4K);
                        }
                    }
                    if fresh > 0 {
                        copy.add(Item::Fresh { pages: core::mem::take(&mut fresh) });
                    }
                    copy.add(Item::Page { pfn });
                }
            }
            next = next.plus(PAGE);
        }
        if fresh > 0 {
            copy.add(Item::Fresh { pages: fresh });
        }
        (next, stop)
    }

    /// Puts a copy into the map, where `request` says and with its marks. The pages of the request are the copy's.
    ///
    /// # Errors
    /// [`Refused`]: those of [`Map::allocate`], [`VmError::Limit`] of resident pages, [`VmError::OtherFrames`] for a copy
    /// of a map that has another allocator, and [`VmError::NotShared`] for [`Inherit::Share`](crate::Inherit::Share) of
    /// pages that are not shared; the copy comes back.
    #[expect(clippy::result_large_err, reason = "the copy comes back")]
    pub fn put(
        &self,
        request: &Allocation,
        copy: MapCopy<S::Machine>,
    ) -> Result<VirtRange, Refused<S::Machine>> {
        let request = request.of_pages(copy.pages);
        if !core::ptr::eq(copy.items.frames(), self.space.frames()) {
            return Err(Refused { copy, error: VmError::OtherFrames });
        }
        if request.is_for_sharing() && copy.named < copy.pages {
            return Err(Refused { copy, error: VmError::NotShared });
        }
        match self.with_room(&request, |range| self.enter_copy(range, &copy, request.marks())) {
            Ok(range) => {
                copy.items.forget();
                Ok(range)
            }
            Err(error) => Err(Refused { copy, error }),
        }
    }

    /// Gives the pages of `range`, whose lanes the caller holds, the contents of a copy.
    fn enter_copy(&self, range: VirtRange, copy: &MapCopy<S::Machine>, marks: Marks) -> Result<(), VmError> {
        self.prepare(range, copy.resident, |act| copy.for_each_part(range.start(), act))?;
        let mut at = range.start();
        copy.items.for_each(|item| {
            let (pages, word) = match item {
                Item::Fresh { pages } => (pages, Word::fresh(marks)),
                Item::Named { slot } => (1, Word::named(slot, marks)),
                Item::Page { pfn } if share::is_sole(self.space.frames(), pfn) => {
                    (1, self.word_of(pfn, marks))
                }
                Item::Page { pfn } => (1, self.word_of(pfn, marks.shared())),
            };
            if let Some(part) = VirtRange::of_length(at, pages * PAGE) {
                self.fill(part, word);
            }
            at = at.plus(pages * PAGE);
        });
        Ok(())
    }
}
