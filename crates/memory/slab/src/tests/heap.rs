//! The heap of `alloc`: its allocator, and the line of each CPU.

use core::alloc::{GlobalAlloc, Layout};
use std::collections::HashSet;

use super::world::*;
use crate::{AlreadySet, Config, Heap, Slabs};

#[test]
fn a_heap_keeps_its_allocator() {
    let (first, second) = (World::small(), World::small());
    let heap = Heap::empty();
    let layout = Layout::new::<u64>();
    // SAFETY: the layout has bytes.
    assert!(unsafe { heap.alloc(layout) }.is_null());
    heap.set(first.slabs).unwrap();
    // SAFETY: the layout has bytes, and the object goes back to the heap that gave it.
    unsafe {
        let object = heap.alloc(layout);
        assert_eq!(heap.set(second.slabs), Err(AlreadySet));
        assert_eq!(heap.set(first.slabs), Err(AlreadySet));
        heap.dealloc(object, layout);
    }
    assert!(core::ptr::eq(heap.get().unwrap(), first.slabs));
    first.slabs.validate(pinned()).unwrap();
    assert_eq!(first.slabs.totals().faults + second.slabs.totals().faults, 0);
}

/// Each CPU's frees stay with that CPU, also through the heap: its next allocation is the object that it freed last.
#[test]
fn a_heap_finds_the_line_of_each_cpu() {
    const CPUS: usize = 3;
    let world = World::new(4096, 1, Config::new(CPUS));
    let heap = Heap::empty();
    heap.set(world.slabs).unwrap();
    let layouts = [(8, 8), (24, 4), (40, 16), (200, 1), (576, 8), (32 << 10, 16), (40_000, 8)];
    for (size, align) in layouts {
        let layout = Layout::from_size_align(size, align).unwrap();
        let mut last = [core::ptr::null_mut(); CPUS];
        for turn in 0..3 {
            for (index, last) in last.iter_mut().enumerate() {
                be_cpu(index);
                // SAFETY: the layout has bytes, and the object goes back to the heap that gave it.
                let locked = stretches(|| unsafe {
                    let object = heap.alloc(layout);
                    assert!(!object.is_null() && object.addr().is_multiple_of(align), "{layout:?}");
                    assert!(turn == 0 || object == *last || size > 32 << 10, "{layout:?} on CPU {index}");
                    heap.dealloc(object, layout);
                    *last = object;
                });
                assert!(turn == 0 || locked == 0 || size > 32 << 10, "{layout:?} on CPU {index}");
            }
        }
        let known = (0..=CPUS).map(|index| world.slabs.registry.lines.has_lines(cpu(index)));
        assert!(known.eq([true, true, true, false]), "{layout:?}");
        be_cpu(0);
        let count = last.iter().collect::<HashSet<_>>().len();
        assert!(count == CPUS || size > 32 << 10, "{layout:?}: {count} CPUs have an object each");
    }
    // A CPU past the last one has no lines, and the heap has nothing for it.
    be_cpu(CPUS);
    // SAFETY: the layout has bytes.
    assert!(unsafe { heap.alloc(Layout::new::<u64>()) }.is_null());
    be_cpu(0);
    world.slabs.validate(pinned()).unwrap();
}

/// Whatever the size and the alignment: the memory is aligned, large enough, and goes back to the class that it came from.
#[test]
fn every_size_and_alignment_has_memory_of_its_class() {
    let world = World::small();
    let heap = Heap::empty();
    heap.set(world.slabs).unwrap();
    for size in (0..600).chain([1000, 4096, 5000, 32 << 10, 40_000]) {
        for align in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 4096] {
            let layout = Layout::from_size_align(size, align).unwrap();
            let usable = Slabs::<TestMachine>::usable_bytes(layout).unwrap();
            // SAFETY: the heap serves layouts of no bytes, too; what it gives has as many bytes as it says, and goes
            // back to it.
            unsafe {
                let objects = [(); 3].map(|()| heap.alloc(layout));
                for (mark, object) in objects.into_iter().enumerate() {
                    assert!(!object.is_null() && object.addr().is_multiple_of(align), "{layout:?}");
                    object.write_bytes(mark as u8, usable);
                }
                for (mark, object) in objects.into_iter().enumerate() {
                    assert!((0..usable).all(|byte| object.add(byte).read() == mark as u8), "{layout:?}");
                    heap.dealloc(object, layout);
                }
            }
        }
    }
    world.slabs.validate(pinned()).unwrap();
    world.slabs.drain(pinned());
    world.slabs.validate(pinned()).unwrap();
    assert_eq!((world.slabs.totals().live_bytes, world.slabs.totals().faults), (0, 0));
}
