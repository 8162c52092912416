//! Several CPUs at once; handlers in the middle of an operation.

use core::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::vec::Vec;

use super::world::*;
use crate::{CacheSpec, Config, RawCache};

/// An object on its way to another CPU.
struct Sent(NonNull<u8>);
// SAFETY: memory has no CPU.
unsafe impl Send for Sent {}

#[test]
fn objects_wander_between_four_cpus_while_one_reclaims() {
    const CPUS: usize = 4;
    let world = World::new(8192, 2, Config { report: |report| panic!("{report}"), ..Config::new(CPUS + 1) });
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 120)).unwrap();
    let (passed, done): (Mutex<Vec<Sent>>, _) = (Mutex::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CPUS)
            .map(|cpu| {
                let (cache, passed, slabs) = (&cache, &passed, world.slabs);
                scope.spawn(move || {
                    be_cpu(cpu);
                    let (mut random, mut held) = (Random(cpu as u64), Vec::new());
                    let check = |object: NonNull<u8>, cpu: u64| {
                        // SAFETY: the object is ours.
                        unsafe { object.cast::<[u64; 2]>().write([object.addr().get() as u64, cpu]) };
                    };
                    let free = |object: NonNull<u8>| {
                        // SAFETY: the object is ours, and of this cache.
                        unsafe {
                            assert_eq!(object.cast::<u64>().read(), object.addr().get() as u64);
                            object.cast::<u64>().write(0);
                            cache.free(pinned(), object);
                        }
                    };
                    for step in 0..30_000 {
                        if random.below(100) < 51 {
                            let object = cache.alloc(pinned()).unwrap();
                            check(object, cpu as u64);
                            held.push(object);
                        } else if !held.is_empty() {
                            let object = held.swap_remove(random.below(held.len()));
                            if random.below(2) == 0 {
                                passed.lock().unwrap().push(Sent(object));
                            } else {
                                free(object);
                            }
                        }
                        let other = passed.lock().unwrap().pop();
                        other.into_iter().for_each(|sent| free(sent.0));
                        if step % 512 == 0 {
                            slabs.tick(pinned());
                        }
                    }
                    held.into_iter().for_each(free);
                    slabs.drain(pinned());
                })
            })
            .collect();
        let (slabs, done) = (world.slabs, &done);
        scope.spawn(move || {
            be_cpu(CPUS);
            while !done.load(Ordering::Relaxed) {
                slabs.reclaim(pinned());
                slabs.trim(pinned());
            }
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        done.store(true, Ordering::Relaxed);
    });
    // SAFETY: objects of this cache.
    passed.into_inner().unwrap().into_iter().for_each(|sent| unsafe { cache.free(pinned(), sent.0) });
    world.slabs.drain(pinned());
    world.slabs.validate(pinned()).unwrap();
    assert_eq!(world.slabs.report_of(cache.record).active_objects, 0);
    cache.destroy(pinned()).unwrap();
    assert_eq!(world.frames.refused_frees(), 0);
}

#[test]
fn a_handler_leaves_an_interrupted_line_alone() {
    let world = World::small();
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 64)).unwrap();
    let outside = cache.alloc(pinned()).unwrap();
    let line = world.slabs.own_line(cache.record, pinned()).unwrap();
    let before = line.objects();
    let from_handler = line.gate.alone(|| {
        let object = cache.alloc(pinned()).unwrap();
        // SAFETY: an object of this cache.
        unsafe { cache.free(pinned(), outside) };
        world.slabs.drain(pinned());
        world.slabs.reclaim(pinned());
        object
    });
    assert_eq!(line.objects(), before, "nothing was taken from it or put into it");
    let from_handler = from_handler.unwrap();
    assert_ne!(from_handler, outside);
    world.slabs.validate(pinned()).unwrap();
    // SAFETY: an object of this cache.
    unsafe { cache.free(pinned(), from_handler) };
    cache.destroy(pinned()).unwrap();
}
