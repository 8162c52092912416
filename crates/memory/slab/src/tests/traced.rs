//! Traced caches tell of each allocation and free, once: also those that were made while they were traced.

use core::alloc::Layout;
use std::cell::RefCell;
use std::vec::Vec;

use rhumb_machine::{MemoryEvent, VirtAddr};

use super::world::*;
use crate::{CacheSpec, CheckList, Config, RawCache};

std::thread_local! {
    static TOLD: RefCell<Vec<MemoryEvent>> = const { RefCell::new(Vec::new()) };
}

/// Returns what this thread was told of objects since the last call.
fn told() -> Vec<MemoryEvent> {
    TOLD.take()
}

fn tell(event: &MemoryEvent) {
    TOLD.with_borrow_mut(|told| told.push(*event));
}

/// Returns what an allocation and a free of an object are told as, with the number of its cache.
fn pair(address: usize, bytes: u64, cache: Option<u16>) -> [MemoryEvent; 2] {
    let address = VirtAddr::new(address as u64);
    [
        MemoryEvent::ObjectAllocated { address, bytes, cache },
        MemoryEvent::ObjectFreed { address, bytes, cache },
    ]
}

#[test]
fn each_allocation_and_free_is_told_once_while_they_are_traced() {
    for checks in [CheckList::NONE, CheckList::parse("FZP").unwrap()] {
        let world = World::that_is_traced(Config { checks, ..Config::new(1) }, tell);
        let early = RawCache::new(world.slabs, pinned(), &CacheSpec::new("early", 100)).unwrap();
        for is_traced in [false, true, false, true] {
            world.slabs.set_traced(is_traced);
            let late = RawCache::new(world.slabs, pinned(), &CacheSpec::new("late", 200)).unwrap();
            for cache in [&early, &late] {
                for _ in 0..3 {
                    let object = cache.alloc(pinned()).unwrap();
                    // SAFETY: it is of this cache.
                    unsafe { cache.free(pinned(), object) };
                    let expected =
                        pair(object.addr().get(), cache.object_bytes() as u64, Some(cache.record.setup.id));
                    assert_eq!(told(), if is_traced { expected.to_vec() } else { Vec::new() });
                }
            }
            for size in [8, 100, 4096, 40_000] {
                let layout = Layout::from_size_align(size, 8).unwrap();
                for _ in 0..3 {
                    let object = world.slabs.alloc(pinned(), layout).unwrap();
                    // SAFETY: it came with this layout.
                    unsafe { world.slabs.free(pinned(), object, layout) };
                    let told = told();
                    assert_eq!(told.len(), if is_traced { 2 } else { 0 }, "{told:?}");
                }
            }
            assert_eq!(world.slabs.cache_name(late.record.setup.id).unwrap().as_str(), "late");
            late.destroy(pinned()).map_err(|(_, error)| error).unwrap();
        }
        early.destroy(pinned()).map_err(|(_, error)| error).unwrap();
        world.slabs.validate(pinned()).unwrap();
        assert_eq!(world.slabs.totals().live_bytes, 0);
    }
}
