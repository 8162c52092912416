//! The most that a CPU may keep: so many magazines, of so many bytes, whatever came before.

use core::alloc::Layout;
use core::ptr::NonNull;
use std::vec::Vec;

use super::world::*;
use crate::line::{CpuLine, KEPT, MOST_FULL};
use crate::{CacheSpec, Config, RawCache};

/// The magazines that a CPU keeps beside the loaded one, full and empty.
fn beside(line: &CpuLine) -> (u32, u32) {
    (line.full.count(), line.empty.count())
}

/// Allocations and frees in runs of any length, on CPUs of two nodes, with trims, reclaims, drains and checks between
/// them, each also as a handler that interrupts an operation.
#[test]
fn a_cpu_keeps_so_many_magazines_and_no_more() {
    const CPUS: usize = 3;
    let mut most = (0, 0, 0);
    for (nodes, size, seed) in [(1, 64, 1), (2, 64, 2), (1, 1000, 3), (2, 3000, 4), (1, 8192, 5)] {
        let world =
            World::new(16384, nodes, Config { report: |report| panic!("{report}"), ..Config::new(CPUS) });
        let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", size)).unwrap();
        let (mut random, mut held) = (Random(seed), Vec::<NonNull<u8>>::new());
        for _ in 0..600 {
            be_cpu(random.below(CPUS));
            let line = world.slabs.own_line(cache.record, pinned()).unwrap();
            let mut run = |random: &mut Random, busy: bool| {
                let work = random.below(20);
                let times = random.below(4 * cache.record.shape.most_rounds as usize);
                let mut work = || match work {
                    0 => world.slabs.trim(pinned()),
                    1 => {
                        let _ = world.slabs.reclaim(pinned());
                    }
                    2 => world.slabs.drain(pinned()),
                    3 => world.slabs.validate(pinned()).unwrap(),
                    4 => world.slabs.tick(pinned()),
                    5..12 => held.extend((0..times).map_while(|_| cache.alloc(pinned()).ok())),
                    _ => {
                        for _ in 0..times.min(held.len()) {
                            let object = held.swap_remove(times % held.len());
                            // SAFETY: objects of this cache.
                            unsafe { cache.free(pinned(), object) };
                        }
                    }
                };
                if busy { line.gate.alone(work).unwrap() } else { work() }
            };
            let busy = random.below(4) == 0;
            run(&mut random, busy);
            for cpu in world.slabs.lines_of(cache.record) {
                let (full, empty) = beside(cpu);
                assert!(full <= MOST_FULL && full + empty <= MOST_FULL + KEPT, "{full} full, {empty} empty");
                most = (most.0.max(full), most.1.max(empty), most.2.max(full + empty));
            }
            let report = world.slabs.report_of(cache.record);
            assert_eq!(report.active_objects, held.len() as u64);
        }
        be_cpu(0);
        // SAFETY: objects of this cache.
        held.into_iter().for_each(|object| unsafe { cache.free(pinned(), object) });
        for cpu in 0..CPUS {
            be_cpu(cpu);
            world.slabs.drain(pinned());
        }
        be_cpu(0);
        world.slabs.reclaim(pinned());
        world.slabs.validate(pinned()).unwrap();
        let report = world.slabs.report_of(cache.record);
        assert_eq!((report.slabs, report.in_magazines), (0, 0));
        cache.destroy(pinned()).unwrap();
    }
    assert!(
        most.0 == MOST_FULL && most.1 > KEPT && most.2 > MOST_FULL,
        "the bounds are not reached: {most:?}"
    );
}

/// Of no class does a CPU keep more than 96 KiB, or four objects.
#[test]
fn a_cpu_keeps_so_many_bytes_of_a_class_and_no_more() {
    let world = World::new(32768, 1, Config::new(1));
    for class in 0..crate::class::CLASSES {
        let layout = Layout::from_size_align(crate::class::bytes(class), 8).unwrap();
        let line = world.slabs.own_line(world.slabs.classes[class], pinned()).unwrap();
        for _ in 0..20 {
            let count = (400 << 10) / layout.size() + 1;
            let all: Vec<_> = (0..count).map(|_| world.slabs.alloc(pinned(), layout).unwrap()).collect();
            // SAFETY: each came with this layout.
            all.into_iter().for_each(|object| unsafe { world.slabs.free(pinned(), object, layout) });
        }
        let objects = line.objects() as usize;
        let bytes = objects * layout.size();
        assert!(bytes <= 96 << 10 || objects <= 4, "{objects} of {} bytes", layout.size());
        assert!(objects >= 8 || bytes >= 30 << 10, "{objects} of {} bytes", layout.size());
        world.slabs.reclaim(pinned());
    }
}
