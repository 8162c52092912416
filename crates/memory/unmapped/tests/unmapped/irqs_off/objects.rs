//! Object caches: as many as there can be, with something in the magazines of each CPU.

use std::hint::black_box;

use rhumb_frames::Frames;
use rhumb_hosted::Cpu;
use rhumb_machine::Pinned;
use rhumb_slab::{CacheSpec, Config, RawCache, Slabs};

use super::Clock;
use crate::world::Hosted;

pub(super) type Caches = Vec<RawCache<Hosted>>;

pub(super) fn caches(
    frames: &'static Frames<Hosted>,
    pinned: Pinned<'_>,
) -> (&'static Slabs<Hosted>, Caches) {
    let config = Config::new(frames.machine().cpus().len());
    let slabs: &'static Slabs<Hosted> = Box::leak(Box::new(Slabs::new(frames, pinned, config).unwrap()));
    let sizes = (0..).map(|number| 16 + number % 60 * 16);
    let caches = sizes.map_while(|size| RawCache::new(slabs, pinned, &CacheSpec::new("clock", size)).ok());
    let caches: Caches = caches.collect();
    // Many slabs of one cache, for what looks at each object.
    for _ in 0..200_000 {
        let _ = caches[0].alloc(pinned).unwrap();
    }
    (slabs, caches)
}

pub(super) fn fill_magazines(machine: Hosted, caches: &Caches) {
    let fill = |cpu: &Cpu<'_>| {
        for cache in caches {
            let taken: Vec<_> = (0..40).map(|_| cache.alloc(cpu.pinned()).unwrap()).collect();
            // SAFETY: each was allocated from this cache just now.
            taken.into_iter().for_each(|object| unsafe { cache.free(cpu.pinned(), object) });
        }
    };
    // One after the other, so that each round finds the same.
    machine.cpus().iter().for_each(|cpu| machine.enter(cpu, fill).unwrap());
}

pub(super) fn clock(slabs: &Slabs<Hosted>, caches: &Caches, cpu: &Cpu<'_>, clock: &mut Clock) {
    clock.time(cpu, "reports of caches", || {
        slabs.for_each_report(|report| {
            black_box(report);
        });
        black_box(slabs.totals());
    });
    clock.time(cpu, "leaks of 200,000 objects", || {
        slabs.leaks(|_, object| {
            black_box(object);
        });
    });
    // Again and again, because each round has other slabs.
    for _ in 0..3 {
        clock.time(cpu, "validate of caches", || slabs.validate(cpu.pinned()).unwrap());
    }
    clock.time(cpu, "trim of caches", || slabs.trim(cpu.pinned()));
    clock.time(cpu, "reclaim of caches", || black_box(slabs.reclaim(cpu.pinned())));
    clock.time(cpu, "drain of caches", || slabs.drain(cpu.pinned()));
    clock.time(cpu, "tick of caches", || slabs.tick(cpu.pinned()));
    clock.time(cpu, "alloc and free of 2,000 objects", || {
        let taken: Vec<_> = (0..2000).map(|_| caches[1].alloc(cpu.pinned()).unwrap()).collect();
        // SAFETY: each was allocated from this cache just now.
        taken.into_iter().for_each(|object| unsafe { caches[1].free(cpu.pinned(), object) });
    });
}
