//! What the pool stands on, and whose locks it takes.

use rhumb_directmap::{DirectMap, Rules};
use rhumb_frames::{Frame, Frames, Unmapped};
use rhumb_machine::{CpuMask, Machine, Pinned};
use rhumb_pagetable::TableMemory;
use rhumb_pagetable::flush::Flushed;

use crate::pool::shelf::Shelf;
use crate::windows::copy::CopyError;

/// The pool's surroundings. In a kernel: a unit struct before statics.
///
/// The pool holds one of the two locks at a time, and calls nothing else of its home meanwhile but [`Home::frames`], of
/// which it reads descriptors only.
pub trait Home: Sync {
    /// The machine of the allocator.
    type Machine: Machine;
    /// The map's tables.
    type Tables: TableMemory;
    /// The map's rules.
    type Rules: Rules;

    /// Where blocks come from and go to. It has descriptors ([`Frames::with_descriptors`]).
    fn frames(&self) -> &Frames<Self::Machine>;

    /// Runs `act` with the map's lock held.
    fn with_map<A>(&self, act: impl FnOnce(&mut DirectMap<Self::Tables, Self::Rules>) -> A) -> A;

    /// The same where the lock is free now; else `None`. Called by the allocator for want of memory, perhaps under that
    /// very lock.
    fn try_with_map<A>(&self, act: impl FnOnce(&mut DirectMap<Self::Tables, Self::Rules>) -> A) -> Option<A>;

    /// Runs `act` with the shelf's lock held, interrupts off.
    fn with_shelf<A>(&self, act: impl FnOnce(&mut Shelf) -> A) -> A;

    /// The same where the lock is free now; else `None`.
    fn try_with_shelf<A>(&self, act: impl FnOnce(&mut Shelf) -> A) -> Option<A>;

    /// Clears a frame that is out of the map: [`crate::windows::Windows::zero`].
    ///
    /// # Errors
    /// This CPU has no window. The frame stays out then, and the taker's.
    fn zero(&self, frame: &mut Frame<Unmapped>) -> Result<(), CopyError>;

    /// The CPUs that may have cached the map.
    fn flush_targets(&self) -> CpuMask {
        CpuMask::first(self.frames().machine().cpu_count())
    }

    /// Counts a flush that the pool has made. Called for each, with no lock held.
    fn note_flush(&self, flushed: &Flushed) {
        let _ = flushed;
    }

    /// Makes 2-MiB blocks whole by moving frames ([`Frames::compact`]), and says how many. Called with no lock held.
    fn compact(&self, pinned: Pinned<'_>) -> u64 {
        let _ = pinned;
        0
    }
}
