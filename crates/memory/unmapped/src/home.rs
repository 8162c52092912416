//! The ground under the pool, and the locks that it takes.

#![expect(unsafe_code, reason = "declares an unsafe trait")]

use rhumb_directmap::{DirectMap, OwnerId, Rules};
use rhumb_frames::{Frame, Frames, Unmapped};
use rhumb_machine::{FirstCpus, Pinned, Tlb};
use rhumb_pagetable::TableMemory;
use rhumb_pagetable::flush::{FlushStats, Rounds};

use crate::block_lists::BlockLists;
use rhumb_windows::error::CopyError;

/// The pool's surroundings. In a kernel: a unit struct before statics.
///
/// The pool holds one of the two locks at a time, and calls nothing else of its home meanwhile but [`Home::frames`], of
/// which it reads and writes descriptors only.
///
/// # Safety
/// The pool changes the type of frames by what its home says, so an implementation promises:
/// - All methods lead to the same things for as long as the value and its copies live: one allocator, and the one
///   direct map that shows this allocator's frames to the machine's CPUs.
/// - The lists are exclusively this allocator's: no other home with other lists leads to the allocator, and nothing but
///   the pool calls [`Home::with_lists`] and [`Home::try_with_lists`], or reaches the lists in another way.
/// - [`Home::map_owner`] is exclusively the pool's: nothing else changes, leaves or adopts frames in its name.
/// - [`Home::zero`] answers `Ok` only where all of the frame is zero.
/// - [`Home::flush_targets`] names every CPU that may have cached a translation of the map, but for those that begin to
///   use the map after the call.
///
/// ```compile_fail,E0200
/// use rhumb_unmapped::Home;
/// fn lies<M: rhumb_machine::Machine>() {
///     struct Lies;
///     impl Home for Lies {}
/// }
/// ```
pub unsafe trait Home: Sync {
    /// The machine of the allocator.
    type Machine: Tlb;
    /// The map's tables.
    type Tables: TableMemory;
    /// The map's rules.
    type Rules: Rules;

    /// Returns the allocator of the blocks. It has descriptors ([`Frames::with_descriptors`]).
    fn frames(&self) -> &Frames<Self::Machine>;

    /// Runs `act` with the map's lock held.
    fn with_map<A>(&self, act: impl FnOnce(&mut DirectMap<Self::Tables, Self::Rules>) -> A) -> A;

    /// Runs `act` as [`Home::with_map`] does where the lock is free now; else returns `None`. The allocator calls it
    /// when memory is short, perhaps on a CPU that holds that very lock.
    fn try_with_map<A>(&self, act: impl FnOnce(&mut DirectMap<Self::Tables, Self::Rules>) -> A) -> Option<A>;

    /// Runs `act` with the lock of the block lists held, interrupts off.
    fn with_lists<A>(&self, act: impl FnOnce(&mut BlockLists) -> A) -> A;

    /// Runs `act` as [`Home::with_lists`] does where the lock is free now; else returns `None`.
    fn try_with_lists<A>(&self, act: impl FnOnce(&mut BlockLists) -> A) -> Option<A>;

    /// Returns the owner as which the pool is in the map's journal. [`crate::UnmappedPool::owner_of`] tells the account
    /// of a block.
    fn map_owner(&self) -> OwnerId;

    /// Clears a frame that is out of the map, of any order: [`rhumb_windows::Windows::zero`].
    ///
    /// # Errors
    /// This CPU has no window. The frame stays out then, and the taker's.
    fn zero(&self, frame: &mut Frame<Unmapped>) -> Result<(), CopyError>;

    /// Returns the CPUs that may have cached the map.
    fn flush_targets(&self) -> FirstCpus {
        self.frames().machine().flush_targets()
    }

    /// Returns the rounds in which blocks are flushed together with changes by other CPUs: on those that the machine names
    /// ([`Tlb::flush_targets`]). Where there are none, on the home's [targets](Home::flush_targets), alone.
    fn rounds(&self) -> Option<&Rounds> {
        None
    }

    /// Returns the wait for a round that another CPU makes: called again and again, it lets time pass as
    /// [`Home::relax`] does.
    fn wait_for_round(&self) -> impl FnMut() {
        || self.relax()
    }

    /// Counts a flush that the pool has made. Called for each, with no lock held.
    fn note_flush(&self, flushed: FlushStats) {
        let _ = flushed;
    }

    /// Lets time pass while another CPU does what this one waits for; called again and again. In a kernel in which CPUs
    /// call each other: answers such calls.
    fn relax(&self) {
        core::hint::spin_loop();
    }

    /// Makes 2-MiB blocks whole by moving frames ([`Frames::compact`]), and says how many. Called with no lock held.
    fn compact(&self, pinned: Pinned<'_>) -> u64 {
        let _ = pinned;
        0
    }
}
