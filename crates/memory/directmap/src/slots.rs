//! Memory for records: pages lent by the map's user, one free list over all of them.
//!
//! A [`RecordPage`] is a page of ordinary memory. Pages form a tree of eight branches a page, so that any number of
//! them needs no list elsewhere (I10), and finding record `n` among a million takes six steps. Taking and giving back a
//! record never allocates.
//!
//! Why not table frames: a record holds text and a place in the source, which are references, and those cannot be kept
//! in words of a table without unsafe code.

use rhumb_machine::impossible;

use crate::records::{HoldId, HoldRecord, Owner, Split};
use crate::slot_id::SlotId;

/// A record, or room for one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slot {
    Free(Option<SlotId>),
    Hold(HoldRecord),
    Split(Split),
    Owner(Owner),
}

const BRANCHES: usize = 8;

/// Records in one page: as many as fit beside the branches.
pub const RECORDS_PER_PAGE: usize = (4096 - BRANCHES * size_of::<usize>()) / size_of::<Slot>();

/// A page for records, at most 4 KiB.
#[derive(Debug)]
pub struct RecordPage {
    slots: [Slot; RECORDS_PER_PAGE],
    branches: [Option<&'static mut Self>; BRANCHES],
}

const _: () = assert!(size_of::<RecordPage>() <= 4096 && RECORDS_PER_PAGE >= 32);

impl RecordPage {
    /// Returns an empty page.
    pub const fn new() -> Self {
        Self { slots: [Slot::Free(None); RECORDS_PER_PAGE], branches: [const { None }; BRANCHES] }
    }

    /// Returns the page with this number in the tree that begins here. Branch first, quotient after: no path is kept.
    fn page(&self, mut number: usize) -> Option<&Self> {
        let mut page = self;
        while number > 0 {
            page = page.branches[(number - 1) % BRANCHES].as_deref()?;
            number = (number - 1) / BRANCHES;
        }
        Some(page)
    }

    fn page_mut(&mut self, mut number: usize) -> Option<&mut Self> {
        let mut page = self;
        while number > 0 {
            page = page.branches[(number - 1) % BRANCHES].as_deref_mut()?;
            number = (number - 1) / BRANCHES;
        }
        Some(page)
    }

    /// Hangs `new` in as the page with this number, which is the next one.
    fn attach(&mut self, number: usize, new: &'static mut Self) {
        let mut page = self;
        let mut number = number;
        while number > BRANCHES {
            let Some(next) = page.branches[(number - 1) % BRANCHES].as_deref_mut() else {
                return impossible!("all pages before this one are there");
            };
            page = next;
            number = (number - 1) / BRANCHES;
        }
        page.branches[number - 1] = Some(new);
    }
}

impl Default for RecordPage {
    fn default() -> Self {
        Self::new()
    }
}

/// All pages.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    root: Option<&'static mut RecordPage>,
    pages: usize,
    first_free: Option<SlotId>,
    free: u64,
}

impl Slots {
    pub(crate) const fn new() -> Self {
        Self { root: None, pages: 0, first_free: None, free: 0 }
    }

    /// Adds a page's records to the free ones. Past 2^32 records the page is not used.
    pub(crate) fn add_page(&mut self, page: &'static mut RecordPage) {
        let first = self.pages * RECORDS_PER_PAGE;
        if u32::try_from(first + RECORDS_PER_PAGE + 1).is_err() {
            return;
        }
        match &mut self.root {
            None => self.root = Some(page),
            Some(root) => root.attach(self.pages, page),
        }
        self.pages += 1;
        // In descending order, so that the lowest is taken first.
        for number in (first..first + RECORDS_PER_PAGE).rev() {
            if let Some(id) = SlotId::of(number as u32) {
                self.free(id);
            }
        }
    }

    /// Returns how many records are free.
    pub(crate) const fn available(&self) -> u64 {
        self.free
    }

    /// Returns how many records there are.
    pub(crate) const fn capacity(&self) -> u64 {
        (self.pages * RECORDS_PER_PAGE) as u64
    }

    pub(crate) fn get(&self, id: SlotId) -> Option<&Slot> {
        let page = self.root.as_deref()?.page(id.number() / RECORDS_PER_PAGE)?;
        page.slots.get(id.number() % RECORDS_PER_PAGE)
    }

    pub(crate) fn get_mut(&mut self, id: SlotId) -> Option<&mut Slot> {
        let page = self.root.as_deref_mut()?.page_mut(id.number() / RECORDS_PER_PAGE)?;
        page.slots.get_mut(id.number() % RECORDS_PER_PAGE)
    }

    pub(crate) fn hold(&self, id: HoldId) -> Option<&HoldRecord> {
        match self.get(id.0)? {
            Slot::Hold(hold) => Some(hold),
            _ => None,
        }
    }

    pub(crate) fn update_hold(&mut self, id: HoldId, update: impl FnOnce(&mut HoldRecord)) {
        if let Some(Slot::Hold(hold)) = self.get_mut(id.0) {
            update(hold);
        }
    }

    /// Puts a record into a free slot; `None` where there is none.
    pub(crate) fn take(&mut self, record: Slot) -> Option<SlotId> {
        let id = self.first_free?;
        let slot = self.get_mut(id)?;
        let Slot::Free(next) = *slot else { return None };
        *slot = record;
        self.first_free = next;
        self.free -= 1;
        Some(id)
    }

    /// Makes a slot free.
    pub(crate) fn free(&mut self, id: SlotId) {
        let next = self.first_free;
        if let Some(slot) = self.get_mut(id) {
            *slot = Slot::Free(next);
            self.first_free = Some(id);
            self.free += 1;
        }
    }
}
