//! Objects at addresses of the kernel map: the model of kernels without a direct map, for comparison (`kmem=virtual`).
//!
//! Slabs of objects are areas of the map then, each mapped as it comes and flushed as it goes. The map's own records
//! are objects of another allocator, whose memory is in the direct map: a map that needed itself for its records could
//! not begin (I10).

use rhumb_frames::AllocClass;
use rhumb_kernelmap::AreaRequest;
use rhumb_machine::{Machine, Pfn, Pinned, VirtAddr, impossible};
use rhumb_slab::Space;

use super::map;
use crate::cpu::machine::KernelMachine;
use crate::facts::Boot;
use crate::mm::{owners, protection};

/// The space of the kernel map.
pub static SPACE: InKernelMap = InKernelMap(());

/// See the module.
pub struct InKernelMap(());

/// Why objects stay in the direct map although they were to be in the kernel map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Tables of the map come from the store of protected ones, which is there too late.
    ProtectedTables,
    /// The checker of accesses knows the direct map alone.
    CheckedAccesses,
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::ProtectedTables => {
                "kmem=virtual: not with protected page tables; objects are in the direct map"
            }
            Self::CheckedAccesses => {
                "kmem=virtual: not in a kernel that checks accesses; objects are in the direct map"
            }
        })
    }
}

/// Tells whether objects are to be in the kernel map.
///
/// # Errors
/// They were to be, and cannot.
pub fn is_wanted(boot: &Boot) -> Result<bool, Refusal> {
    if boot.options.kmem != Some("virtual") {
        return Ok(false);
    }
    if protection::wanted() != rhumb_tableguard::Protection::Off {
        return Err(Refusal::ProtectedTables);
    }
    if KernelMachine::CHECKS_ACCESSES {
        return Err(Refusal::CheckedAccesses);
    }
    Ok(true)
}

// SAFETY: an area is its holder's alone until it is recovered, is mapped readable and writable on every CPU, and
// consists of the allocator's frames, which have descriptors.
unsafe impl Space for InKernelMap {
    fn map(&self, pinned: Pinned<'_>, pages: u64, class: AllocClass) -> Option<VirtAddr> {
        let map = map()?;
        let request = AreaRequest::new(pages).class(class).owner(owners::OBJECTS.in_frames());
        match map.forget(map.alloc(pinned, request).ok()?) {
            Ok(start) => Some(start),
            Err(area) => impossible!("there is one map: {area:?}" => None),
        }
    }

    unsafe fn unmap(&self, pinned: Pinned<'_>, start: VirtAddr) {
        // SAFETY: `map` gave the area up at this address, and the caller gives it back once.
        let area = map().and_then(|map| Some((map, unsafe { map.recover(start) }?)));
        let Some((map, area)) = area else {
            return impossible!("the block at {start} is an area of the map");
        };
        if map.free(pinned, area).is_err() {
            impossible!("the area at {start} is of the one map");
        }
    }

    fn pfn(&self, address: VirtAddr) -> Option<Pfn> {
        map()?.pfn_at(address)
    }

    fn contains(&self, address: VirtAddr) -> bool {
        map().is_some_and(|map| map.contains(address))
    }
}
