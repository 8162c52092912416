//! The caches that there are, by number. A leaf where `unsafe` lives.
//!
//! Making a cache takes a cell for its records, never an object (I10). A cache that is walked (by reclaim, by a tick,
//! by a report) is not given up meanwhile: the walker counts itself in, under the lock; who gives it up takes it out of
//! the table, under the lock, and waits for the walkers.

use rhumb_frames::AllocClass;
use rhumb_machine::{IrqOff, Machine, Pinned};

use crate::cells::Cells;
use crate::check::Checks;
use crate::error::SpecError;
use crate::memory::Memory;
use crate::record::{Lines, Name, Record, Setup};
use crate::shape::Shape;
use crate::slabs::Config;
use crate::spec::CacheSpec;
use crate::sync::{AtomicPtr, Lock, Ordering, Relaxed};

/// The most caches.
pub(crate) const MAX_CACHES: usize = 256;

pub(crate) struct Registry {
    table: [AtomicPtr<Record>; MAX_CACHES],
    /// The lines of all caches, the classes' first.
    pub(crate) lines: Lines,
    /// Numbers past this were never given out.
    used: Lock<usize>,
}

/// A cache that is not given up while this lives.
pub(crate) struct Walked(pub(crate) &'static Record);

impl Drop for Walked {
    fn drop(&mut self) {
        self.0.walkers.fetch_sub(1, Ordering::Release);
    }
}

impl Registry {
    pub(crate) fn new(lines: Lines) -> Self {
        let table = core::array::from_fn(|_| AtomicPtr::new(core::ptr::null_mut()));
        Self { table, lines, used: Lock::new(0) }
    }

    /// The cache with this number, which the caller knows to live.
    pub(crate) fn get(&self, id: u16) -> Option<&'static Record> {
        // SAFETY: null, or a record that lives until its number is taken out of the table.
        unsafe { self.table.get(usize::from(id))?.load(Ordering::Acquire).as_ref() }
    }

    /// The first cache at or after `id`, and its number.
    pub(crate) fn walk(&self, irq_off: IrqOff<'_>, from: usize) -> Option<(usize, Walked)> {
        let used = self.used.lock(irq_off);
        (from..*used).find_map(|id| {
            let record = self.get(id as u16)?;
            record.walkers.fetch_add(1, Relaxed);
            Some((id, Walked(record)))
        })
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
        let checks = if spec.lifecycle.is_some() { checks.without_poison() } else { checks };
        let shape = Shape::new(spec.size, spec.align, checks.margins())?;
        let bytes = Record::bytes(config.nodes);
        let cell = cells.alloc(memory, pinned, bytes, AllocClass::Normal).ok_or(SpecError::NoMemory)?;
        let setup = Setup {
            name: Name::new(spec.name),
            id: 0,
            class: spec.class,
            ceiling: spec.ceiling,
            lifecycle: spec.lifecycle,
            checks,
            cpus: config.cpus,
            nodes: config.nodes,
        };
        let guard = memory.machine().irq_off();
        let mut used = self.used.lock(guard.irq_off());
        let Some(id) = self.table.iter().position(|entry| entry.load(Relaxed).is_null()) else {
            drop(used);
            // SAFETY: the cell was taken just now.
            unsafe { cells.free(memory, pinned, cell, bytes) };
            return Err(SpecError::TooManyCaches);
        };
        // SAFETY: the cell was taken just now, with this size.
        let record = unsafe { Record::place(cell, self.lines, shape, Setup { id: id as u16, ..setup }) };
        self.table[id].store(core::ptr::from_ref(record).cast_mut(), Ordering::Release);
        *used = (*used).max(id + 1);
        Ok(record)
    }

    /// Takes a cache out of the table and waits until nobody walks through it.
    pub(crate) fn retire<M: Machine>(&self, memory: &Memory<M>, record: &Record) {
        {
            let guard = memory.machine().irq_off();
            let _used = self.used.lock(guard.irq_off());
            self.table[usize::from(record.setup.id)].store(core::ptr::null_mut(), Relaxed);
        }
        while record.walkers.load(Ordering::Acquire) != 0 {
            crate::sync::relax();
        }
    }

    /// Puts a cache back that [`Registry::retire`] took out.
    pub(crate) fn restore<M: Machine>(&self, memory: &Memory<M>, record: &'static Record) {
        let guard = memory.machine().irq_off();
        let _used = self.used.lock(guard.irq_off());
        let entry = &self.table[usize::from(record.setup.id)];
        entry.store(core::ptr::from_ref(record).cast_mut(), Ordering::Release);
    }

    /// Gives up a cache that has no slabs and no magazines.
    pub(crate) fn forget<M: Machine>(
        &self,
        memory: &Memory<M>,
        cells: &Cells,
        pinned: Pinned<'_>,
        record: &'static Record,
    ) {
        self.retire(memory, record);
        let bytes = Record::bytes(record.setup.nodes);
        // SAFETY: `make` took the cell with this size; the record is in no table, and its last user is the caller.
        unsafe { cells.free(memory, pinned, record.cell(), bytes) };
    }
}

const _: () = assert!(core::mem::size_of::<Checks>() <= 2);
