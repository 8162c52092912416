//! Allocating addresses: a search for empty pages, and words that say what they are.

use rhumb_machine::{Machine, PageSize, VirtAddr, VirtRange, impossible};
use rhumb_pagetable::{ENTRIES, Entry, TableMemory};

use crate::error::{Resource, VmError};
use crate::fill::{Words, run_length};
use crate::map::Map;
use crate::space::Space;
use crate::word::{Inherit, Marks, Protection, Word};

const PAGE: u64 = PageSize::Size4K.bytes();

/// A request for memory that reads as zeroes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allocation {
    pages: u64,
    at: Option<VirtAddr>,
    align_pages: u64,
    protection: Protection,
    inherit: Inherit,
}

impl Allocation {
    /// Asks for so many pages, readable and writable, where the map likes, copied by a fork.
    pub const fn pages(pages: u64) -> Self {
        Self { pages, at: None, align_pages: 1, protection: Protection::ReadWrite, inherit: Inherit::Copy }
    }

    /// Asks for this first address, or an error.
    #[must_use]
    pub const fn at(self, at: VirtAddr) -> Self {
        Self { at: Some(at), ..self }
    }

    /// Asks for a first address that is a multiple of so many pages, a power of two.
    #[must_use]
    pub const fn aligned(self, pages: u64) -> Self {
        Self { align_pages: pages, ..self }
    }

    /// Asks for these rights.
    #[must_use]
    pub const fn protection(self, protection: Protection) -> Self {
        Self { protection, ..self }
    }

    pub(crate) const fn of_pages(self, pages: u64) -> Self {
        Self { pages, ..self }
    }

    pub(crate) const fn is_for_sharing(&self) -> bool {
        matches!(self.inherit, Inherit::Share)
    }

    pub(crate) const fn marks(&self) -> Marks {
        Marks::new(self.protection, self.inherit)
    }

    /// Says what a fork does with it.
    #[must_use]
    pub const fn inherit(self, inherit: Inherit) -> Self {
        Self { inherit, ..self }
    }
}

impl<S: Space> Map<S> {
    /// Allocates addresses. Their pages get frames when they are used.
    ///
    /// # Errors
    /// [`VmError`]: the range that was asked for is not empty or not the map's, there is no room, no frame for a table,
    /// or a limit is reached.
    ///
    /// Cost: a word for each page at the ends of the range that is no whole 2 MiB, for each such 2 MiB, and for each GiB;
    /// a frame for each table that is missing. The search begins where the last one ended, or where pages were unmapped
    /// below; it reads a word for each page of a table that has any. No flush.
    pub fn allocate(&self, request: &Allocation) -> Result<VirtRange, VmError> {
        if request.inherit == Inherit::Share {
            return self.allocate_shared(request);
        }
        let word = Word::fresh(request.marks());
        self.with_room(request, |range| self.enter(range, word))
    }

    /// Allocates pages that are fit to be shared.
    fn allocate_shared(&self, request: &Allocation) -> Result<VirtRange, VmError> {
        let range = self.allocate(&request.inherit(Inherit::Copy))?;
        if let Err(error) = self.inherit(range, Inherit::Share) {
            if self.unmap(range).is_err() {
                impossible!("the ends of what was allocated are ends of words");
            }
            return Err(error);
        }
        Ok(range)
    }

    /// Finds the empty range that is asked for, and has `enter` fill it while its lanes are held.
    pub(crate) fn with_room(
        &self,
        request: &Allocation,
        mut enter: impl FnMut(VirtRange) -> Result<(), VmError>,
    ) -> Result<VirtRange, VmError> {
        let bytes = request.pages.checked_mul(PAGE).filter(|&bytes| bytes > 0 && bytes <= self.range.bytes());
        let Some(bytes) = bytes else {
            return Err(VmError::NoRoom(request.pages));
        };
        if let Some(at) = request.at {
            let range = VirtRange::of_length(at, bytes).ok_or(VmError::NoRoom(request.pages))?;
            self.check(range)?;
            let _lanes = self.lanes.hold(range, || self.space.relax());
            enter(range)?;
            return Ok(range);
        }
        let align = request.align_pages.checked_mul(PAGE).filter(|align| align.is_power_of_two());
        let Some(align) = align.filter(|&align| align <= self.range.bytes()) else {
            return Err(VmError::BadAlignment(request.align_pages));
        };
        self.with_room_anywhere(bytes, align, &mut enter)
    }

    fn with_room_anywhere(
        &self,
        bytes: u64,
        align: u64,
        enter: &mut impl FnMut(VirtRange) -> Result<(), VmError>,
    ) -> Result<VirtRange, VmError> {
        let needed = bytes.saturating_add(self.guard_bytes());
        let first = self.lanes.of_cpu(self.here(self.space.machine().pin().pinned()));
        let count = self.lanes.count();
        for lane in (0..count).map(|step| (first + step) % count) {
            let all = self.lanes.range(lane);
            let _lanes = self.lanes.hold(all, || self.space.relax());
            let hint = VirtAddr::new(self.lanes.hint(lane)).max(all.start()).min(all.end());
            let above = VirtRange::new(hint, all.end()).unwrap_or_default();
            // The part below the hint is searched with as much above the hint as a range across it needs.
            let edge = hint
                .checked_add(needed.saturating_add(self.guard_bytes()))
                .unwrap_or(all.end())
                .min(all.end());
            let below = VirtRange::new(all.start(), edge).unwrap_or_default();
            let Some(at) = self.find(above, needed, align).or_else(|| self.find(below, needed, align)) else {
                continue;
            };
            let Some(range) = VirtRange::of_length(at, bytes) else { continue };
            enter(range)?;
            self.lanes.set_hint(lane, range.end());
            return Ok(range);
        }
        // A range that no lane has room for may lie across several.
        if count > 1 && bytes > self.lanes.range(0).bytes() / 2 {
            let _lanes = self.lanes.hold(self.range, || self.space.relax());
            if let Some(range) =
                self.find(self.range, needed, align).and_then(|at| VirtRange::of_length(at, bytes))
            {
                enter(range)?;
                return Ok(range);
            }
        }
        Err(VmError::NoRoom(bytes / PAGE))
    }

    pub(crate) fn guard_bytes(&self) -> u64 {
        self.space.guard_pages() * PAGE
    }

    /// Returns the first address of `needed` empty bytes of `within`, below which the pages of a guard are empty, too. The
    /// caller holds the lanes.
    fn find(&self, within: VirtRange, needed: u64, align: u64) -> Option<VirtAddr> {
        let tables = self.tables();
        let guard = self.guard_bytes();
        // The first address at which the range may begin above `at`, and the first page that has to be empty for that.
        let begin = |at: VirtAddr| {
            let gap = VirtAddr::new(at.checked_add(guard)?.get().checked_next_multiple_of(align)?);
            Some((gap, VirtAddr::new(gap.get() - guard)))
        };
        let (mut gap, mut at) = begin(within.start())?;
        loop {
            let end = gap.checked_add(needed).filter(|&end| end <= within.end())?;
            if at >= end {
                return Some(gap);
            }
            let place = self.place(&tables, at);
            if place.level > 1 {
                at = place.at.checked_add(place.bytes())?;
                if !place.word(&tables).is_empty() {
                    (gap, at) = begin(at)?;
                }
                continue;
            }
            for index in place.index..ENTRIES {
                if at >= end {
                    break;
                }
                at = at.plus(PAGE);
                if tables.read(place.table, index) != Entry::EMPTY {
                    (gap, at) = begin(at)?;
                    break;
                }
            }
        }
    }

    /// Gives all pages of `range`, whose lanes the caller holds, a word.
    fn enter(&self, range: VirtRange, word: Word) -> Result<(), VmError> {
        let pages = range.bytes() / PAGE;
        let mut tables = self.tables();
        let place = self.place(&tables, range.start());
        let count = if place.level == 1 { run_length(&place, range.end()) } else { 0 };
        if count as u64 == pages {
            // The common case: all of it is in one table.
            self.check_empty(&tables, &place, count)?;
            self.account.take(Resource::Addresses, pages).map_err(VmError::Limit)?;
            self.note_used(&mut tables, &place, count);
            tables.write_run(place.table, place.index, word.0, 0, count);
            return Ok(());
        }
        self.prepare(range, 0, |act| act(range, Words::Fresh))?;
        self.fill(range, word);
        Ok(())
    }
}
