//! The lines of all caches, by CPU. A leaf where `unsafe` lives.
//!
//! ```text
//!   table:          | CPU 0: * | CPU 1: * | ... |
//!   a CPU's lines:  | of cache 0 | of cache 1 | ... |
//! ```
//! The lines of all caches lie together, by CPU and number of the cache, so that an allocation by size finds its line
//! without a look at the record. A CPU makes its lines when it first needs one, so that they lie on its own node and a
//! CPU that never comes up has none. Until then the table leads to lines that are closed: nothing can be taken from
//! them, and they have no room, so that each operation goes the slow way, and the common path need not look. All CPUs
//! share the closed lines: an operation changes only whether their gate is busy, which sends another CPU the slow way,
//! too.
//!
//! While the caches are traced, the table leads all CPUs to the closed lines, so that each operation goes the slow way,
//! which tells of it: the common path has no test for that. The slow way finds a CPU's lines in a second table.
//!
//! The tables are a part of [`Slabs`](crate::Slabs), with a place for each CPU that a machine can have. Were they in memory
//! of its own, the common path would wait for one more load: a pair took a fifth longer then.

use core::ptr::NonNull;

use rhumb_machine::{CpuId, MAX_CPUS};

use crate::line::CpuLine;
use rhumb_sync::atomic::{Acquire, AtomicBool, AtomicPtr, Relaxed, SeqCst};

/// The most caches.
pub(crate) const MAX_CACHES: usize = if rhumb_sync::atomic::IS_MODELLED { 128 } else { 256 };
/// The CPUs that the table has room for: all that there can be, or those of a model checker.
const CPUS: usize = if rhumb_sync::atomic::IS_MODELLED { 4 } else { MAX_CPUS };

/// The place of a cache's line among the lines of a CPU: in bytes, so that the common path need not multiply.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(Offset);

#[cfg(not(any(loom, shuttle)))]
type Offset = u16;
/// A model checker's lines are longer.
#[cfg(any(loom, shuttle))]
type Offset = u32;

impl Place {
    /// Returns the place of the cache with this number, which is below [`MAX_CACHES`].
    pub(crate) const fn of(cache: usize) -> Self {
        assert!(cache < MAX_CACHES);
        Self((cache * size_of::<CpuLine>()) as Offset)
    }

    /// Returns the number of the cache.
    #[inline(always)]
    pub(crate) const fn cache(self) -> usize {
        self.0 as usize / size_of::<CpuLine>()
    }
}

/// The lines of all caches, [`MAX_CACHES`] for each CPU that has needed one.
pub(crate) struct Lines {
    /// The first line of each CPU for the common path: its own, or the closed one.
    table: [AtomicPtr<CpuLine>; CPUS],
    /// The first line of each CPU: the closed one where the CPU has none.
    own: [AtomicPtr<CpuLine>; CPUS],
    is_traced: AtomicBool,
    /// The first line of a CPU that has none.
    closed: NonNull<CpuLine>,
}

// SAFETY: `Lines` leads to lines that live as long as the allocator, and `CpuLine`, which consists of atomics, may be
// reached from every CPU.
unsafe impl Sync for Lines {}
// SAFETY: the lines belong to no CPU as memory, so pointers to them may move to another one.
unsafe impl Send for Lines {}

/// Returns the first of [`MAX_CACHES`] lines that are closed: nothing is in them, and they have no room.
#[cfg(not(any(loom, shuttle)))]
fn closed() -> NonNull<CpuLine> {
    static CLOSED: [CpuLine; MAX_CACHES] = [const { CpuLine::new() }; MAX_CACHES];
    NonNull::from_ref(&CLOSED).cast()
}

/// Returns such lines for one run of a model, whose atomics are not made at compile time.
#[cfg(any(loom, shuttle))]
fn closed() -> NonNull<CpuLine> {
    let lines: [_; MAX_CACHES] = core::array::from_fn(|_| CpuLine::new());
    NonNull::from_mut(std::boxed::Box::leak(std::boxed::Box::new(lines))).cast()
}

impl Lines {
    /// How many bytes the lines of one CPU take.
    pub(crate) const BYTES_OF_CPU: usize = MAX_CACHES * size_of::<CpuLine>();

    /// Makes the table of CPUs that have no lines yet.
    pub(crate) fn new() -> Self {
        let closed = closed();
        let table = || core::array::from_fn(|_| AtomicPtr::new(closed.as_ptr()));
        Self { table: table(), own: table(), is_traced: AtomicBool::new(false), closed }
    }

    /// Returns the first line of `cpu`, which is closed if the CPU has none.
    #[inline]
    pub(crate) fn first(&self, cpu: CpuId) -> NonNull<CpuLine> {
        self.first_in(&self.own, cpu)
    }

    #[inline(always)]
    fn first_in(&self, table: &[AtomicPtr<CpuLine>; CPUS], cpu: CpuId) -> NonNull<CpuLine> {
        let Some(first) = table.get(cpu.index()) else { return self.closed };
        // SAFETY: `new` and `open` store no null.
        unsafe { NonNull::new_unchecked(first.load(Acquire)) }
    }

    /// Returns the line of `cpu` of the cache with this place, for the common path; a closed one if the CPU has no lines
    /// yet, or the caches are traced.
    #[inline(always)]
    pub(crate) fn line_or_closed(&self, cpu: CpuId, place: Place) -> &CpuLine {
        self.line_at(self.first_in(&self.table, cpu), place)
    }

    /// Returns the line of a cache among those of the CPU whose first is `first`.
    #[inline(always)]
    fn line_at(&self, first: NonNull<CpuLine>, place: Place) -> &CpuLine {
        // SAFETY: `first` comes from a table: each CPU has a line for each number below `MAX_CACHES`, its own or a closed
        // one, which lives as long as the allocator.
        unsafe { first.byte_add(place.0 as usize).as_ref() }
    }

    /// Closes the common path, or opens it. One caller at a time.
    pub(crate) fn set_traced(&self, is_traced: bool) {
        self.is_traced.store(is_traced, SeqCst);
        for (common, own) in self.table.iter().zip(&self.own) {
            let own = own.load(SeqCst);
            if is_traced {
                common.store(self.closed.as_ptr(), SeqCst);
            } else if own != self.closed.as_ptr() {
                common.store(own, SeqCst);
            }
        }
    }

    /// Tells whether the common path is closed.
    #[inline(always)]
    pub(crate) fn is_traced(&self) -> bool {
        self.is_traced.load(Relaxed)
    }

    /// Returns the line of `cpu` of the cache with this place; `None` if the CPU has no lines yet.
    #[inline]
    pub(crate) fn line(&self, cpu: CpuId, place: Place) -> Option<&CpuLine> {
        self.has_lines(cpu).then(|| self.line_at(self.first(cpu), place))
    }

    /// Tells whether `cpu` has made its lines.
    #[inline]
    pub(crate) fn has_lines(&self, cpu: CpuId) -> bool {
        self.first(cpu) != self.closed
    }

    /// Gives `cpu` its lines in `memory`, or returns the memory where the CPU has lines by now.
    ///
    /// # Safety
    /// The memory is the caller's alone, is aligned to 64, and has [`Lines::BYTES_OF_CPU`]; where it is not returned,
    /// no code uses it otherwise as long as the allocator lives.
    pub(crate) unsafe fn open(&self, cpu: CpuId, memory: NonNull<u8>) -> Option<NonNull<u8>> {
        let Some(entry) = self.own.get(cpu.index()) else { return Some(memory) };
        let first = memory.cast::<CpuLine>();
        for cache in 0..MAX_CACHES {
            // SAFETY: the caller promises memory of its own for as many lines.
            unsafe { first.add(cache).write(CpuLine::new()) };
        }
        let opened = entry.compare_exchange(self.closed.as_ptr(), first.as_ptr(), SeqCst, Relaxed);
        if opened.is_err() {
            return Some(memory);
        }
        // The mark of tracing is read again after the store that it decides. Where it changes after that, `set_traced`
        // stores the entry anew, because it sees these lines.
        loop {
            let is_traced = self.is_traced.load(SeqCst);
            let common = if is_traced { self.closed.as_ptr() } else { first.as_ptr() };
            self.table[cpu.index()].store(common, SeqCst);
            if self.is_traced.load(SeqCst) == is_traced {
                return None;
            }
        }
    }

    /// Writes the lines of a new cache.
    ///
    /// # Safety
    /// No cache with this place lives.
    pub(crate) unsafe fn clear(&self, place: Place) {
        // A CPU that makes its lines meanwhile makes them as they are written here.
        for first in self.own.iter().map(|first| first.load(Acquire)) {
            if first != self.closed.as_ptr() {
                // SAFETY: a CPU has a line for each number below `MAX_CACHES`; no cache has this place, as the caller
                // promises, so no code uses its lines.
                unsafe { first.byte_add(place.0 as usize).write(CpuLine::new()) };
            }
        }
    }
}
