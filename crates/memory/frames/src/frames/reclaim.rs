//! Reclaimers and recall at work, and the watermarks' levels.

use rhumb_machine::{CpuId, Machine, NodeId, Pinned};

use crate::frames::Frames;
use crate::handle::raw::Raw;
use crate::pool::Watermarks;
use crate::pressure::{Levels, Recall, Reclaimer, Shortage, TooManyReclaimers};
use crate::request::{Request, Zone};
use rhumb_sync::atomic::{AtomicBool, AtomicU64, Relaxed};

/// How often a request calls back what others keep: a CPU that was in the middle of an operation keeps it the first
/// time, and one that goes on working keeps something every time.
const RECALLS: usize = 3;

/// Says that a reclaimer runs on this CPU, until it is dropped: also where the reclaimer panics.
struct Reclaiming<'cache>(&'cache AtomicBool);

impl<'cache> Reclaiming<'cache> {
    fn begin(flag: &'cache AtomicBool) -> Self {
        flag.store(true, Relaxed);
        Self(flag)
    }
}

impl Drop for Reclaiming<'_> {
    fn drop(&mut self) {
        self.0.store(false, Relaxed);
    }
}

impl<M: Machine> Frames<M> {
    /// Adds a reclaimer behind those that are there. They are called in this order.
    ///
    /// # Errors
    /// There are eight already.
    pub fn register_reclaimer(&self, reclaimer: &'static dyn Reclaimer) -> Result<(), TooManyReclaimers> {
        self.reclaimers.add(self.machine.irq_off(), reclaimer)
    }

    /// Calls the reclaimers in turn, and `retry` after each that freed something, until it succeeds.
    pub(crate) fn reclaim(
        &self,
        pinned: Pinned<'_>,
        request: &Request,
        mut retry: impl FnMut() -> Option<Raw>,
    ) -> Option<Raw> {
        let cache = self.zones.cache(self.machine.cpu_of(pinned))?;
        // A handler on this CPU sees the flag and fails instead of calling a reclaimer that it interrupted.
        if cache.reclaiming.load(Relaxed) {
            return None;
        }
        let _reclaiming = Reclaiming::begin(&cache.reclaiming);
        let shortage = Shortage { order: request.order, ceiling: request.ceiling, kind: request.kind };
        let next = |index| self.reclaimers.get(self.machine.irq_off(), index);
        (0..).map_while(next).find_map(|reclaimer| {
            if reclaimer.reclaim(pinned, &shortage) == 0 {
                return None;
            }
            retry()
        })
    }

    /// Says how other CPUs' caches are called back. Without it, a request fails while they hold what it wants.
    pub fn set_recall(&self, recall: &'static dyn Recall) {
        *self.reclaimers.recall.lock(self.machine.irq_off()) = Some(recall);
    }

    /// Calls back what other CPUs keep, and calls `retry` after each time, until it succeeds or they keep nothing.
    pub(crate) fn recall(&self, pinned: Pinned<'_>, mut retry: impl FnMut() -> Option<Raw>) -> Option<Raw> {
        let recall = (*self.reclaimers.recall.lock(self.machine.irq_off()))?;
        let me = self.machine.cpu_of(pinned);
        (0..RECALLS).take_while(|_| self.zones.held_by_others(me) > 0).find_map(|_| {
            recall.drain_others(pinned);
            retry()
        })
    }

    /// Returns how many frames the caches of other CPUs hold. Cost: a load for each 64 CPUs, and 40 for each CPU that
    /// keeps something.
    pub fn kept_by_others(&self, pinned: Pinned<'_>) -> u64 {
        self.zones.held_by_others(self.machine.cpu_of(pinned))
    }

    /// Tells whether a CPU may keep frames in its caches. One that keeps none need not be asked for them.
    pub fn is_keeping(&self, cpu: CpuId) -> bool {
        self.zones.keepers.contains(cpu)
    }

    /// Sets the reserve of a zone, spread over its pools by size; never more than the zone has. 0 lets ordinary
    /// requests take the last frame.
    pub fn set_reserve(&self, node: NodeId, zone: Zone, min_frames: u64) {
        self.spread(node, zone, min_frames, |marks| &marks.min);
    }

    /// Sets how many frames of a zone requests leave that could have been served from a higher zone, in the direct map or
    /// past it, spread over its pools by size; never more than the zone has.
    pub fn set_guard(&self, node: NodeId, zone: Zone, guard_frames: u64) {
        self.spread(node, zone, guard_frames, |marks| &marks.guard);
        self.set_high_guard(node, zone, guard_frames);
    }

    /// Sets how many frames of a zone only requests leave that reach past the direct map: as [`Frames::set_guard`].
    pub fn set_high_guard(&self, node: NodeId, zone: Zone, guard_frames: u64) {
        self.spread(node, zone, guard_frames, |marks| &marks.high_guard);
    }

    fn spread(&self, node: NodeId, zone: Zone, frames: u64, mark: impl Fn(&Watermarks) -> &AtomicU64) {
        let here = || self.zones.pools_of(node, zone).filter(|pool| pool.zone == zone);
        let present: u64 = here().map(|pool| pool.present.load(Relaxed)).sum();
        for pool in here() {
            let part = u128::from(frames.min(present)) * u128::from(pool.present.load(Relaxed));
            mark(&pool.marks).store((part / u128::from(present.max(1))) as u64, Relaxed);
        }
    }

    /// Returns the levels of a zone; all 0 where the node has no such zone.
    pub fn levels(&self, node: NodeId, zone: Zone) -> Levels {
        let mut sum = Levels::default();
        for pool in self.zones.pools_of(node, zone).filter(|pool| pool.zone == zone) {
            sum.free += pool.free_frames();
            sum.min += pool.marks.min.load(Relaxed);
            sum.low += pool.marks.low();
            sum.high += pool.marks.high();
        }
        sum
    }

    /// Tells whether any zone of `node` is below its low watermark: time for a background thread to reclaim.
    pub fn is_short(&self, node: NodeId) -> bool {
        self.zones.pools_of(node, Zone::High).any(|pool| pool.free_frames() < pool.marks.low())
    }
}
