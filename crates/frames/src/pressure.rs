//! Watermarks, and whom to call when memory is short.
//!
//! Each pool keeps a reserve, `min`; `low` is a quarter above it and `high` a half. Below `high`, CPUs keep less to
//! themselves; below `low`, other zones and nodes are tried first, and [`Frames::is_short`] tells a background thread
//! to reclaim; at `min`, normal requests call the reclaimers themselves, and the other classes go on into the reserve.
//!
//! Before a request that may wait fails, what the other CPUs keep is called back ([`Recall`]): the one time that this
//! allocator has other CPUs interrupted, and the exception of invariant I2.

use rhumb_machine::{Machine, NodeId, Order, Pinned};

use crate::depot::Reach;
use crate::frame::Raw;
use crate::frames::Frames;
use crate::request::{Mobility, Request, Zone};
use crate::storage::Table;
use crate::sync::{AtomicUsize, Relaxed};

/// What is wanted of a reclaimer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shortage {
    /// The order of the request that cannot be served.
    pub order: Order,
    /// The zones that would serve it: this one and those below.
    pub ceiling: Zone,
    /// The kind of memory asked for.
    pub kind: Mobility,
}

/// Gives frames back on demand: the slab's empty slabs, the page cache's clean pages, the unmapped pool's spare blocks.
pub trait Reclaimer: Sync {
    /// Its name, for reports.
    fn name(&self) -> &str;

    /// Frees what it can without waiting, through the allocator, and says how many frames. It runs on the allocating
    /// CPU, with no lock of the allocator held; what it allocates meanwhile calls no reclaimer.
    fn reclaim(&self, pinned: Pinned<'_>, shortage: &Shortage) -> u64;
}

/// Makes the other CPUs give back what their caches hold: the last resort of a request that may wait.
pub trait Recall: Sync {
    /// Has [`Frames::drain`] run on every CPU but this one, and returns when it has: by an interrupt, or by waiting for
    /// their [`Frames::tick`]. Does nothing where this CPU may not wait for others (its interrupts are off, say). Called
    /// with no lock of the allocator held.
    fn drain_others(&self, pinned: Pinned<'_>);
}

/// A recall as it is registered: the reference to it, in a place that lives for ever.
pub type RecallRegistration = &'static (dyn Recall + 'static);

/// How often a request calls back what others keep: a CPU that was in the middle of an operation keeps it the first
/// time, and one that goes on working keeps something every time.
const RECALLS: usize = 3;

/// Reclaimers that an allocator can have.
const MAX_RECLAIMERS: usize = 8;

/// A reclaimer as it is registered: the reference to it, in a place that lives for ever.
pub type Registration = &'static (dyn Reclaimer + 'static);

/// The reclaimers, in the order in which they are called.
pub(crate) struct Reclaimers {
    list: Table<Registration, MAX_RECLAIMERS>,
    count: AtomicUsize,
    recall: Table<RecallRegistration, 1>,
}

/// There is no room for another reclaimer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyReclaimers;

impl core::fmt::Display for TooManyReclaimers {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "more than {MAX_RECLAIMERS} reclaimers")
    }
}

impl core::error::Error for TooManyReclaimers {}

impl Reclaimers {
    pub(crate) fn new() -> Self {
        Self { list: Table::new(), count: AtomicUsize::new(0), recall: Table::new() }
    }
}

/// The levels of one zone of one node, in frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Levels {
    /// Free frames in the pools; those in per-CPU caches are not among them.
    pub free: u64,
    /// Normal requests stop here.
    pub min: u64,
    /// Below this the zone is short.
    pub low: u64,
    /// Reclaim goes on up to here.
    pub high: u64,
}

impl<M: Machine> Frames<M> {
    /// Adds a reclaimer behind those that are there. They are called in this order.
    ///
    /// # Errors
    /// There are eight already.
    pub fn register_reclaimer(&self, reclaimer: &'static Registration) -> Result<(), TooManyReclaimers> {
        let index = self.reclaimers.count.fetch_add(1, Relaxed);
        if index >= MAX_RECLAIMERS {
            self.reclaimers.count.fetch_sub(1, Relaxed);
            return Err(TooManyReclaimers);
        }
        self.reclaimers.list.set(index, reclaimer);
        Ok(())
    }

    /// Calls the reclaimers in turn, and `retry` after each that freed something, until it succeeds.
    pub(crate) fn reclaim(
        &self,
        pinned: Pinned<'_>,
        request: &Request,
        mut retry: impl FnMut() -> Option<Raw>,
    ) -> Option<Raw> {
        let cache = self.depot.cache(pinned.cpu(), Reach::Mapped)?;
        // A handler on this CPU sees the flag and fails instead of calling a reclaimer that it interrupted.
        if cache.reclaiming.load(Relaxed) {
            return None;
        }
        cache.reclaiming.store(true, Relaxed);
        let shortage = Shortage { order: request.order, ceiling: request.ceiling, kind: request.kind };
        let served = self.reclaimers.list.iter().find_map(|reclaimer| {
            if reclaimer.reclaim(pinned, &shortage) == 0 {
                return None;
            }
            retry()
        });
        cache.reclaiming.store(false, Relaxed);
        served
    }

    /// Says how other CPUs' caches are called back. Without it, a request fails while they hold what it wants.
    pub fn set_recall(&self, recall: &'static RecallRegistration) {
        self.reclaimers.recall.set(0, recall);
    }

    /// Calls back what other CPUs keep, and calls `retry` after each time, until it succeeds or they keep nothing.
    pub(crate) fn recall(&self, pinned: Pinned<'_>, mut retry: impl FnMut() -> Option<Raw>) -> Option<Raw> {
        let recall = self.reclaimers.recall.get(0)?;
        (0..RECALLS).take_while(|_| self.depot.held_by_others(pinned.cpu()) > 0).find_map(|_| {
            recall.drain_others(pinned);
            retry()
        })
    }

    /// Sets the reserve of a zone, spread over its pools by size. 0 lets normal requests take the last frame.
    pub fn set_reserve(&self, node: NodeId, zone: Zone, min_frames: u64) {
        let here = || self.depot.pools.iter().filter(|pool| pool.node == node && pool.zone == zone);
        let present: u64 = here().map(|pool| pool.present.load(Relaxed)).sum();
        for pool in here() {
            let part =
                u128::from(min_frames) * u128::from(pool.present.load(Relaxed)) / u128::from(present.max(1));
            pool.marks.min.store(part as u64, Relaxed);
        }
    }

    /// Sets how many frames of a zone requests leave that could have been served from a higher zone.
    pub fn set_guard(&self, node: NodeId, zone: Zone, guard_frames: u64) {
        for pool in self.depot.pools.iter().filter(|pool| pool.node == node && pool.zone == zone) {
            pool.marks.guard.store(guard_frames, Relaxed);
        }
    }

    /// The levels of a zone; all 0 where the node has no such zone.
    pub fn levels(&self, node: NodeId, zone: Zone) -> Levels {
        let mut sum = Levels::default();
        for pool in self.depot.pools.iter().filter(|pool| pool.node == node && pool.zone == zone) {
            sum.free += pool.free_frames();
            sum.min += pool.marks.min.load(Relaxed);
            sum.low += pool.marks.low();
            sum.high += pool.marks.high();
        }
        sum
    }

    /// Whether any zone of `node` is below its low watermark: time for a background thread to reclaim.
    pub fn is_short(&self, node: NodeId) -> bool {
        self.depot.pools.iter().any(|pool| pool.node == node && pool.free_frames() < pool.marks.low())
    }
}
