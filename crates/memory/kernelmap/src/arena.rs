//! [`Arena`]: ranges of units out of spans, in constant time. A unit is a number; the kernel map is to take blocks of
//! 2 MiB of addresses for units, so that each last-level page table has one owner.
//!
//! ```text
//!   alloc, free ──> CpuCache: 1..=16 units, this CPU's alone ──batch──> Lock<Ranges>
//!                                                                        │ bins: free ranges by size
//!                                                                        │ tags: all ranges by address
//!                                                                        └ stock ──> rhumb_slab: more tags
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `arena` | [`Arena`]: making it, the common path |
//! | `refill` | the slow paths: refill, drain, requests to other CPUs |
//! | `walk`, `cursor`; `validate`; `report` | ranges one by one; the check of all structures; [`ArenaReport`] |
//! | `cpu` | a CPU's cache of common sizes |
//! | `ranges` | dividing and merging, under the lock |
//! | `bins`, `class` | free ranges by size; size classes |
//! | `stock`, `tag` | spare tags; boundary tags |
//! | `held`, `units`, `error` | [`HeldRange`]; [`Units`], [`Fit`]; [`ArenaError`] |
//! | `storage` | tables in memory that the caller lends |
//!
//! # Theory
//! 1. **Constant time.** A free range is found by two searches for a bit; it is divided, and merged with its neighbours
//!    again, through its boundary tags. Neither an allocation nor a free walks, however many ranges there are.
//! 2. **The common path belongs to the CPU.** A range of 1 to 16 units comes from the CPU's cache and returns there: no
//!    lock, no locked operation, no line that another CPU writes. A visit to the lock moves up to half of what the CPU
//!    may keep of the size.
//! 3. **A free cannot fail.** A range's tag exists as long as the range does. A free merges tags away and makes none;
//!    an allocation takes the tags that it needs before it divides anything, or fails and leaves all as it was (I12).
//! 4. **No recursion** (I10). Tags are objects of the slab allocator, which takes its memory from the direct map. Tags
//!    are allocated and freed with no lock held.
//! 5. **Memory that waits comes back.** A request that finds no range empties this CPU's cache, asks the others, and
//!    tries again. A request for which the slab allocator has no tag fails at once.
//!
//! Locking: one lock, a leaf, taken with interrupts off for a constant number of steps.
//!
//! Sources: Bonwick and Adams, *Magazines and Vmem* (USENIX 2001): arenas, quantum caches, boundary tags; Masmano and
//! others, *TLSF* (ECRTS 2004): two levels of size classes.
//!
//! Why not a tree of free ranges, as Linux has: each operation takes some 20 steps at 10^6 ranges, in lines that other
//! CPUs have written. Why not best fit: it must look at ranges; the class that certainly fits is known by its number.

mod bins;
mod class;
mod cpu;
mod cursor;
mod error;
mod held;
mod ranges;
mod refill;
mod report;
mod stock;
mod storage;
mod tag;
mod units;
pub(crate) mod validate;
mod walk;

use core::sync::atomic::AtomicU32;

use rhumb_machine::{CpuId, IrqGuard, IrqOff, MAX_CPUS, Machine, Pinned};
use rhumb_slab::Cache;
use rhumb_sync::atomic::{AtomicU32 as SharedU32, Relaxed};
use rhumb_sync::{Guard, Keepers, Lock};

pub use error::ArenaError;
pub use held::{Foreign, HeldRange};
pub use ranges::MOST_SPANS;
pub use report::ArenaReport;
pub use tag::Tag;
pub use units::{Fit, MOST_UNITS, Units};
pub use validate::ArenaInconsistency;
pub use walk::{RangePlace, RangeReport};

use cpu::CpuCache;
use held::Brand;
use ranges::Ranges;
use tag::TagRef;

/// Units that a CPU keeps, at most; less where the arena is small for its CPUs.
const MOST_CPU_UNITS: u32 = 2048;

/// All CPUs together keep at most one in this many units, so that most of a small arena is free for any CPU.
const KEPT_SHARE: u64 = 8;

/// The numbers of all arenas of a program so far.
static BRANDS: AtomicU32 = AtomicU32::new(0);

/// How much memory an arena's tables take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArenaLayout {
    cpus: usize,
}

impl ArenaLayout {
    /// Plans the tables for a machine of `cpus` CPUs.
    ///
    /// # Errors
    /// [`ArenaError::BadMachine`].
    pub const fn new(cpus: usize) -> Result<Self, ArenaError> {
        if cpus >= 1 && cpus <= MAX_CPUS { Ok(Self { cpus }) } else { Err(ArenaError::BadMachine) }
    }

    /// Returns how many bytes the tables take: 10 KiB, and 4 KiB for each CPU.
    pub const fn storage_bytes(self) -> usize {
        storage::bytes(self.cpus)
    }
}

/// The lock, on lines of its own: the fields beside it are read on every common path.
#[repr(align(64))]
struct Shared(Lock<Ranges>);

/// Ranges of units. See the [module](self).
pub struct Arena<M: Machine + 'static> {
    tags: &'static Cache<Tag, M>,
    machine: &'static M,
    ranges: Shared,
    caches: &'static [CpuCache],
    keepers: Keepers,
    brand: Brand,
    /// Units that a CPU may keep.
    cap: SharedU32,
}

impl<M: Machine> Arena<M> {
    /// Makes an arena with no units yet. Its tags come from `tags`, a cache that interrupt handlers may use if they use
    /// the arena. `memory` is lent for the tables, and may hold anything.
    ///
    /// # Errors
    /// [`ArenaError::StorageTooSmall`], or [`ArenaError::BadMachine`] past the 2^32 - 1 first arenas of a program.
    pub fn new(
        layout: ArenaLayout,
        tags: &'static Cache<Tag, M>,
        memory: &'static mut [u64],
    ) -> Result<Self, ArenaError> {
        let tables = storage::Tables::place(memory, layout.cpus)?;
        let more = |brand: u32| brand.checked_add(1);
        let brand = BRANDS.fetch_update(Relaxed, Relaxed, more).map_err(|_| ArenaError::BadMachine)?;
        Ok(Self {
            tags,
            machine: tags.raw().slabs().machine(),
            ranges: Shared(Lock::new(Ranges::new(tables.bins))),
            caches: tables.caches,
            keepers: tables.keepers,
            brand: Brand(brand),
            cap: SharedU32::new(0),
        })
    }

    /// Adds a span of units to hand out, which overlaps no other. Ranges do not cross from one span to the next.
    ///
    /// # Errors
    /// [`ArenaError::BadSpan`], [`ArenaError::NoTag`]; nothing has changed then.
    pub fn add_span(&self, pinned: Pinned<'_>, span: Units) -> Result<(), ArenaError> {
        let mut tags = self.new_tags(pinned, 1, 1)?;
        let (result, excess) = {
            let mut ranges = self.lock();
            ranges.stock.add(&mut tags);
            let result = ranges.add_span(span);
            if result.is_ok() {
                let share = ranges.total_units / (KEPT_SHARE * self.caches.len().max(1) as u64);
                self.cap.store(share.min(u64::from(MOST_CPU_UNITS)) as u32, Relaxed);
            }
            (result, ranges.excess_tags())
        };
        self.end_tags(pinned, excess);
        result
    }

    /// Sets how many units each CPU may keep, at most 2,048, and returns how many it could keep before.
    /// [`Arena::add_span`] sets it to the CPU's share of an eighth of all units. All CPUs give back their ranges, as
    /// for [`Arena::reclaim`], and then keep ranges anew. With 0, every operation visits the lock.
    pub fn set_cpu_units(&self, pinned: Pinned<'_>, units: u32) -> u32 {
        let before = self.cap.swap(units.min(MOST_CPU_UNITS), Relaxed);
        self.reclaim(pinned);
        before
    }

    /// Takes a range that fits.
    ///
    /// # Errors
    /// [`ArenaError::Exhausted`], [`ArenaError::NoTag`]; nothing has changed then, but for CPUs that were asked for the
    /// ranges that they keep.
    ///
    /// Cost: up to 16 units and without an alignment, some plain instructions, and a visit to the lock for each half of
    /// the ranges that the CPU may keep. Else a visit to the lock.
    #[inline]
    pub fn alloc(&self, pinned: Pinned<'_>, fit: Fit) -> Result<HeldRange, ArenaError> {
        if fit.is_anywhere()
            && CpuCache::keeps(fit.units())
            && let Some(tag) = self.cache(self.cpu(pinned)).and_then(|cache| cache.pop(fit.units()))
        {
            return Ok(self.held(tag, fit.units()));
        }
        self.alloc_slow(pinned, fit).map(|tag| self.held(tag, fit.units()))
    }

    /// Gives a range back. It needs no memory.
    ///
    /// # Errors
    /// The range, where it is of another arena.
    ///
    /// Cost: as [`Arena::alloc`].
    #[inline]
    pub fn free(&self, pinned: Pinned<'_>, range: HeldRange) -> Result<(), Foreign> {
        if range.brand != self.brand {
            return Err(Foreign(range));
        }
        let (tag, units) = (range.tag, u64::from(range.kept_units));
        if units == 0 || !self.cache(self.cpu(pinned)).is_some_and(|cache| cache.push(tag, units)) {
            self.free_slow(pinned, tag);
        }
        Ok(())
    }

    /// Tells whether the arena handed the range out.
    #[inline]
    pub fn is_of(&self, range: &HeldRange) -> bool {
        range.brand == self.brand
    }

    #[inline(always)]
    fn held(&self, tag: TagRef, units: u64) -> HeldRange {
        let kept_units = if CpuCache::keeps(units) { units as u32 } else { 0 };
        HeldRange { tag, brand: self.brand, kept_units }
    }

    /// Returns the machine.
    pub const fn machine(&self) -> &'static M {
        self.machine
    }

    /// Returns the CPU that the token proves.
    #[inline(always)]
    fn cpu(&self, pinned: Pinned<'_>) -> CpuId {
        self.machine().cpu_of(pinned)
    }

    /// Returns the cache of a CPU.
    #[inline(always)]
    fn cache(&self, cpu: CpuId) -> Option<&'static CpuCache> {
        self.caches.get(cpu.index())
    }

    /// Takes the lock.
    fn lock(&self) -> Guard<'_, Ranges, IrqGuard<'static, M>> {
        self.ranges.0.lock(self.machine().irq_off())
    }

    /// Takes the lock where interrupts are off already.
    fn lock_off<'a>(&'a self, irq_off: IrqOff<'a>) -> Guard<'a, Ranges, IrqOff<'a>> {
        self.ranges.0.lock(irq_off)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod failing;
#[cfg(all(test, any(loom, shuttle)))]
#[path = "arena/tests/models.rs"]
mod models;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
