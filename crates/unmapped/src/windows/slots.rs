//! Which slots of one CPU are held and which are spent: 512 bits each.
//!
//! A slot is *spent* from its opening until the flush that follows its closing. The next to be used is the lowest that
//! is not spent, so slots are used in turn. One that is held over a flush stays spent until the next: it goes on being
//! used after the first.
//!
//! Written by its CPU alone, with interrupts off: plain loads and stores, atomics only so that other CPUs may read the
//! counters.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::windows::WindowCounters;

/// Slots of a CPU: entries of one page table.
pub const SLOTS: usize = 512;

/// Slots at the end that only code with interrupts off may use. One would do for the copying functions, which hold one
/// at a time; a handler that copies from one frame to another holds two, and handlers of handlers more.
pub const RESERVED: usize = 16;

const WORDS: usize = SLOTS / 64;

/// Of the last word, the slots that all may use.
const LAST_OF_RING: u64 = u64::MAX >> RESERVED;

/// Which slots may be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// All but the reserve.
    Ring,
    /// The reserve, too, when the others are held.
    Anywhere,
}

/// One CPU's slots.
#[derive(Debug)]
#[repr(align(64))]
pub struct CpuSlots {
    held: [AtomicU64; WORDS],
    spent: [AtomicU64; WORDS],
    opened: AtomicU64,
    wraps: AtomicU64,
    single_flushes: AtomicU64,
    kept: AtomicU64,
}

impl CpuSlots {
    /// All clean.
    pub const fn new() -> Self {
        Self {
            held: [const { AtomicU64::new(0) }; WORDS],
            spent: [const { AtomicU64::new(0) }; WORDS],
            opened: AtomicU64::new(0),
            wraps: AtomicU64::new(0),
            single_flushes: AtomicU64::new(0),
            kept: AtomicU64::new(0),
        }
    }

    /// A slot that is not spent: held and spent from now on.
    pub(crate) fn take(&self, place: Place) -> Option<usize> {
        for (at, spent) in self.spent.iter().enumerate() {
            let usable = match place {
                Place::Ring if at == WORDS - 1 => LAST_OF_RING,
                _ => u64::MAX,
            };
            let clean = !spent.load(Relaxed) & usable;
            if clean != 0 {
                let bit = clean & clean.wrapping_neg();
                set(spent, bit);
                set(&self.held[at], bit);
                add_one(&self.opened);
                return Some(at * 64 + bit.trailing_zeros() as usize);
            }
        }
        None
    }

    /// Closed, but still in the TLB perhaps.
    pub(crate) fn release(&self, slot: usize) {
        if let Some(held) = self.held.get(slot / 64) {
            clear(held, 1 << (slot % 64));
        }
    }

    /// Closed and flushed.
    pub(crate) fn release_clean(&self, slot: usize) {
        self.release(slot);
        if let Some(spent) = self.spent.get(slot / 64) {
            clear(spent, 1 << (slot % 64));
        }
        add_one(&self.single_flushes);
    }

    /// Keeps a slot for good: nobody gets it by opening a window, and its entry is whoever's that asked.
    ///
    /// Before the CPU opens its first window.
    pub fn keep(&self, slot: usize) {
        if let (Some(held), Some(spent)) = (self.held.get(slot / 64), self.spent.get(slot / 64)) {
            set(held, 1 << (slot % 64));
            set(spent, 1 << (slot % 64));
            add_one(&self.kept);
        }
    }

    /// This CPU has flushed: what is not held is clean.
    pub(crate) fn wrap(&self) {
        for (held, spent) in self.held.iter().zip(&self.spent) {
            spent.store(held.load(Relaxed), Relaxed);
        }
        add_one(&self.wraps);
    }

    pub(crate) fn is_held(&self, slot: usize) -> bool {
        self.held.get(slot / 64).is_some_and(|word| word.load(Relaxed) & 1 << (slot % 64) != 0)
    }

    pub(crate) fn is_spent(&self, slot: usize) -> bool {
        self.spent.get(slot / 64).is_some_and(|word| word.load(Relaxed) & 1 << (slot % 64) != 0)
    }

    pub(crate) fn add_to(&self, sum: &mut WindowCounters) {
        sum.opened += self.opened.load(Relaxed);
        sum.wraps += self.wraps.load(Relaxed);
        sum.single_flushes += self.single_flushes.load(Relaxed);
        let held: u64 = self.held.iter().map(|word| u64::from(word.load(Relaxed).count_ones())).sum();
        sum.held += held - self.kept.load(Relaxed);
    }
}

impl Default for CpuSlots {
    fn default() -> Self {
        Self::new()
    }
}

fn set(word: &AtomicU64, bits: u64) {
    word.store(word.load(Relaxed) | bits, Relaxed);
}

fn clear(word: &AtomicU64, bits: u64) {
    word.store(word.load(Relaxed) & !bits, Relaxed);
}

fn add_one(count: &AtomicU64) {
    count.store(count.load(Relaxed) + 1, Relaxed);
}
