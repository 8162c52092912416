//! [`Ring`]: the areas that a CPU has given back, and that wait for a flush, oldest first.

use rhumb_machine::Pfn;
use rhumb_sync::Lock;

use super::area::AreaKind;
use super::flushes::Reach;
use crate::arena::HeldRange;

/// Areas that wait with one CPU, at most. With the lazy policy, a CPU makes a full flush for so many areas.
pub(super) const MOST_WAITING: usize = 128;

/// An area that was given back: its entries are hidden.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) held: HeldRange,
    pub(super) pages: u64,
    pub(super) stamp: u64,
    pub(super) level: u8,
    pub(super) kind: AreaKind,
    pub(super) reach: Reach,
    /// The table of the first entry.
    pub(super) table: Pfn,
}

/// See the module.
pub(super) struct Ring {
    areas: [Option<Waiting>; MOST_WAITING],
    first: usize,
    len: usize,
    /// Pages of all areas that wait.
    pages: u64,
    /// Areas whose tables wait.
    with_tables: u32,
}

impl Ring {
    pub(super) const fn new() -> Self {
        Self { areas: [const { None }; MOST_WAITING], first: 0, len: 0, pages: 0, with_tables: 0 }
    }

    /// Adds the newest area.
    ///
    /// # Errors
    /// The area, where the ring is full.
    pub(super) fn push(&mut self, waiting: Waiting) -> Result<(), Waiting> {
        let last = (self.first + self.len) % MOST_WAITING;
        match self.areas.get_mut(last).filter(|_| self.len < MOST_WAITING) {
            Some(place) => {
                self.pages += waiting.pages;
                self.with_tables += u32::from(waiting.reach == Reach::All);
                self.len += 1;
                *place = Some(waiting);
                Ok(())
            }
            None => Err(waiting),
        }
    }

    /// Takes the oldest area, if there is one that `is_ripe`.
    pub(super) fn pop(&mut self, is_ripe: impl FnOnce(&Waiting) -> bool) -> Option<Waiting> {
        self.oldest().filter(|oldest| is_ripe(oldest))?;
        let oldest = self.areas.get_mut(self.first)?.take()?;
        self.first = (self.first + 1) % MOST_WAITING;
        self.len -= 1;
        self.pages -= oldest.pages;
        self.with_tables -= u32::from(oldest.reach == Reach::All);
        Some(oldest)
    }

    /// Returns the oldest area.
    pub(super) fn oldest(&self) -> Option<&Waiting> {
        self.areas.get(self.first)?.as_ref()
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) const fn pages(&self) -> u64 {
        self.pages
    }

    /// Returns the reach of a flush after which none of the areas waits.
    pub(super) const fn reach(&self) -> Reach {
        if self.with_tables > 0 { Reach::All } else { Reach::Running }
    }
}

/// A CPU's ring, on lines of its own. Its CPU takes the lock for each area that it gives back; other CPUs take it only
/// where memory is short.
#[repr(align(64))]
pub(super) struct CpuRing(pub(super) Lock<Ring>);

impl CpuRing {
    pub(super) fn new() -> Self {
        Self(Lock::new(Ring::new()))
    }
}
