//! Long mappings: pages past the direct map's end, shown to all CPUs for as long as their holder wants.
//!
//! ```text
//!   map(frame) ──> LongMapping { frame, slot } ──bytes, bytes_mut──> the page ──unmap──> frame
//!
//!   slots    [held][held][spent][clean][held][spent] ...     one page table, made at boot
//!             clean ──map──> held ──unmap, drop──> spent ──one flush for all that are spent──> clean
//! ```
//!
//! A window ([`rhumb_windows`](../rhumb_windows/index.html)) shows a page to one CPU for the length of a closure. Code
//! that keeps a page in use over time, or on several CPUs, takes a long mapping. There are few of them: as many as the
//! table has slots, so that a machine of any size spends 2 MiB of addresses and one page table. A frame that the direct
//! map shows needs no slot: its mapping is its place there.
//!
//! - **I5** A mapping owns its frame. The frame can be neither freed nor given to another mapping, a window or a change
//!   of the map while the mapping lives, and a mapping that is forgotten keeps both.
//! - **I6** A slot is used again only after all CPUs have dropped its old translation: unmapping makes it *spent*, and
//!   the ticket of the flush makes it clean. One flush serves all slots that are spent when no clean one is left.
//! - **I4** Mappings are read-write, never executable.
//! - **I8** An entry has one writer: the mapping that holds its slot.
//! - **I11** The slots are a bounded resource, and an owner may hold at most half of them. A request beyond is refused.
//! - Each mapping is on record with its owner, CPU, time and place in the source until it goes ([`LongMap::holdings`]),
//!   so that code which keeps mappings, or has lost one, has a name.
//!
//! | module | owns |
//! |---|---|
//! | [`mapping`] | [`LongMapping`]: the handle, and the page's bytes |
//! | `slots` | which slots are clean, held and spent |
//! | [`tables`] | [`SlotTable`]: how an entry is written, and the page behind it reached |
//! | [`report`] | [`Record`], [`Holding`], [`Counters`], [`Inconsistency`] |
//! | [`error`] | [`MapError`], [`Refused`] |
//! | [`planted`] | faults that the tests plant |
//!
//! Locking: one lock for the slots, a leaf, taken with interrupts off for a constant number of steps; entries are written
//! and CPUs flushed with no lock held.
#![no_std]
#![deny(unsafe_code)]

pub mod error;
pub mod mapping;
pub mod planted;
pub mod report;
mod slots;
pub mod tables;

use core::panic::Location;

use rhumb_frames::{Anywhere, Frame, Frames, Owner};
use rhumb_machine::{Order, PageSize, Pinned, Tlb, VirtRange, impossible};
use rhumb_pagetable::flush::Unflushed;
use rhumb_pagetable::{Access, Attributes, Entry};
use rhumb_sync::Lock;

pub use error::{MapError, Refused};
pub use mapping::LongMapping;
pub use report::{Counters, Holding, Inconsistency, Record};
pub use slots::{OWNERS, SLOTS};
pub use tables::SlotTable;

use planted::Fault;
use slots::{Key, Slots, Taken};

/// Turns of a wait for another CPU's flush, after which the request is refused.
const MOST_TURNS: u32 = 1 << 24;

/// The long mappings of a machine. See the module.
pub struct LongMap<M: Tlb + 'static, T: SlotTable> {
    frames: &'static Frames<M>,
    tables: T,
    slots: Lock<Slots>,
}

impl<M: Tlb, T: SlotTable> LongMap<M, T> {
    /// Makes mappings of frames of `frames` in the slots of `tables`, all of whose entries are clear: as many as there
    /// are `records`, and at most [`SLOTS`]. With no record, only frames of the direct map can be mapped.
    pub fn new(frames: &'static Frames<M>, tables: T, records: &'static mut [Record]) -> Self {
        Self { frames, tables, slots: Lock::new(Slots::new(records)) }
    }

    /// Shows a frame to all CPUs, until the mapping goes. The caller's place in the source is on record meanwhile.
    ///
    /// # Errors
    /// [`MapError`], with the frame; nothing has changed then.
    ///
    /// Cost: none for a frame of the direct map. Else a visit to the lock, a look at up to eight words, and an entry
    /// written; once for as many mappings as there are slots free of others, a flush on all CPUs.
    #[track_caller]
    pub fn map(
        &self,
        pinned: Pinned<'_>,
        frame: Frame<Anywhere>,
        owner: Owner,
    ) -> Result<LongMapping<'_, M, T>, Refused> {
        if frame.brand() != self.frames.brand() {
            return Err(Refused { frame, error: MapError::OtherAllocator });
        }
        if frame.order() != Order::BASE {
            let error = MapError::NotOnePage { order: frame.order() };
            return Err(Refused { frame, error });
        }
        if !frame.is_high() {
            return Ok(LongMapping::new(self, frame, None));
        }
        let machine = self.frames.machine();
        let record = Record {
            owner,
            cpu: machine.cpu_of(pinned),
            since_ns: machine.now_ns(),
            pfn: frame.pfn(),
            place: Location::caller(),
            is_held: true,
        };
        match self.take(pinned, record) {
            Ok(slot) => {
                self.tables.write(slot, entry_of(&frame));
                Ok(LongMapping::new(self, frame, Some(slot)))
            }
            Err(error) => Err(Refused { frame, error }),
        }
    }

    /// Takes a clean slot; after a flush, where there are spent ones alone.
    fn take(&self, pinned: Pinned<'_>, record: Record) -> Result<usize, MapError> {
        let machine = self.frames.machine();
        for _ in 0..MOST_TURNS {
            let taken = {
                let guard = machine.irq_off();
                self.slots.lock(guard.irq_off()).take(record)
            };
            match taken {
                Taken::Slot(slot) => return Ok(slot),
                Taken::Refused(error) => return Err(error),
                Taken::Flush(spent) => self.clean(pinned, spent),
                Taken::Wait => self.tables.relax(),
            }
        }
        Err(MapError::Busy)
    }

    /// Flushes spent slots, and makes them clean.
    fn clean(&self, pinned: Pinned<'_>, spent: slots::Spent) {
        let machine = self.frames.machine();
        let mut unflushed = Unflushed::new(slots::Spent::default(), Key::the_map());
        for slot in spent.iter().filter(|_| !planted::is(Fault::ReusedWithoutFlush)) {
            let page = VirtRange::of_length(self.tables.address(slot), PageSize::Size4K.bytes());
            unflushed.batch_mut(Key::the_map()).add_leaf(page.unwrap_or_default(), PageSize::Size4K);
        }
        *unflushed.waiting_mut(Key::the_map()) = spent;
        let flushed = unflushed.flush(machine, pinned);
        self.tables.note_flush(flushed.stats());
        let Some(clean) = flushed.redeem(machine.identity()) else {
            return impossible!("a flush of another machine" => ());
        };
        let guard = machine.irq_off();
        self.slots.lock(guard.irq_off()).make_clean(clean);
    }

    /// Ends the mapping in `slot`. Any CPU may still have its translation.
    pub(crate) fn give(&self, slot: usize) {
        let machine = self.frames.machine();
        if !planted::is(Fault::EntryStays) {
            self.tables.write(slot, Entry::EMPTY);
        }
        let guard = machine.irq_off();
        self.slots.lock(guard.irq_off()).give(slot);
    }

    /// Returns the counts, of all owners together.
    pub fn counters(&self) -> Counters {
        let guard = self.frames.machine().irq_off();
        self.slots.lock(guard.irq_off()).counters()
    }

    /// Returns how many slots `owner` holds.
    pub fn held_by(&self, owner: Owner) -> usize {
        let guard = self.frames.machine().irq_off();
        self.slots.lock(guard.irq_off()).held_by(owner)
    }

    /// Returns the mappings that there are, by slot, one visit to the lock each.
    pub fn holdings(&self) -> impl Iterator<Item = Holding> + '_ {
        (0..SLOTS).filter_map(|slot| {
            let guard = self.frames.machine().irq_off();
            self.slots.lock(guard.irq_off()).record(slot).map(|record| Holding { slot, record })
        })
    }

    /// Checks that each slot is in one state, that an entry is there where it is held and only there, and that the
    /// owners' counts add up.
    ///
    /// # Errors
    /// The first fault. Only while no other CPU maps or unmaps.
    pub fn validate(&self) -> Result<(), Inconsistency> {
        let guard = self.frames.machine().irq_off();
        let slots = self.slots.lock(guard.irq_off());
        slots.validate()?;
        for slot in 0..slots.count() {
            let entry = self.tables.read(slot);
            let held = slots.record(slot);
            if entry.is_present() != held.is_some() {
                return Err(Inconsistency::Entry { slot });
            }
            if held.is_some_and(|record| entry.phys(PageSize::Size4K).pfn() != record.pfn) {
                return Err(Inconsistency::OtherFrame { slot });
            }
        }
        Ok(())
    }
}

/// Makes a mapping's entry: read-write, never executable (I4).
fn entry_of(frame: &Frame<Anywhere>) -> Entry {
    Entry::leaf(frame.addr(), PageSize::Size4K, Attributes::kernel(Access::ReadWrite))
}

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
