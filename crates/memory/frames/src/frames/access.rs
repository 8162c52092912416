//! Tells the machine's checker of accesses which memory is free and which is in use. Without a checker it is no
//! instruction.
//!
//! A block is allowed before its handle is given out and forbidden before another caller can get it.

use rhumb_machine::{Machine, MemoryUse, PageSize, PfnRange, VirtRange};

use crate::frames::Frames;
use crate::handle::raw::Raw;
use crate::request::Zone;

impl<M: Machine> Frames<M> {
    #[inline(always)]
    pub(crate) fn allow(&self, raw: Raw) {
        self.set_memory_use(raw, MemoryUse::Allowed);
    }

    #[inline(always)]
    pub(crate) fn forbid(&self, raw: Raw) {
        self.set_memory_use(raw, MemoryUse::FreeFrame);
    }

    #[inline(always)]
    fn set_memory_use(&self, raw: Raw, memory_use: MemoryUse) {
        // A block of another allocator is refused, and stays what it is.
        if M::CHECKS_ACCESSES && raw.0 & Raw::HIGH == 0 && raw.brand() == self.zones.brand {
            let start = self.machine.direct(raw.pfn().addr());
            self.machine.set_memory_use(
                VirtRange::of_length(start, raw.order().bytes()).unwrap_or_default(),
                memory_use,
            );
        }
    }

    pub(crate) fn allow_range(&self, frames: PfnRange) {
        self.set_range(frames, MemoryUse::Allowed);
    }

    pub(crate) fn forbid_range(&self, frames: PfnRange) {
        self.set_range(frames, MemoryUse::FreeFrame);
    }

    /// Tells the checker about frames, but for those past the direct map.
    fn set_range(&self, frames: PfnRange, memory_use: MemoryUse) {
        if !M::CHECKS_ACCESSES {
            return;
        }
        for pool in self.zones.pools.iter().filter(|pool| pool.zone <= Zone::Normal) {
            let inside = frames.intersection(pool.span);
            let start = self.machine.direct(inside.start().addr());
            let bytes = inside.frames() * PageSize::Size4K.bytes();
            self.machine.set_memory_use(VirtRange::of_length(start, bytes).unwrap_or_default(), memory_use);
        }
    }
}
