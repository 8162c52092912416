//! Frames for tables and pages, and their way back; a leaf where `unsafe` lives.
#![expect(unsafe_code, reason = "frames are numbers while entries refer to them")]

use rhumb_frames::{AllocError, Frame};
use rhumb_machine::{Machine, PageSize, Pfn, Pinned, impossible};
use rhumb_pagetable::{Entry, OutOfTables, TableChain, TableMemory, TableSource};

use crate::error::{Resource, VmError};
use crate::gone::Gone;
use crate::hint::Hint;
use crate::map::Map;
use crate::share;
use crate::sheet;
use crate::space::Space;
use crate::word::{Marks, State, Word};

/// The source of a map's tables.
struct Tables<'map, 'cpu, S: Space> {
    map: &'map Map<S>,
    pinned: Pinned<'cpu>,
    /// Why there was none, if there was none.
    error: Option<VmError>,
}

// SAFETY: a frame that the allocator has just given out is the caller's alone, and was cleared; it is in the direct map,
// where the space's tables are reached.
unsafe impl<S: Space> TableSource for Tables<'_, '_, S> {
    fn take_zeroed_table(&mut self) -> Result<Pfn, OutOfTables> {
        match self.map.take_table(self.pinned) {
            Ok(frame) => Ok(frame.into_pfn()),
            Err(error) => {
                self.error = Some(error);
                Err(OutOfTables)
            }
        }
    }

    unsafe fn give_back(&mut self, table: Pfn) {
        // SAFETY: the caller promises that the table came from here, and that it uses the table no more.
        unsafe { self.map.free_table(self.pinned, table) };
    }
}

impl<S: Space> Map<S> {
    /// Takes a cleared frame for a table, and charges it.
    pub(crate) fn take_table(&self, pinned: Pinned<'_>) -> Result<Frame, VmError> {
        self.account.take(Resource::Tables, 1).map_err(VmError::Limit)?;
        match self.space.alloc(pinned, Self::table_request()) {
            Ok(mut frame) => {
                self.space.frames().zero(&mut frame);
                Ok(frame)
            }
            Err(error) => {
                self.account.give(Resource::Tables, 1);
                Err(VmError::NoFrame(error))
            }
        }
    }

    /// Gives back a table that no entry has referred to yet.
    pub(crate) fn return_table(&self, pinned: Pinned<'_>, frame: Frame) {
        self.account.give(Resource::Tables, 1);
        self.space.frames().free(pinned, frame);
    }

    /// Takes so many tables, or none.
    pub(crate) fn take_tables(&self, pinned: Pinned<'_>, count: u64) -> Result<TableChain, VmError> {
        if count == 0 {
            return Ok(TableChain::new());
        }
        let mut source = Tables { map: self, pinned, error: None };
        let mut tables = self.tables();
        let chain = TableChain::take(count, &mut tables, &mut source);
        let error = source.error;
        chain.map_err(|OutOfTables| {
            error.unwrap_or_else(|| impossible!("a source says why it has no table" => VmError::NoRoom(0)))
        })
    }

    /// Gives back the tables that were not used.
    pub(crate) fn return_tables(&self, pinned: Pinned<'_>, chain: TableChain) {
        let mut source = Tables { map: self, pinned, error: None };
        // SAFETY: `take_tables` took them from a source of this map, and no entry has referred to them.
        unsafe { chain.give_back(&mut self.tables(), &mut source) };
    }

    /// Frees what has waited for a flush.
    pub(crate) fn release(&self, pinned: Pinned<'_>, gone: Gone) {
        let mut resident = 0;
        for &word in &gone.pages {
            // SAFETY: no entry has the word any more, all CPUs have flushed, and it comes out of the ticket once (I6).
            resident += unsafe { self.free_page(pinned, word) };
        }
        for gone in &gone.tables {
            // SAFETY: no entry refers to the table any more, all CPUs have flushed, and it comes out of the ticket once
            // (I6).
            resident += unsafe { self.free_tree(pinned, gone.table(), gone.level(), gone.hint()) };
        }
        self.account.give(Resource::Resident, resident);
    }

    /// Frees a table, all below it, and the frames of its pages. Returns how many pages there were.
    ///
    /// # Safety
    /// No CPU reaches the table, and no other code uses it or what is below it.
    unsafe fn free_tree(&self, pinned: Pinned<'_>, table: Pfn, level: u8, hint: Hint) -> u64 {
        let tables = self.tables();
        let mut resident = 0;
        for index in hint.ranges().flatten() {
            let entry = tables.read(table, index);
            if entry == Entry::EMPTY {
                continue;
            }
            resident += match entry.child(level) {
                // SAFETY: passed on: the table is the only way to the tables below it.
                Some(child) => unsafe {
                    self.free_tree(pinned, child, level - 1, self.hint_of(entry, level))
                },
                // SAFETY: passed on: the table is the only place of its words.
                None if level == 1 => unsafe { self.free_page(pinned, Word(entry)) },
                None => 0,
            };
        }
        // SAFETY: passed on.
        unsafe { self.free_table(pinned, table) };
        resident
    }

    /// Frees the frame of a page, if its word has one. Returns how many resident pages the word was.
    ///
    /// # Safety
    /// The word was an entry of this map's tables, no entry has it any more, no CPU reaches its frame by it, and it is
    /// given back once.
    unsafe fn free_page(&self, pinned: Pinned<'_>, word: Word) -> u64 {
        let frames = self.space.frames();
        let (slot, resident) = match word.state(PageSize::Size4K) {
            State::Named(slot, _) => (slot, 0),
            State::Mapped(_, marks) if marks.is_device() => return 0,
            State::Mapped(pfn, marks) if marks.is_object() => (sheet::slot_of(frames, pfn), 1),
            State::Mapped(pfn, marks) => {
                // SAFETY: the word had the frame, and is gone.
                unsafe { share::give_up(frames, pinned, pfn, marks) };
                return 1;
            }
            State::Empty | State::Fresh(_) | State::Busy(_) => return 0,
        };
        // SAFETY: the word held the sheet, and is gone.
        unsafe { sheet::give_up(frames, pinned, slot.sheet, 1) };
        resident
    }

    /// # Safety
    /// The table was the map's, and is used no more.
    unsafe fn free_table(&self, pinned: Pinned<'_>, table: Pfn) {
        self.account.give(Resource::Tables, 1);
        // SAFETY: passed on.
        unsafe { share::free(self.space.frames(), pinned, table) };
    }

    /// Takes a cleared frame for a page.
    pub(crate) fn take_zeroed_page(&self, pinned: Pinned<'_>) -> Result<Frame, AllocError> {
        let mut frame = self.space.alloc(pinned, Self::page_request())?;
        self.space.frames().zero(&mut frame);
        Ok(frame)
    }

    /// Fills the new frame of a page that is busy with the contents of its old one.
    pub(crate) fn copy_page(&self, from: Pfn, to: &mut Frame) {
        // SAFETY: the busy word holds the frame, and other words that hold it are marked shared, so that no CPU writes
        // through them; this map's CPUs have flushed.
        unsafe { share::copy(self.space.frames(), from, to) }
    }

    /// Fills a new frame with the contents of an object's page, which other CPUs may write meanwhile.
    pub(crate) fn copy_used_page(&self, from: Pfn, to: &mut Frame) {
        // SAFETY: the caller's word holds the frame's sheet. Programs write the page; the kernel's own accesses to pages
        // of programs are atomics, or assembly.
        unsafe { share::copy_used(self.space.frames(), from, to) }
    }

    /// Gives up the hold of a sheet that its maker has, or a fault.
    pub(crate) fn drop_sheet(&self, pinned: Pinned<'_>, sheet: Pfn) {
        // SAFETY: the caller's hold, which it gives up once; no word has it.
        unsafe { sheet::give_up(self.space.frames(), pinned, sheet, 1) };
    }

    /// Gives up the frame of a page that has a frame of its own now.
    pub(crate) fn give_up_copied(&self, pinned: Pinned<'_>, pfn: Pfn, marks: Marks) {
        // SAFETY: the page's word had the frame, with these marks, until it became busy and its CPUs flushed (I6).
        unsafe { share::give_up(self.space.frames(), pinned, pfn, marks) };
    }

    /// Returns the identity of the machine, for tickets.
    pub(crate) fn machine_identity(&self) -> u32 {
        self.space.machine().identity()
    }
}
