//! The registry's allocators: each behind the lock that its users would put around it.

use std::ptr::NonNull;

use buddy_system_allocator::LockedFrameAllocator;
use offset_allocator::{Allocation, Allocator};
use range_alloc::RangeAllocator;
use rangemap::RangeSet;
use rhumb_machine::Pinned;
use spin::Mutex;
use vmem::{Arena, Bt};

use crate::driver::Unfit;
use crate::ranges::subject::{FIRST, RangeSubject, Request, UNITS};
use crate::slab::Place;

/// A range as its users keep it.
type Units = std::ops::Range<u64>;

/// `offset-allocator`: all of its nodes are there from the start, as its interface wants it.
pub(super) struct Offset(Mutex<Allocator>);

/// Ranges of `offset-allocator`, free and live.
const NODES: u32 = 1 << 17;

impl RangeSubject for Offset {
    const NAME: &'static str = "offset-allocator";
    type Range = Allocation;

    fn fresh(_place: &Place) -> Result<Self, Unfit> {
        Ok(Self(Mutex::new(Allocator::with_max_allocs(UNITS as u32, NODES))))
    }

    #[inline]
    fn get(&self, _pinned: Pinned<'_>, request: Request) -> Option<Allocation> {
        self.0.lock().allocate(request.units + request.align - 1)
    }

    #[inline]
    fn put(&self, _pinned: Pinned<'_>, range: Allocation) {
        self.0.lock().free(range);
    }

    fn first(&self, range: &Allocation, request: Request) -> u64 {
        (FIRST + u64::from(range.offset)).next_multiple_of(u64::from(request.align))
    }
}

/// `range-alloc`.
pub(super) struct RangeAlloc(Mutex<RangeAllocator<u64>>);

impl RangeSubject for RangeAlloc {
    const NAME: &'static str = "range-alloc";
    type Range = Units;

    fn fresh(_place: &Place) -> Result<Self, Unfit> {
        Ok(Self(Mutex::new(RangeAllocator::new(FIRST..FIRST + UNITS))))
    }

    #[inline]
    fn get(&self, _pinned: Pinned<'_>, request: Request) -> Option<Units> {
        let (units, mut allocator) = (u64::from(request.units), self.0.lock());
        if request.align == 1 {
            allocator.allocate_range(units).ok()
        } else {
            allocator.allocate_range_aligned(units, u64::from(request.align)).ok()
        }
    }

    #[inline]
    fn put(&self, _pinned: Pinned<'_>, range: Units) {
        self.0.lock().free_range(range);
    }

    fn first(&self, range: &Units, _request: Request) -> u64 {
        range.start
    }
}

/// Boundary tags of `vmem` on the process's heap.
struct HeapTags;

// SAFETY: each tag is a box of its own.
unsafe impl vmem::alloc::Allocator for HeapTags {
    fn allocate(&self) -> Option<NonNull<Bt>> {
        let layout = std::alloc::Layout::new::<Bt>();
        // SAFETY: a tag has bytes.
        NonNull::new(unsafe { std::alloc::alloc(layout) }.cast())
    }

    unsafe fn deallocate(&self, tag: NonNull<Bt>) {
        // SAFETY: `allocate` took it with this layout, and the caller is its last user.
        unsafe { std::alloc::dealloc(tag.as_ptr().cast(), std::alloc::Layout::new::<Bt>()) }
    }
}

/// A spin lock for `vmem`, as for the others.
#[derive(Default)]
struct SpinLock(Mutex<()>);

// SAFETY: a spin lock.
unsafe impl vmem::lock::Lock for SpinLock {
    type Guard<'a> = spin::MutexGuard<'a, ()>;

    fn lock(&self) -> Self::Guard<'_> {
        self.0.lock()
    }
}

/// `vmem`.
pub(super) struct Vmem(Arena<'static, 'static, HeapTags, SpinLock>);

impl RangeSubject for Vmem {
    const NAME: &'static str = "vmem";
    type Range = usize;

    fn fresh(_place: &Place) -> Result<Self, Unfit> {
        let unfit = |error| Unfit(format!("{error:?}"));
        let arena = Arena::create("units", 1, None, HeapTags).map_err(unfit)?;
        arena.add_span(FIRST as usize, UNITS as usize).map_err(unfit)?;
        Ok(Self(arena))
    }

    #[inline]
    fn get(&self, _pinned: Pinned<'_>, request: Request) -> Option<usize> {
        let units = (request.units + request.align - 1) as usize;
        self.0.alloc(units, vmem::AllocPolicy::InstantFit).ok()
    }

    #[inline]
    fn put(&self, _pinned: Pinned<'_>, first: usize) {
        // It is of this arena, as each of a workload's ranges is.
        let _ = self.0.free(first);
    }

    fn first(&self, first: &usize, request: Request) -> u64 {
        (*first as u64).next_multiple_of(u64::from(request.align))
    }
}

/// `rangemap`: a set of the free ranges.
pub(super) struct RangeMap(Mutex<RangeSet<u64>>);

impl RangeSubject for RangeMap {
    const NAME: &'static str = "rangemap";
    type Range = Units;

    fn fresh(_place: &Place) -> Result<Self, Unfit> {
        let mut free = RangeSet::new();
        free.insert(FIRST..FIRST + UNITS);
        Ok(Self(Mutex::new(free)))
    }

    #[inline]
    fn get(&self, _pinned: Pinned<'_>, request: Request) -> Option<Units> {
        let mut free = self.0.lock();
        let range = free.iter().find_map(|free| {
            let first = free.start.next_multiple_of(u64::from(request.align));
            let range = first..first + u64::from(request.units);
            (range.end <= free.end).then_some(range)
        })?;
        free.remove(range.clone());
        Some(range)
    }

    #[inline]
    fn put(&self, _pinned: Pinned<'_>, range: Units) {
        self.0.lock().insert(range);
    }

    fn first(&self, range: &Units, _request: Request) -> u64 {
        range.start
    }
}

/// `buddy_system_allocator`: its own locked version.
pub(super) struct Buddy(LockedFrameAllocator);

impl RangeSubject for Buddy {
    const NAME: &'static str = "buddy_system_allocator";
    /// The first unit, and how many were asked for.
    type Range = (usize, usize);

    fn fresh(_place: &Place) -> Result<Self, Unfit> {
        let allocator = LockedFrameAllocator::new();
        allocator.lock().add_frame(FIRST as usize, (FIRST + UNITS) as usize);
        Ok(Self(allocator))
    }

    #[inline]
    fn get(&self, _pinned: Pinned<'_>, request: Request) -> Option<(usize, usize)> {
        let units = request.units.max(request.align) as usize;
        self.0.lock().alloc(units).map(|first| (first, units))
    }

    #[inline]
    fn put(&self, _pinned: Pinned<'_>, (first, units): (usize, usize)) {
        self.0.lock().dealloc(first, units);
    }

    fn first(&self, &(first, _): &(usize, usize), _request: Request) -> u64 {
        first as u64
    }
}
