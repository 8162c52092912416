//! [`ArenaReport`]: the arena's counts.

use rhumb_machine::Machine;

use super::Arena;

/// The counts of an arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArenaReport {
    /// Units of all spans.
    pub total_units: u64,
    /// Units that any request can have.
    pub free_units: u64,
    /// Units in the caches of CPUs, a glimpse while these run.
    pub kept_units: u64,
    /// Ranges that are held or in the caches of CPUs.
    pub ranges_out: u64,
}

impl ArenaReport {
    /// Returns how many units are held.
    pub const fn held_units(&self) -> u64 {
        self.total_units.saturating_sub(self.free_units).saturating_sub(self.kept_units)
    }
}

impl<M: Machine> Arena<M> {
    /// Returns the counts.
    ///
    /// Cost: a hold of the lock, and a line of each CPU that keeps ranges.
    pub fn report(&self) -> ArenaReport {
        let caches = self.keepers.iter().filter_map(|cpu| self.cache(cpu));
        let kept_units = caches.map(|cache| u64::from(cache.units())).sum();
        let ranges = self.lock();
        ArenaReport {
            total_units: ranges.total_units,
            free_units: ranges.free_units,
            kept_units,
            ranges_out: ranges.out,
        }
    }
}
