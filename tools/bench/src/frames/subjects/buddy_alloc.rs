//! `buddy-alloc`: bitmaps before the blocks, and lists through the free blocks themselves.

use buddy_alloc::buddy_alloc::{BuddyAlloc as Buddy, BuddyAllocParam};
use rhumb_machine::{Machine, Order, PageSize, Pfn, PhysAddr, PhysRange, Pinned, VirtAddr};
use spin::Mutex;

use crate::driver::Unfit;
use crate::frames::subject::{FrameSubject, Region};

/// It writes into each free frame: more than this is more than a workstation lends.
const LARGEST_BYTES: u64 = 1 << 30;

/// The value is pointers into the machine's RAM.
struct Pointers(Buddy);

// SAFETY: the memory that the pointers lead to belongs to the value alone, on whichever thread it is.
unsafe impl Send for Pointers {}

/// It hands out addresses in the direct map.
pub(super) struct BuddyAlloc {
    buddy: Mutex<Pointers>,
    direct_map_base: VirtAddr,
    metadata_bytes: u64,
}

/// Returns the part that its constructor takes off the front of `frames` frames, as its source computes it: per order a
/// descriptor, a list head, and two bitmaps; the lowest order has one bitmap.
const fn metadata_bytes(frames: u64) -> u64 {
    // Enough levels for the blocks and one above; metadata in front adds less than one block of the top order.
    let entries = frames.ilog2() as u64 + 2;
    let mut bytes = entries * (24 + 16);
    let mut order = 0;
    while order < entries {
        let bitmap = (1u64 << (entries - order - 1)).div_ceil(8);
        bytes += if order == 0 { bitmap } else { 2 * bitmap };
        order += 1;
    }
    bytes.next_multiple_of(PageSize::Size4K.bytes())
}

impl FrameSubject for BuddyAlloc {
    const NAME: &'static str = "buddy-alloc";
    type Held = usize;
    type Storage = PhysRange;

    /// Bitmaps right below the region, so that its blocks are the region's; and the region touched.
    fn storage(region: &Region) -> Result<PhysRange, Unfit> {
        if region.memory.bytes() > LARGEST_BYTES {
            return Err(Unfit(
                "it writes into each free frame, and is not run on that much memory".to_owned(),
            ));
        }
        let below = region.below(metadata_bytes(region.frames().frames()))?;
        let start = region.machine().direct(below.start()).as_mut_ptr::<u8>();
        for page in 0..(below.bytes() + region.memory.bytes()) / PageSize::Size4K.bytes() {
            // SAFETY: RAM of the region, which belongs to the subject of the moment alone.
            unsafe { start.add((page * PageSize::Size4K.bytes()) as usize).write_volatile(0) };
        }
        Ok(below)
    }

    fn new(region: &Region, below: PhysRange) -> Result<Self, Unfit> {
        let start = region.machine().direct(below.start()).as_ptr::<u8>();
        let bytes = below.bytes() + region.memory.bytes();
        // SAFETY: RAM of the machine, which lives permanently; no other subject uses it while this one does.
        let buddy = unsafe {
            Buddy::new(BuddyAllocParam::new(start, bytes as usize, PageSize::Size4K.bytes() as usize))
        };
        if buddy.available_bytes() as u64 != region.memory.bytes() {
            return Err(Unfit("its blocks do not begin with the region".to_owned()));
        }
        let direct_map_base = region.machine().direct_map_base();
        Ok(Self { buddy: Mutex::new(Pointers(buddy)), direct_map_base, metadata_bytes: below.bytes() })
    }

    fn metadata_bytes(&self) -> Option<u64> {
        Some(self.metadata_bytes)
    }

    #[inline]
    fn get(&self, _pinned: Pinned<'_>, order: Order) -> Option<usize> {
        let block = self.buddy.lock().0.malloc(order.bytes() as usize);
        (!block.is_null()).then_some(block as usize)
    }

    #[inline]
    fn put(&self, _pinned: Pinned<'_>, address: usize, _order: Order) {
        self.buddy.lock().0.free(VirtAddr::new(address as u64).as_mut_ptr());
    }

    #[inline]
    fn first(&self, address: &usize) -> Pfn {
        PhysAddr::new(VirtAddr::new(*address as u64).since(self.direct_map_base)).pfn()
    }
}
