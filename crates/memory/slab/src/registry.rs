//! The caches that there are, by number.
//!
//! Making a cache takes a cell for its records, never an object (I10). A number is taken from before its cache's
//! records are written until after they are given back: no two caches have one number, and so no two the same lines. A
//! cache is in the table only while it may be walked (by reclaim, by a tick, by a report). A walker counts itself in
//! under the lock; a cache that has a walker is not given up ([`Registry::retire`] refuses, and does not wait,
//! because the walker may be the code that the caller interrupted).

use rhumb_frames::AllocClass;
use rhumb_machine::{Machine, Pinned};

use crate::cells::Cells;
use crate::check::Checks;
use crate::config::Config;
use crate::error::SpecError;
use crate::lines::{Lines, MAX_CACHES};
use crate::memory::Memory;
use crate::record::{Record, Setup};
use crate::shape::Shape;
use crate::spec::{CacheSpec, Name};
use rhumb_sync::atomic::{Ordering, Relaxed};
use rhumb_sync::{InterruptsOff, Lock};

const WORD_BITS: usize = u64::BITS as usize;

pub(crate) struct Registry {
    table: Lock<Table>,
    /// The lines of all caches, the classes' first.
    pub(crate) lines: Lines,
}

/// The table that the registry's lock protects.
struct Table {
    /// A bit for each number that is taken.
    taken: [u64; MAX_CACHES / WORD_BITS],
    /// The caches that may be walked. A number that is taken and has none here is of a cache that is being made or
    /// given up.
    caches: [Option<&'static Record>; MAX_CACHES],
}

impl Table {
    /// Takes the lowest free number.
    fn take(&mut self) -> Option<u16> {
        let word = self.taken.iter().position(|&word| word != u64::MAX)?;
        let bit = self.taken[word].trailing_ones() as usize;
        self.taken[word] |= 1 << bit;
        Some((word * WORD_BITS + bit) as u16)
    }

    fn give(&mut self, id: u16) {
        self.taken[usize::from(id) / WORD_BITS] &= !(1 << (usize::from(id) % WORD_BITS));
    }
}

/// A cache that is not given up while this lives.
pub(crate) struct Walked(&'static Record);

impl Walked {
    pub(crate) const fn record(&self) -> &'static Record {
        self.0
    }
}

impl Drop for Walked {
    fn drop(&mut self) {
        self.0.walkers.fetch_sub(1, Ordering::Release);
    }
}

/// The cache is being walked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IsWalked;

impl Registry {
    pub(crate) fn new(lines: Lines) -> Self {
        let table = Table { taken: [0; MAX_CACHES / WORD_BITS], caches: [None; MAX_CACHES] };
        Self { table: Lock::new(table), lines }
    }

    /// Returns the name of the cache with this number, if it is in the table.
    pub(crate) fn name(&self, irq_off: impl InterruptsOff, id: u16) -> Option<Name> {
        // Copied under the lock: a cache leaves the table before its records go.
        (*self.table.lock(irq_off).caches.get(usize::from(id))?).map(|record| record.setup.name)
    }

    /// Returns the first cache at or after the number `from`, and its number.
    pub(crate) fn walk(&self, irq_off: impl InterruptsOff, from: usize) -> Option<(usize, Walked)> {
        let table = self.table.lock(irq_off);
        let (id, record) =
            (from..).zip(table.caches.get(from..)?).find_map(|(id, &record)| Some((id, record?)))?;
        record.walkers.fetch_add(1, Relaxed);
        Some((id, Walked(record)))
    }

    /// Makes a cache.
    pub(crate) fn make<M: Machine>(
        &self,
        memory: &Memory<M>,
        cells: &Cells,
        config: &Config,
        pinned: Pinned<'_>,
        spec: &CacheSpec<'_>,
    ) -> Result<&'static Record, SpecError> {
        let checks = config.checks.of(spec.name);
        let shape = Shape::new(spec.size, spec.align, checks.margins())?;
        let bytes = Record::bytes(config.nodes, config.cpus);
        let cell = cells.alloc(memory, pinned, bytes, AllocClass::Ordinary).ok_or(SpecError::NoMemory)?;
        let taken = self.table.lock(memory.machine().irq_off()).take();
        let Some(id) = taken else {
            // SAFETY: the cell was taken just now with this size, and nothing was placed in it.
            unsafe { cells.free(memory, pinned, cell, bytes) };
            return Err(SpecError::TooManyCaches);
        };
        let setup = Setup {
            name: Name::new(spec.name),
            id,
            class: spec.class,
            ceiling: spec.ceiling,
            checks,
            cpus: config.cpus,
            nodes: config.nodes,
        };
        // SAFETY: the cell was taken just now, with this size; the number is this cache's alone until it is given back.
        let record = unsafe { Record::place(cell, &self.lines, shape, setup) };
        self.restore(memory, record);
        Ok(record)
    }

    /// Takes a cache out of the table, so that it is not walked from here on. Its number stays taken.
    ///
    /// # Errors
    /// It is being walked now, and stays in the table.
    pub(crate) fn retire<M: Machine>(&self, memory: &Memory<M>, record: &Record) -> Result<(), IsWalked> {
        let mut table = self.table.lock(memory.machine().irq_off());
        if record.walkers.load(Ordering::Acquire) != 0 {
            return Err(IsWalked);
        }
        table.caches[usize::from(record.setup.id)] = None;
        Ok(())
    }

    /// Puts a cache into the table: a new one, or one that [`Registry::retire`] took out.
    pub(crate) fn restore<M: Machine>(&self, memory: &Memory<M>, record: &'static Record) {
        self.table.lock(memory.machine().irq_off()).caches[usize::from(record.setup.id)] = Some(record);
    }

    /// Closes the common path of all caches, or opens it.
    pub(crate) fn set_traced(&self, irq_off: impl InterruptsOff, is_traced: bool) {
        let _one_at_a_time = self.table.lock(irq_off);
        self.lines.set_traced(is_traced);
    }

    /// Gives back the records and the number of a cache.
    ///
    /// # Safety
    /// The cache was retired, or no code has ever walked it; it has no slabs and no magazines, and the caller is its
    /// last user.
    pub(crate) unsafe fn forget<M: Machine>(
        &self,
        memory: &Memory<M>,
        cells: &Cells,
        pinned: Pinned<'_>,
        record: &'static Record,
    ) {
        let (id, bytes, cell) =
            (record.setup.id, Record::bytes(record.setup.nodes, record.setup.cpus), record.cell());
        {
            let mut table = self.table.lock(memory.machine().irq_off());
            table.caches[usize::from(id)] = None;
            table.give(id);
        }
        // SAFETY: `make` took the cell with this size; the record is in no table, and its last user is the caller.
        unsafe { cells.free(memory, pinned, cell, bytes) };
    }
}

const _: () = assert!(core::mem::size_of::<Checks>() <= 2);
