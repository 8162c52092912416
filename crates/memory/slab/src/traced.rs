//! Allocations and frees while the caches are traced: the common path, by a look-up of its own, and then the machine is
//! told ([`MemoryEvent`]). Objects of whole frames have no common path, and are told of where they are made.

use core::ptr::NonNull;

use rhumb_frames::AllocClass;
use rhumb_machine::{Machine, MemoryEvent, MemoryUse, Pinned, VirtAddr};

use crate::error::AllocError;
use crate::line::CpuLine;
use crate::record::Record;
use crate::slabs::Slabs;
use crate::spec::Name;

impl<M: Machine> Slabs<M> {
    /// Has the machine told of each allocation and free from now on, or no more ([`Machine::trace`]). Calls that other
    /// CPUs have begun may still be told, or not yet.
    ///
    /// Cost: while it is on, a call of each allocation and free to the slow path; while it is off, nothing.
    pub fn set_traced(&self, is_traced: bool) {
        self.registry.set_traced(self.machine().irq_off(), is_traced);
    }

    /// Returns the name of the cache of this number, which [`MemoryEvent`]s tell; `None` where there is none now.
    pub fn cache_name(&self, cache: u16) -> Option<Name> {
        self.registry.name(self.machine().irq_off(), cache)
    }

    /// Serves a request as the common path would, and tells of it.
    pub(crate) fn alloc_traced(
        &self,
        record: &'static Record,
        pinned: Pinned<'_>,
        class: AllocClass,
    ) -> Result<NonNull<u8>, AllocError> {
        let object = match self.line(record, self.cpu(pinned)).and_then(CpuLine::pop) {
            Some(object) => {
                self.set_memory_use(object, record.shape.object_bytes as usize, MemoryUse::Allowed);
                object
            }
            None => self.alloc_untraced(record, pinned, class)?,
        };
        let (address, cache) = (address_of(object), Some(record.setup.id));
        let bytes = record.shape.object_bytes.into();
        self.machine().trace(&MemoryEvent::ObjectAllocated { address, bytes, cache });
        Ok(object)
    }

    /// Tells of a free, and does it as the common path would. Returns whether it is done.
    pub(crate) fn free_traced(
        &self,
        record: &'static Record,
        pinned: Pinned<'_>,
        object: NonNull<u8>,
    ) -> bool {
        let (address, cache) = (address_of(object), Some(record.setup.id));
        let bytes = record.shape.object_bytes.into();
        self.machine().trace(&MemoryEvent::ObjectFreed { address, bytes, cache });
        self.line(record, self.cpu(pinned)).is_some_and(|line| line.push(object))
    }

    /// Tells of an object of whole frames, if the caches are traced.
    pub(crate) fn trace_large(&self, object: NonNull<u8>, bytes: u64, is_allocated: Large) {
        if !self.registry.lines.is_traced() {
            return;
        }
        let address = address_of(object);
        self.machine().trace(&match is_allocated {
            Large::Allocated => MemoryEvent::ObjectAllocated { address, bytes, cache: None },
            Large::Freed => MemoryEvent::ObjectFreed { address, bytes, cache: None },
        });
    }
}

/// The fate of an object of whole frames.
pub(crate) enum Large {
    Allocated,
    Freed,
}

fn address_of(object: NonNull<u8>) -> VirtAddr {
    VirtAddr::new(object.addr().get() as u64)
}
