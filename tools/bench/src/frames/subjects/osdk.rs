//! `osdk-frame-allocator`: Asterinas' buddy system with per-CPU pools, on a stand-in for its framework.

use std::alloc::Layout;

use osdk_frame_allocator::FrameAllocator;
use ostd::mm::frame::GlobalFrameAllocator;
use ostd::mm::frame::meta::MetaSlot;
use ostd::stand_in;
use rhumb_machine::{Order, PageSize, Pfn, PhysAddr, Pinned};

use crate::driver::Unfit;
use crate::frames::subject::{FrameSubject, Region};
use crate::team;

/// More descriptors than this are more memory than a workstation lends.
const LARGEST_FRAMES: u64 = 1 << 25;

/// On more CPUs, 8 for one, it comes to move no frames at all between its pools as memory runs out, takes the order of
/// that for a number without end, and calls itself until the stack is used up (`balance_to`, at 0.19.0).
const MOST_CPUS: usize = 4;

/// It is one allocator for the whole process; each round begins it anew. It hands out physical addresses.
pub(super) struct Osdk {
    slots: Box<[MetaSlot]>,
}

fn layout(order: Order) -> Option<Layout> {
    Layout::from_size_align(order.bytes() as usize, order.bytes() as usize).ok()
}

impl FrameSubject for Osdk {
    const NAME: &'static str = "osdk-frame-allocator";
    type Held = usize;
    type Storage = Box<[MetaSlot]>;

    fn storage(region: &Region) -> Result<Self::Storage, Unfit> {
        let frames = region.frames().frames();
        if region.cpus > MOST_CPUS.min(stand_in::MAX_CPUS) {
            return Err(Unfit(format!("it calls itself without an end on more than {MOST_CPUS} CPUs")));
        }
        if frames > LARGEST_FRAMES {
            return Err(Unfit(format!("its descriptors take {} GiB", (frames * 64) >> 30)));
        }
        Ok((0..frames).map(|_| MetaSlot::unused()).collect())
    }

    fn new(region: &Region, mut slots: Self::Storage) -> Result<Self, Unfit> {
        // The framework's own initialisation writes each descriptor.
        slots.iter_mut().for_each(|slot| *slot = MetaSlot::unused());
        let start = region.memory.start().get() as usize;
        // SAFETY: the subject before this one is gone; the slots live as long as this one.
        unsafe { stand_in::begin(&mut slots, start, region.cpus, team::cpu_index) };
        FrameAllocator.add_free_memory(start, region.memory.bytes() as usize);
        Ok(Self { slots })
    }

    fn metadata_bytes(&self) -> Option<u64> {
        Some(size_of_val(&*self.slots) as u64)
    }

    #[inline]
    fn get(&self, _pinned: Pinned<'_>, order: Order) -> Option<usize> {
        FrameAllocator.alloc(layout(order)?)
    }

    #[inline]
    fn put(&self, _pinned: Pinned<'_>, address: usize, order: Order) {
        FrameAllocator.dealloc(address, (order.frames() * PageSize::Size4K.bytes()) as usize);
    }

    #[inline]
    fn first(&self, address: &usize) -> Pfn {
        PhysAddr::new(*address as u64).pfn()
    }
}
