//! A handler that interrupts an operation on the CPU's line: all that it may do with the allocator, and the work that is
//! left for afterwards.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::{Cell, RefCell};
use core::ptr::NonNull;
use std::boxed::Box;
use std::collections::HashMap;
use std::vec::Vec;

use rhumb_frames::{AllocClass, Request};
use rhumb_machine::{MemoryUse, VirtRange};

use super::world::*;
use crate::{CacheSpec, Config, Heap, RawCache};

/// Takes so many objects, and gives them back.
fn turn_over(cache: &RawCache<TestMachine>, objects: usize) {
    let all: Vec<_> = (0..objects).map(|_| cache.alloc(pinned()).unwrap()).collect();
    // SAFETY: objects of this cache.
    all.into_iter().for_each(|object| unsafe { cache.free(pinned(), object) });
}

/// Does `work` as a handler that interrupts an operation of this CPU on its line of `cache`.
fn interrupting<A>(cache: &RawCache<TestMachine>, work: impl FnOnce() -> A) -> A {
    let line = cache.slabs().own_line(cache.record, pinned()).unwrap();
    line.gate.alone(work).unwrap()
}

/// Whichever call finds the line busy, the next tick drains it.
#[test]
fn a_tick_drains_the_line_that_a_drain_or_a_reclaim_found_busy() {
    let world = World::new(4096, 1, Config::new(2));
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 64)).unwrap();
    let kept = || world.slabs.report_of(cache.record).in_magazines;
    let drain = || world.slabs.drain(pinned());
    let reclaim = || {
        let _ = world.slabs.reclaim(pinned());
    };
    for work in [&drain as &dyn Fn(), &reclaim] {
        turn_over(&cache, 1000);
        interrupting(&cache, work);
        assert!(kept() > 0, "the line was busy");
        world.slabs.tick(pinned());
        assert_eq!(kept(), 0);
    }
    // A CPU that does not come to its tick answers at its next slow free.
    turn_over(&cache, 1000);
    interrupting(&cache, drain);
    turn_over(&cache, 1);
    assert!(kept() <= 1, "{} are kept", kept());
    world.slabs.validate(pinned()).unwrap();
    cache.destroy(pinned()).unwrap();
}

/// A trim that interrupts an operation asks the CPU, as it asks the others.
#[test]
fn a_tick_drains_the_idle_line_that_a_trim_found_busy() {
    let world = World::small();
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 64)).unwrap();
    turn_over(&cache, 100);
    world.slabs.trim(pinned());
    let kept = || world.slabs.report_of(cache.record).in_magazines;
    assert!(kept() > 0, "it was used since the last trim");
    interrupting(&cache, || world.slabs.trim(pinned()));
    world.slabs.tick(pinned());
    assert_eq!(kept(), 0);
    cache.destroy(pinned()).unwrap();
}

/// Where neither slabs nor frames are left, a handler is served from its node's depot.
#[test]
fn i12_a_handler_takes_what_the_depot_has_when_memory_is_exhausted() {
    const IN_DEPOT: usize = 500;
    let world = World::new(1024, 1, Config::new(2));
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 1000)).unwrap();
    let mut all: Vec<NonNull<u8>> = (0..IN_DEPOT).map(|_| cache.alloc(pinned()).unwrap()).collect();
    let mut frames = Vec::new();
    while let Ok(frame) = world.frames.alloc(pinned(), Request::FRAME.class(AllocClass::Atomic)) {
        frames.push(frame);
    }
    while let Ok(object) = world.slabs.alloc_from(cache.record, pinned(), AllocClass::Atomic) {
        all.push(object);
    }
    // Every other one, so that no slab goes back to the frames: those that no magazine takes go to slabs.
    for at in 0..100 {
        // SAFETY: objects of this cache.
        unsafe { cache.free(pinned(), all.swap_remove(at)) };
    }
    let in_depot = || {
        let guard = rhumb_machine::Machine::irq_off(world.slabs.machine());
        let full = cache.record.depot_of(0, cpu(0)).lock(guard.irq_off()).full.objects;
        (u64::from(full), cache.record.node(guard.irq_off(), 0).free)
    };
    let mut taken = Vec::new();
    let (depot, in_slabs) = in_depot();
    assert!(depot > 0, "the depot has none of the 100");
    interrupting(&cache, || {
        while let Ok(object) = world.slabs.alloc_from(cache.record, pinned(), AllocClass::Atomic) {
            taken.push(object);
        }
    });
    assert_eq!((taken.len() as u64, in_depot()), (depot + in_slabs, (0, 0)));
    world.slabs.validate(pinned()).unwrap();
    // SAFETY: objects of this cache.
    all.into_iter().chain(taken).for_each(|object| unsafe { cache.free(pinned(), object) });
    frames.into_iter().for_each(|frame| world.frames.free(pinned(), frame));
    world.slabs.validate(pinned()).unwrap();
    cache.destroy(pinned()).unwrap();
}

std::thread_local! {
    /// The use that each object may have, by its address.
    static USES: RefCell<HashMap<u64, MemoryUse>> = RefCell::default();
    /// The handler that comes next, just before the machine hears of a free object.
    static HANDLER: Cell<Option<&'static dyn Fn()>> = const { Cell::new(None) };
}

/// Returns a machine that keeps the use of each object in `USES`, and runs the next handler just before it hears of a
/// free object.
fn world_with_handlers() -> World {
    World::that_tells(1024, 1, Config::new(1), |range: VirtRange, memory_use| {
        if memory_use == MemoryUse::FreeObject
            && let Some(handler) = HANDLER.take()
        {
            handler();
        }
        USES.with_borrow_mut(|uses| uses.insert(range.start().get(), memory_use));
    })
}

/// Calls `free` with a handler that takes an object by `take` just before the machine hears of the free object. Returns
/// the handler's object, and the use that it may have afterwards.
fn taken_during(
    take: impl Fn() -> Option<NonNull<u8>> + 'static,
    free: impl FnOnce(),
) -> (NonNull<u8>, Option<MemoryUse>) {
    std::thread_local! { static TAKEN: Cell<Option<NonNull<u8>>> = const { Cell::new(None) } }
    HANDLER.set(Some(Box::leak(Box::new(move || TAKEN.set(take())))));
    free();
    let taken = TAKEN.take().unwrap();
    (taken, USES.with_borrow(|uses| uses.get(&(taken.addr().get() as u64)).copied()))
}

/// A handler may come between a free's entry in the magazine and the machine's note of it, and take that very object:
/// the note does not come afterwards, as if the handler's object were free.
#[test]
fn an_object_that_a_handler_takes_is_not_told_to_be_free() {
    let world = world_with_handlers();
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 64)).unwrap();
    let (slabs, record) = (world.slabs, cache.record);
    // The magazine has room; it is full; there is none.
    for before in [1, 7, 0] {
        let object = cache.alloc(pinned()).unwrap();
        turn_over(&cache, before);
        if before == 0 {
            slabs.drain(pinned());
        }
        let take = move || slabs.alloc_from(record, pinned(), AllocClass::Atomic).ok();
        // SAFETY: an object of this cache.
        let (taken, its_use) = taken_during(take, || unsafe { cache.free(pinned(), object) });
        assert_eq!(its_use, Some(MemoryUse::Allowed), "after {before}");
        // SAFETY: an object of this cache.
        unsafe { cache.free(pinned(), taken) };
    }
    cache.destroy(pinned()).unwrap();
}

/// The same through the heap, whose common path is one of its own.
#[test]
fn memory_that_a_handler_takes_from_the_heap_is_not_told_to_be_free() {
    let world = world_with_handlers();
    let (slabs, heap, layout) = (world.slabs, Heap::empty(), Layout::new::<[u64; 8]>());
    heap.set(slabs).unwrap();
    // The magazine has room; there is none.
    for is_drained in [false, true] {
        // SAFETY: the layout is not empty.
        let object = unsafe { heap.alloc(layout) };
        if is_drained {
            slabs.drain(pinned());
        }
        let take = move || slabs.alloc_as(pinned(), layout, AllocClass::Atomic).ok();
        // SAFETY: the heap gave it with this layout.
        let (taken, its_use) = taken_during(take, || unsafe { heap.dealloc(object, layout) });
        assert_eq!(its_use, Some(MemoryUse::Allowed), "drained: {is_drained}");
        // SAFETY: the heap's allocator gave it with this layout.
        unsafe { heap.dealloc(taken.as_ptr(), layout) };
    }
    slabs.validate(pinned()).unwrap();
}
