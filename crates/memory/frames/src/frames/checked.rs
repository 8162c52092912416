//! Refusals: of frames that are free already, of another order, or of another allocator.
//!
//! Any build refuses a frame whose bit is set when it comes back to its pool. Builds with the feature `checked` look at
//! the frame's descriptor on each allocation and free, so that they see the fault at once, also in a magazine, and can
//! tell the frame's history ([`crate::Descriptor::history`]); there, allocations can be made to fail on purpose, too.
//! A refused frame stays as it is: it is never handed out twice.

use rhumb_machine::{Machine, Order, Pfn, Pinned};

use crate::error::{AllocError, FrameFault};
use crate::frames::Frames;
use crate::handle::frame::{Frame, Presence};
use crate::handle::raw::Raw;
use crate::request::Request;
use rhumb_sync::atomic::Relaxed;

impl<M: Machine> Frames<M> {
    /// Frees that were refused since the start. A system that is right reports 0.
    pub fn refused_frees(&self) -> u64 {
        let in_pools: u64 = self.zones.pools.iter().map(|pool| pool.refused.load(Relaxed)).sum();
        in_pools + self.faults.refused()
    }

    /// Returns the frame of the last free that was refused at once: of another allocator, and in checked builds any.
    pub fn last_refused(&self) -> Option<Pfn> {
        self.faults.last()
    }

    /// Notes a block that compaction allocates, past the usual way.
    pub(crate) fn note_alloc_of<P: Presence>(&self, pinned: Pinned<'_>, frame: &Frame<P>) {
        self.note_alloc(pinned, frame.peek());
    }

    /// Notes a block whose content compaction has moved away.
    pub(crate) fn note_moved(&self, pinned: Pinned<'_>, from: Pfn) {
        if let Some(descriptor) = self.filled_descriptor(from) {
            descriptor.note_free(self.machine.cpu_of(pinned));
        }
    }

    /// Lets `successes` allocations that miss the magazines, or have an owner or contents, succeed and then one fail.
    #[cfg(feature = "checked")]
    pub fn fail_after(&self, successes: u64) {
        self.faults.countdown.store(successes + 1, Relaxed);
    }

    /// Tells whether an allocation is to fail on purpose, now or later. Requests with an owner or contents leave the
    /// magazines alone then, so that each of them counts.
    #[inline]
    pub(crate) fn is_failure_due(&self) -> bool {
        cfg!(feature = "checked") && self.faults.countdown.load(Relaxed) > 0
    }

    #[inline]
    pub(crate) fn inject_failure(&self, request: &Request) -> Result<(), AllocError> {
        let left = if cfg!(feature = "checked") { self.faults.countdown.load(Relaxed) } else { 0 };
        if left > 0 {
            self.faults.countdown.store(left - 1, Relaxed);
        }
        if left == 1 { Err(AllocError::Exhausted(request.order)) } else { Ok(()) }
    }

    #[inline]
    pub(crate) fn note_alloc(&self, pinned: Pinned<'_>, raw: Raw) {
        if cfg!(feature = "checked")
            && let Some(descriptor) = self.described(raw.pfn())
        {
            descriptor.note_alloc(self.machine.cpu_of(pinned), raw.order());
        }
    }

    /// Tells whether the block may be freed.
    #[inline]
    pub(crate) fn note_free(&self, pinned: Pinned<'_>, raw: Raw) -> bool {
        if cfg!(not(feature = "checked")) {
            return true;
        }
        let pfn = raw.pfn();
        let is_own = raw.brand() == self.zones.brand && self.zones.pool_of(pfn).is_some();
        if !is_own || self.check_allocated(pfn, raw.order()).is_err() {
            self.faults.refuse(pfn);
            return false;
        }
        if self.zones.caches.is_traced() {
            self.tell_freed(raw);
        }
        if let Some(descriptor) = self.filled_descriptor(pfn) {
            descriptor.note_free(self.machine.cpu_of(pinned));
        }
        true
    }

    /// Returns the verdict of the descriptor on a block that is named as allocated. Frames that were in use when the
    /// allocator was built have never been allocated, and are taken at their holder's word.
    pub(crate) fn check_allocated(&self, pfn: Pfn, order: Order) -> Result<(), FrameFault> {
        let known = if cfg!(feature = "checked") { self.filled_descriptor(pfn) } else { None };
        let Some(descriptor) = known else { return Ok(()) };
        match descriptor.allocated() {
            Some(real) if real == order => Ok(()),
            Some(real) => Err(FrameFault::WrongOrder(pfn, real, order)),
            None if descriptor.history().allocations == 0 => Ok(()),
            None => Err(FrameFault::Free(pfn)),
        }
    }
}
