//! Rhumb's own: object caches over its own frame allocator, with a handle and through `GlobalAlloc`.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::NonNull;

use rhumb_frames::{Descriptor, Frames, Layout as FrameLayout, MemoryRange, Zone};
use rhumb_hosted::{HostedMachine, Machine};
use rhumb_machine::{NodeId, Pinned, VirtAddr};
use rhumb_slab::{CacheSpec, Config, Heap, RawCache, Slabs};

use crate::driver::Unfit;
use crate::slab::goals::GLOBAL;
use crate::slab::subject::{FRAME_BYTES, GlobalSubject, ObjectSubject, Place};

pub(crate) type OurFrames = Frames<&'static HostedMachine>;
pub(crate) type OurSlabs = Slabs<&'static HostedMachine>;

/// Returns zeroed words that are never freed: the case has its process to itself.
fn zeroed(bytes: usize) -> &'static mut [u64] {
    vec![0u64; bytes.div_ceil(8)].leak()
}

/// Returns an allocator of objects over an allocator of all the frames of the place.
pub(crate) fn slabs(place: &Place) -> Result<(&'static OurFrames, &'static OurSlabs), Unfit> {
    let (frames, machine) = (place.memory.whole_frames(), place.machine());
    let memory = [MemoryRange { frames, node: NodeId::FIRST }];
    let unfit = |error: &dyn std::fmt::Display| Unfit(error.to_string());
    let layout =
        FrameLayout::new(&memory, machine.cpu_count(), frames.end()).map_err(|error| unfit(&error))?;
    let descriptors = zeroed(frames.end().get() as usize * size_of::<Descriptor>());
    place.on_boot_cpu(|pinned| {
        // SAFETY: the place belongs to the subject of the moment alone, and the storage is its own.
        let made = unsafe { Frames::new(machine, &layout, [frames], zeroed(layout.storage_bytes())) };
        // SAFETY: the descriptors are zero and the subject's own, one for each frame number up to the last.
        let made = made
            .map(|made| unsafe { made.with_descriptors(VirtAddr::from(descriptors.as_ptr().cast::<u8>())) });
        let frames: &'static OurFrames = Box::leak(Box::new(made.map_err(|error| unfit(&error))?));
        // The others keep nothing back.
        Zone::ALL.iter().for_each(|&zone| frames.set_reserve(NodeId::FIRST, zone, 0));
        let slabs = Slabs::new(frames, pinned, Config::new(place.cpus)).map_err(|error| unfit(&error))?;
        Ok((frames, &*Box::leak(Box::new(slabs))))
    })?
}

/// Returns the bytes of allocated frames: the slabs, the magazines, the records.
fn used_bytes(frames: &OurFrames) -> u64 {
    let present: u64 = frames.zones().map(|zone| zone.present).sum();
    (present - frames.free_frames()) * FRAME_BYTES as u64
}

/// With the CPU's token: one size by a cache's handle, other sizes by their class.
pub(super) struct Rhumb {
    frames: &'static OurFrames,
    slabs: &'static OurSlabs,
    cache: RawCache<&'static HostedMachine>,
}

impl ObjectSubject for Rhumb {
    const NAME: &'static str = crate::report::OURS;

    fn fresh(place: &Place, one_size: Layout) -> Result<Self, Unfit> {
        let (frames, slabs) = slabs(place)?;
        let size = one_size.size();
        let cache =
            place.on_boot_cpu(|pinned| RawCache::new(slabs, pinned, &CacheSpec::new("one-size", size)))?;
        Ok(Self { frames, slabs, cache: cache.map_err(|error| Unfit(error.to_string()))? })
    }

    #[inline(always)]
    fn get(&self, pinned: Pinned<'_>, layout: Layout) -> Option<NonNull<u8>> {
        self.slabs.alloc(pinned, layout).ok()
    }

    #[inline(always)]
    unsafe fn put(&self, pinned: Pinned<'_>, object: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller promises an object of this layout that no code uses any more.
        unsafe { self.slabs.free(pinned, object, layout) }
    }

    #[inline(always)]
    fn get_one<const BYTES: usize>(&self, pinned: Pinned<'_>) -> Option<NonNull<u8>> {
        self.cache.alloc(pinned).ok()
    }

    #[inline(always)]
    unsafe fn put_one<const BYTES: usize>(&self, pinned: Pinned<'_>, object: NonNull<u8>) {
        // SAFETY: the caller promises an object of `get_one` that no code uses any more.
        unsafe { self.cache.free(pinned, object) }
    }

    fn reclaim(&self, pinned: Pinned<'_>) {
        self.slabs.reclaim(pinned);
    }

    /// Memory that is free in its frame allocator is free for every user.
    fn held_bytes(&self, _touched_bytes: u64) -> u64 {
        used_bytes(self.frames)
    }
}

/// As `alloc` sees it: it finds out its CPU for each call. Not inlined into its users, as `__rust_alloc` is not.
pub(super) struct Global {
    frames: &'static OurFrames,
    heap: Heap<&'static HostedMachine>,
}

// SAFETY: both calls go to the heap.
unsafe impl GlobalAlloc for Global {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller promises a layout that has bytes.
        unsafe { self.heap.alloc(layout) }
    }

    #[inline(never)]
    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        // SAFETY: the caller promises memory of this layout that no code uses any more.
        unsafe { self.heap.dealloc(object, layout) }
    }
}

impl GlobalSubject for Global {
    const NAME: &'static str = GLOBAL;

    fn fresh(place: &Place) -> Result<Self, Unfit> {
        let (frames, slabs) = slabs(place)?;
        let heap = Heap::empty();
        heap.set(slabs).map_err(|error| Unfit(error.to_string()))?;
        Ok(Self { frames, heap })
    }

    fn reclaim(&self) {
        if let Some(slabs) = self.heap.get() {
            slabs.reclaim(slabs.machine().pin().pinned());
        }
    }

    fn held_bytes(&self, _touched_bytes: u64) -> u64 {
        used_bytes(self.frames)
    }
}
