//! Rhumb's own: per-CPU magazines over one bit a frame.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::mem::ManuallyDrop;

use rhumb_frames::{Anywhere, Extent, Frame, Frames, Goal, Layout, MemoryRange, Relocate, Request, Zone};
use rhumb_hosted::{HostedMachine, Machine};
use rhumb_machine::{NodeId, Order, Pfn, Pinned};

use crate::driver::Unfit;
use crate::frames::subject::{FrameSubject, Moved, Region, Zeroed};

/// The allocator, and its storage.
pub(super) struct Rhumb {
    frames: ManuallyDrop<Frames<&'static HostedMachine>>,
    storage: *mut [u64],
    storage_bytes: usize,
}

// SAFETY: the pointer owns the storage, as a box does, and is only used to free it, when the value is shared no more.
unsafe impl Send for Rhumb {}
// SAFETY: a shared value is used through the allocator, which every CPU may use; the pointer is not followed.
unsafe impl Sync for Rhumb {}

impl Drop for Rhumb {
    fn drop(&mut self) {
        // SAFETY: dropped here and nowhere else.
        unsafe { ManuallyDrop::drop(&mut self.frames) };
        // SAFETY: the storage came from a box, and the allocator that it was lent to is gone.
        drop(unsafe { Box::from_raw(self.storage) });
    }
}

fn memory(region: &Region) -> [MemoryRange; 1] {
    [MemoryRange { frames: region.frames(), node: NodeId::FIRST }]
}

fn layout<'memory>(region: &Region, memory: &'memory [MemoryRange]) -> Result<Layout<'memory>, Unfit> {
    Layout::new(memory, region.machine().cpu_count(), region.frames().end())
        .map_err(|error| Unfit(error.to_string()))
}

/// The blocks that the workload holds, by first frame: all of them can be moved.
struct Owner(RefCell<BTreeMap<Pfn, (ManuallyDrop<Frame>, Order)>>);

// SAFETY: it names blocks that the workload holds; the handle to the old place is forgotten.
unsafe impl Relocate for Owner {
    fn extent(&self, pfn: Pfn) -> Option<Extent> {
        let held = self.0.borrow();
        let (&start, &(_, order)) = held.range(..=pfn).next_back()?;
        (pfn.since(start) < order.frames()).then_some(Extent { start, order })
    }

    fn relocate(
        &self,
        _pinned: Pinned<'_>,
        from: Extent,
        to: Frame<Anywhere>,
    ) -> Result<(), Frame<Anywhere>> {
        let to = to.try_mapped()?;
        let mut held = self.0.borrow_mut();
        // The old handle stands for frames that are the allocator's again: it is forgotten, not freed.
        held.remove(&from.start);
        held.insert(to.pfn(), (ManuallyDrop::new(to), from.order));
        Ok(())
    }
}

impl FrameSubject for Rhumb {
    const NAME: &'static str = crate::report::OURS;
    // Frames that a workload still holds at its end go with the allocator: they are not lost.
    type Held = ManuallyDrop<Frame>;
    type Storage = Zeroed;

    fn storage(region: &Region) -> Result<Zeroed, Unfit> {
        Ok(Zeroed::touched(layout(region, &memory(region))?.storage_bytes()))
    }

    fn new(region: &Region, storage: Zeroed) -> Result<Self, Unfit> {
        let memory = memory(region);
        let layout = layout(region, &memory)?;
        let storage = Box::into_raw(storage.into_words());
        // SAFETY: the region belongs to the subject of the moment alone; the storage lives until the allocator has
        // been dropped.
        let frames = unsafe { Frames::new(region.machine(), &layout, [region.frames()], &mut *storage) };
        let storage_bytes = layout.storage_bytes();
        match frames {
            Ok(frames) => {
                // The others keep nothing back.
                Zone::ALL.iter().for_each(|&zone| frames.set_reserve(NodeId::FIRST, zone, 0));
                Ok(Self { frames: ManuallyDrop::new(frames), storage, storage_bytes })
            }
            Err(error) => Err(Unfit(error.to_string())),
        }
    }

    fn metadata_bytes(&self) -> Option<u64> {
        Some(self.storage_bytes as u64)
    }

    #[inline]
    fn get(&self, pinned: Pinned<'_>, order: Order) -> Option<Self::Held> {
        self.frames.alloc(pinned, Request::new(order).movable()).ok().map(ManuallyDrop::new)
    }

    #[inline]
    fn put(&self, pinned: Pinned<'_>, held: Self::Held, _order: Order) {
        self.frames.free(pinned, ManuallyDrop::into_inner(held));
    }

    #[inline]
    fn first(&self, held: &Self::Held) -> Pfn {
        held.pfn()
    }

    fn drain(&self, pinned: Pinned<'_>) {
        self.frames.drain(pinned);
    }

    const MOVES: bool = true;

    fn compact(
        &self,
        pinned: Pinned<'_>,
        held: Vec<(Self::Held, Order)>,
    ) -> (Vec<(Self::Held, Order)>, Moved) {
        let owner =
            Owner(RefCell::new(held.into_iter().map(|(held, order)| (held.pfn(), (held, order))).collect()));
        let done = self.frames.compact(pinned, NodeId::FIRST, Goal::Anything, &owner, u64::MAX);
        (owner.0.into_inner().into_values().collect(), Moved(done.moved))
    }
}
