//! `buddy-slab-allocator`: its standalone buddy, behind a spin lock as its own `GlobalAllocator` has it.

use buddy_slab_allocator::BuddyAllocator;
use rhumb_machine::{Machine, Order, PageSize, Pfn, PhysAddr, PhysRange, Pinned, VirtAddr};
use spin::Mutex;

use crate::driver::Unfit;
use crate::frames::subject::{FrameSubject, Region};

/// Room for the section descriptor before the page descriptors.
const SECTION_BYTES: u64 = 512;

/// It hands out addresses in the direct map.
pub(super) struct BuddySlab {
    buddy: Mutex<BuddyAllocator>,
    direct_map_base: VirtAddr,
    metadata_bytes: u64,
}

impl FrameSubject for BuddySlab {
    const NAME: &'static str = "buddy-slab-allocator";
    type Held = usize;
    type Storage = PhysRange;

    /// Descriptors right below the region, so that its blocks are the region's.
    fn storage(region: &Region) -> Result<PhysRange, Unfit> {
        let bytes = BuddyAllocator::<4096>::required_meta_size(region.memory.bytes() as usize) as u64;
        let below = region.below(bytes + SECTION_BYTES)?;
        let start = region.machine().direct(below.start()).as_mut_ptr::<u8>();
        // SAFETY: RAM below the region belongs to the subject of the moment alone.
        unsafe { start.write_bytes(0, below.bytes() as usize) };
        Ok(below)
    }

    fn new(region: &Region, below: PhysRange) -> Result<Self, Unfit> {
        let start = region.machine().direct(below.start()).as_mut_ptr::<u8>();
        let bytes = (below.bytes() + region.memory.bytes()) as usize;
        let mut buddy = BuddyAllocator::new();
        // SAFETY: RAM of the machine, which lives permanently; no other subject uses it while this one does, and this
        // one writes to the part below the region only.
        let begun = unsafe { buddy.init(std::slice::from_raw_parts_mut(start, bytes)) };
        begun.map_err(|error| Unfit(error.to_string()))?;
        let managed = buddy.section(0).map(|section| section.start as u64);
        if managed != Some(region.machine().direct(region.memory.start()).get()) {
            return Err(Unfit("its blocks do not begin with the region".to_owned()));
        }
        let direct_map_base = region.machine().direct_map_base();
        Ok(Self { buddy: Mutex::new(buddy), direct_map_base, metadata_bytes: below.bytes() })
    }

    fn metadata_bytes(&self) -> Option<u64> {
        Some(self.metadata_bytes)
    }

    #[inline]
    fn get(&self, _pinned: Pinned<'_>, order: Order) -> Option<usize> {
        self.buddy.lock().alloc_pages(order.frames() as usize, PageSize::Size4K.bytes() as usize).ok()
    }

    #[inline]
    fn put(&self, _pinned: Pinned<'_>, address: usize, order: Order) {
        self.buddy.lock().dealloc_pages(address, order.frames() as usize);
    }

    #[inline]
    fn first(&self, address: &usize) -> Pfn {
        PhysAddr::new(VirtAddr::new(*address as u64).since(self.direct_map_base)).pfn()
    }
}
