//! [`Parts`]: a module's memory in the pool of executable memory.
//!
//! The addresses come first, since code is linked for them; the bytes are made in buffers of the heap, and the pool writes
//! all parts at once. Code and read-only data are never writable at any address (I4), not even while they are written.

use alloc::vec::Vec;

use rhumb_code::{Kind, Request, Write};
use rhumb_machine::{VirtAddr, VirtRange, impossible};
use rhumb_modules::{Exports, Image, Layout, Linked, Part};

use super::error::ModuleError;
use crate::mm::code;
use crate::mm::owners::Owner;

/// A module's parts; those of no bytes are not there. Dropping gives them back.
pub(super) struct Parts([Option<rhumb_code::Part>; 3]);

/// Returns what the pool calls a part.
const fn kind(part: Part) -> Kind {
    match part {
        Part::Code => Kind::Code,
        Part::ReadOnly => Kind::RoData,
        Part::Data => Kind::Data,
    }
}

impl Parts {
    /// Allocates the parts of a layout.
    pub(super) fn allocate(layout: &Layout, name: &str, owner: Owner) -> Result<Self, ModuleError> {
        let pool = code::pool().ok_or(ModuleError::NoPool)?;
        let mut parts = Self([const { None }; 3]);
        for part in Part::ALL {
            let bytes = layout.bytes(part);
            if bytes == 0 {
                continue;
            }
            let request = Request::new(kind(part), bytes).aligned(layout.align(part));
            let request = request.owner(owner.in_frames()).named(name);
            let allocated = pool.allocate(request).map_err(|error| ModuleError::Pool(part, error))?;
            parts.0[part.index()] = Some(allocated);
        }
        Ok(parts)
    }

    /// Links the module against `exports` for the parts' addresses, and writes them.
    pub(super) fn fill(
        &mut self,
        image: &Image<'static>,
        exports: &impl Exports,
    ) -> Result<Linked, ModuleError> {
        let pool = code::pool().ok_or(ModuleError::NoPool)?;
        let mut buffers = [const { Vec::new() }; 3];
        for part in Part::ALL {
            let bytes = image.layout().bytes(part) as usize;
            let buffer = &mut buffers[part.index()];
            buffer.try_reserve_exact(bytes).map_err(|_| ModuleError::NoMemory)?;
            buffer.resize(bytes, 0);
        }
        let [code, read_only, data] = &mut buffers;
        let linked = image.link(self.addresses(), exports, &mut [code, read_only, data])?;
        let mut writes: Vec<Write<'_>> = Vec::new();
        writes.try_reserve_exact(3).map_err(|_| ModuleError::NoMemory)?;
        for (part, bytes) in self.0.iter_mut().zip(&buffers) {
            if let Some(part) = part {
                writes.push(Write { part, bytes });
            }
        }
        match pool.write(&mut writes) {
            Ok(()) => Ok(linked),
            Err(error) => {
                impossible!("new parts of this size are written: {error}" => Err(ModuleError::NoMemory))
            }
        }
    }

    /// Returns the address of each part; 0 for one of no bytes.
    pub(super) fn addresses(&self) -> [u64; 3] {
        self.0.each_ref().map(|part| part.as_ref().map_or(0, |part| part.address().get()))
    }

    /// Returns the addresses of a part; an empty range for one of no bytes.
    pub(super) fn range(&self, part: Part) -> VirtRange {
        self.0[part.index()].as_ref().map_or(VirtRange::default(), rhumb_code::Part::range)
    }

    /// Tells whether all of `bytes` bytes at `address` lie in the read-only part, and so can be read, and do not change, as long
    /// as the module is there.
    pub(super) fn holds(&self, address: u64, bytes: u64) -> bool {
        let wanted = VirtRange::of_length(VirtAddr::new(address), bytes);
        wanted.is_some_and(|wanted| self.range(Part::ReadOnly).covers(wanted))
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        let Some(pool) = code::pool() else { return };
        for part in self.0.iter_mut().filter_map(Option::take) {
            // No CPU runs it: either it was never live, or it has no users and has been stopped.
            if let Err(refused) = pool.free([part]) {
                impossible!("the part is of this pool: {refused}");
            }
        }
    }
}
