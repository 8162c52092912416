//! [`Space`]: addresses for objects other than those of the direct map.
#![expect(unsafe_code, reason = "declares an unsafe trait")]

use rhumb_frames::AllocClass;
use rhumb_machine::{Pfn, Pinned, VirtAddr};

/// Addresses at which the allocator's blocks are mapped, frame by frame, where they are not to be used in the direct map:
/// the model of kernels without one. Each block that is taken is mapped, and each that is given back is unmapped and
/// flushed. It is here to be measured; the direct map is cheaper.
///
/// The allocator's own records stay in the direct map, because a space needs records for its ranges, which are objects
/// of another [`Slabs`](crate::Slabs).
/// So do objects at multiples of more than a page, to which a space does not align.
///
/// # Safety
/// - [`Space::map`] returns the first of so many pages, readable and writable on each CPU, which no other code uses, and
///   whose frames are of the allocator under the [`Slabs`](crate::Slabs), each with a descriptor that no other code
///   writes.
/// - They stay so until [`Space::unmap`] is called with that address.
/// - [`Space::pfn`] answers for each address of such pages which frame is there, and nothing for addresses that it does
///   not have.
pub unsafe trait Space: Sync {
    /// Maps so many pages; `None` where there is no memory, or there are no addresses.
    fn map(&self, pinned: Pinned<'_>, pages: u64, class: AllocClass) -> Option<VirtAddr>;

    /// Unmaps the pages that [`Space::map`] returned at this address.
    ///
    /// # Safety
    /// It did, and no code uses them any more.
    unsafe fn unmap(&self, pinned: Pinned<'_>, start: VirtAddr);

    /// Returns the frame that is mapped at an address; `None` where the address is not of this space, or nothing is
    /// mapped there.
    fn pfn(&self, address: VirtAddr) -> Option<Pfn>;

    /// Tells whether an address is of this space.
    fn contains(&self, address: VirtAddr) -> bool;
}
