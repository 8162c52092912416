//! Which slots of one CPU are open, and which its TLB may still know.
//!
//! ```text
//!   slots 0 ..................... 383 | 384 ... 415 | 416 ... 431 | 432 ............... 510 | 511
//!         a caller's first window     | its second  | its third   | of a writer of tables   | never a window
//! ```
//!
//! Windows nest, and the innermost closes first. So each depth has a ring of slots of its own, of which one at most is
//! open, and a ring's slots are used in turn: those before `next` are *spent*, which means that the TLB may know them.
//! When a ring is used up the CPU flushes, and the ring begins anew, as do the rings of greater depths. The rings of
//! outer windows go on where they were: the TLB learns their open slots anew after the flush.
//!
//! Written by its CPU alone, with interrupts off: plain loads and stores, atomics only so that other CPUs may read the
//! counters.

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::WindowCounters;
use crate::planted::{self, Fault};

/// Slots of a CPU: entries of one page table.
pub const SLOTS: usize = 512;

/// The slot that no window uses: a kernel may show a CPU there the table of its windows.
pub const KEPT_SLOT: usize = SLOTS - 1;

/// Windows that a caller may have open at once. Copying from one frame to another takes two, and an exception that
/// comes meanwhile may want one.
pub const DEPTH: usize = 3;

/// Slots that callers use in turn while they have no other window open.
pub const RING: usize = RINGS[0].end;

/// The ring of writers of tables: they write entries and call nothing meanwhile, so one slot is open at most.
const TABLES: usize = DEPTH;

const RINGS: [Range<usize>; DEPTH + 1] = [0..384, 384..416, 416..432, 432..KEPT_SLOT];

/// The opener of a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// A caller, at the next depth.
    Caller,
    /// A writer of tables.
    Tables,
}

/// One CPU's slots.
#[derive(Debug)]
#[repr(align(64))]
pub struct CpuSlots {
    /// The first slot of each ring that is not spent.
    next: [AtomicU64; DEPTH + 1],
    /// Callers' windows that are open.
    depth: AtomicU64,
    /// Tables' windows that are open: 0 or 1.
    tables: AtomicU64,
    opened: AtomicU64,
    wraps: AtomicU64,
}

impl CpuSlots {
    /// Returns slots that are all clean.
    pub const fn new() -> Self {
        let [first, second, third, tables] = RINGS;
        Self {
            next: [
                AtomicU64::new(first.start as u64),
                AtomicU64::new(second.start as u64),
                AtomicU64::new(third.start as u64),
                AtomicU64::new(tables.start as u64),
            ],
            depth: AtomicU64::new(0),
            tables: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            wraps: AtomicU64::new(0),
        }
    }

    /// Opens a slot that is not spent; `flush` drops from the TLB what this CPU knows of windows. `None` where the
    /// caller has as many open as it may.
    #[inline]
    pub(crate) fn open(&self, place: Place, flush: impl FnOnce()) -> Option<usize> {
        let (ring, open) = match place {
            Place::Caller => (self.depth.load(Relaxed) as usize, &self.depth),
            Place::Tables if self.tables.load(Relaxed) == 0 => (TABLES, &self.tables),
            Place::Tables => return None,
        };
        if place == Place::Caller && ring >= DEPTH {
            return None;
        }
        if self.next[ring].load(Relaxed) as usize >= RINGS[ring].end {
            if !planted::is(Fault::WrapWithoutFlush) {
                flush();
            }
            self.begin_anew(ring);
        }
        let slot = self.next[ring].load(Relaxed);
        self.next[ring].store(slot + 1, Relaxed);
        add(open, 1);
        add(&self.opened, 1);
        Some(slot as usize)
    }

    /// Closes the innermost window of `place`, whose entry is clear. The TLB may still know it.
    #[inline]
    pub(crate) fn close(&self, place: Place) {
        let open = match place {
            Place::Caller => &self.depth,
            Place::Tables => &self.tables,
        };
        open.store(open.load(Relaxed).saturating_sub(1), Relaxed);
    }

    /// Makes the slots of the ring clean after this CPU's flush, and those of the rings of greater depths, in which
    /// none is open.
    #[cold]
    fn begin_anew(&self, ring: usize) {
        let last = if ring == TABLES { TABLES } else { DEPTH - 1 };
        for (next, slots) in self.next.iter().zip(&RINGS).take(last + 1).skip(ring) {
            next.store(slots.start as u64, Relaxed);
        }
        add(&self.wraps, 1);
    }

    pub(crate) fn is_open(&self, slot: usize) -> bool {
        let Some(ring) = RINGS.iter().position(|ring| ring.contains(&slot)) else { return false };
        let is_open = if ring == TABLES {
            self.tables.load(Relaxed) > 0
        } else {
            self.depth.load(Relaxed) > ring as u64
        };
        is_open && self.next[ring].load(Relaxed) == slot as u64 + 1
    }

    pub(crate) fn add_to(&self, sum: &mut WindowCounters) {
        sum.opened += self.opened.load(Relaxed);
        sum.wraps += self.wraps.load(Relaxed);
        sum.open += self.depth.load(Relaxed) + self.tables.load(Relaxed);
    }
}

impl Default for CpuSlots {
    fn default() -> Self {
        Self::new()
    }
}

fn add(count: &AtomicU64, more: u64) {
    count.store(count.load(Relaxed) + more, Relaxed);
}
