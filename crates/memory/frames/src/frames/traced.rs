//! Allocations and frees while the allocator is traced: the common path, by a look-up of its own, and then the machine is
//! told ([`rhumb_machine::MemoryEvent`]).

use rhumb_machine::{Machine, MemoryEvent, Pinned};

use crate::error::AllocError;
use crate::frames::Frames;
use crate::handle::raw::Raw;
use crate::request::{Owner, Request};

impl<M: Machine> Frames<M> {
    /// Has the machine told of each allocation and free from now on, or no more ([`Machine::trace`]). Calls that other
    /// CPUs have begun may still be told, or not yet.
    ///
    /// Cost: while it is on, a call of each allocation and free to the slow path; while it is off, nothing.
    pub fn set_traced(&self, is_traced: bool) {
        self.zones.caches.set_traced(is_traced);
    }

    /// Serves a request as the common path would, and tells of it.
    #[cold]
    #[inline(never)]
    pub(crate) fn alloc_traced(&self, pinned: Pinned<'_>, request: Request) -> Result<Raw, AllocError> {
        let quick = request.is_plain().then(|| self.zones.cache(self.machine.cpu_of(pinned))).flatten();
        let raw = match quick.and_then(|cache| cache.pop(request.order, request.kind)) {
            Some(raw) => {
                self.note_alloc(pinned, raw);
                self.allow(raw);
                raw
            }
            None => self.alloc_untraced(pinned, request)?,
        };
        self.tell_allocated(raw, request);
        Ok(raw)
    }

    /// Tells of an allocation, if the allocator is traced.
    pub(crate) fn tell_allocated(&self, raw: Raw, request: Request) {
        if self.zones.caches.is_traced() {
            let (first, frames, owner) = (raw.pfn(), raw.order().frames(), request.owner.0);
            self.machine.trace(&MemoryEvent::FramesAllocated { first, frames, owner });
        }
    }

    /// Tells of a free, while the descriptor has the owner still. In checked builds, where descriptors forget it first,
    /// the check of the free calls this.
    pub(crate) fn tell_freed(&self, raw: Raw) {
        let (first, frames) = (raw.pfn(), raw.order().frames());
        let stamped = if raw.0 & Raw::OWNED != 0 { self.descriptor(first) } else { None };
        let owner = stamped.map_or(Owner::NONE, |descriptor| descriptor.owner());
        if raw.brand() == self.zones.brand {
            self.machine.trace(&MemoryEvent::FramesFreed { first, frames, owner: owner.0 });
        }
    }

    /// Tells of a free, and does it as the common path would. Returns whether it is done.
    #[cold]
    #[inline(never)]
    pub(crate) fn free_traced(&self, pinned: Pinned<'_>, raw: Raw) -> bool {
        if cfg!(not(feature = "checked")) {
            self.tell_freed(raw);
        }
        self.zones.cache(self.machine.cpu_of(pinned)).is_some_and(|cache| cache.push(raw))
    }
}
