//! The lines of CPUs: each CPU makes its own when it first needs one. CPUs without lines, and lines without magazines.

use core::ptr::NonNull;
use std::boxed::Box;
use std::vec::Vec;

use rhumb_frames::{AllocClass, Reclaimer, Request, Shortage};
use rhumb_machine::Pinned;
use rhumb_sync::atomic::{AtomicU32, Relaxed};

use super::world::*;
use crate::line::CpuLine;
use crate::lines::MAX_CACHES;
use crate::{CacheSpec, Config, RawCache};

/// A CPU makes its lines when it first needs one: on its own node, once, for all caches that there are or will be.
#[test]
fn a_cpu_has_its_lines_on_its_own_node() {
    // Node 0 has frames past the zone of the first 16 MiB, which is taken from last.
    const FRAMES: usize = 16384;
    let world = World::new(FRAMES as u64, 2, Config::new(64));
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 64)).unwrap();
    let own_bytes = || world.slabs.totals().own_bytes;
    let start = world.start();
    for cpu in [0, 1, 63, 2] {
        be_cpu(cpu);
        assert!(world.slabs.line(cache.record, pinned().cpu()).is_none(), "CPU {cpu} has used nothing");
        let before = own_bytes();
        let object = cache.alloc(pinned()).unwrap();
        // SAFETY: an object of this cache.
        unsafe { cache.free(pinned(), object) };
        assert!((16 << 10..32 << 10).contains(&(own_bytes() - before)), "CPU {cpu}");
        let at = core::ptr::from_ref(world.slabs.line(cache.record, pinned().cpu()).unwrap()).addr();
        assert_eq!((at - start) / (FRAMES << 12 >> 1), cpu % 2, "the node of CPU {cpu}");
        let next = RawCache::new(world.slabs, pinned(), &CacheSpec::new("n", 64)).unwrap();
        assert!(world.slabs.line(next.record, pinned().cpu()).is_some());
        next.destroy(pinned()).unwrap();
    }
    be_cpu(0);
    assert!(!world.slabs.line(cache.record, pinned().cpu()).unwrap().gate.is_wanted());
    world.slabs.validate(pinned()).unwrap();
}

/// A handler that makes the CPU's lines while the code that it interrupts does so: the second memory is refused.
#[test]
fn lines_are_made_once() {
    let world = World::small();
    world.open_lines();
    let lines = &world.slabs.registry.lines;
    let first = lines.first(pinned().cpu());
    let second = Box::leak(Box::new([const { CpuLine::new() }; MAX_CACHES]));
    let memory = NonNull::from(second).cast();
    // SAFETY: the memory is leaked, and has a line for each cache.
    assert_eq!(unsafe { lines.open(pinned().cpu(), memory) }, Some(memory));
    assert_eq!(lines.first(pinned().cpu()), first);
    // A CPU past the last one makes none.
    let own_bytes = world.slabs.totals().own_bytes;
    be_cpu(9);
    world.slabs.set_up_cpu(pinned());
    assert!(!lines.has_lines(cpu(9)) && world.slabs.totals().own_bytes == own_bytes);
    be_cpu(0);
}

/// Where there is no memory for a CPU's lines, its objects come from the slabs and go back there.
#[test]
fn i12_a_cpu_without_lines_uses_the_slabs() {
    let world = World::new(1024, 1, Config::new(2));
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 64)).unwrap();
    let first: Vec<_> = (0..20).map(|_| cache.alloc(pinned()).unwrap()).collect();
    world.slabs.drain(pinned());
    be_cpu(1);
    let mut frames = Vec::new();
    while let Ok(frame) = world.frames.alloc(pinned(), Request::FRAME.class(AllocClass::Emergency)) {
        frames.push(frame);
    }
    let second: Vec<_> = (0..20).map(|_| cache.alloc(pinned()).unwrap()).collect();
    assert!(world.slabs.line(cache.record, pinned().cpu()).is_none(), "there is memory for lines");
    // SAFETY: objects of this cache.
    first.into_iter().chain(second).for_each(|object| unsafe { cache.free(pinned(), object) });
    world.slabs.validate(pinned()).unwrap();
    frames.into_iter().for_each(|frame| world.frames.free(pinned(), frame));
    let object = cache.alloc(pinned()).unwrap();
    assert!(world.slabs.line(cache.record, pinned().cpu()).is_some());
    // SAFETY: an object of this cache.
    unsafe { cache.free(pinned(), object) };
    be_cpu(0);
    assert_eq!(world.slabs.report_of(cache.record).active_objects, 0);
}

/// An allocation that lacks a magazine, and no object, calls no reclaimer: it goes without.
#[test]
fn no_reclaimer_is_called_for_a_magazine() {
    struct Counting(AtomicU32);
    impl Reclaimer for Counting {
        fn name(&self) -> &str {
            "counting"
        }
        fn reclaim(&self, _: Pinned<'_>, _: &Shortage) -> u64 {
            self.0.fetch_add(1, Relaxed);
            0
        }
    }
    let world = World::new(1024, 1, Config::new(1));
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 1000)).unwrap();
    let held: Vec<_> = (0..40).map(|_| cache.alloc(pinned()).unwrap()).collect();
    // Every other one, so that slabs have objects; without magazines, and with memory for none.
    // SAFETY: objects of this cache.
    held.iter().step_by(2).for_each(|&object| unsafe { cache.free(pinned(), object) });
    world.slabs.drain(pinned());
    let reclaimer: &Counting = Box::leak(Box::new(Counting(AtomicU32::new(0))));
    world.frames.register_reclaimer(reclaimer).unwrap();
    let mut frames = Vec::new();
    while let Ok(frame) = world.frames.alloc(pinned(), Request::FRAME.class(AllocClass::Emergency)) {
        frames.push(frame);
    }
    let mut cells = Vec::new();
    while let Some(magazine) = world.slabs.new_magazine(pinned(), cache.record.rounds()) {
        cells.push(magazine);
    }
    let again: Vec<_> = (0..20).map(|_| cache.alloc(pinned()).unwrap()).collect();
    assert_eq!(reclaimer.0.load(Relaxed), 0);
    assert!(cache.alloc(pinned()).is_err() && reclaimer.0.load(Relaxed) > 0, "for a slab one is called");
    cells.into_iter().for_each(|magazine| world.slabs.end_magazine(pinned(), magazine));
    let rest = held.into_iter().skip(1).step_by(2);
    // SAFETY: objects of this cache.
    again.into_iter().chain(rest).for_each(|object| unsafe { cache.free(pinned(), object) });
    frames.into_iter().for_each(|frame| world.frames.free(pinned(), frame));
    world.slabs.validate(pinned()).unwrap();
    cache.destroy(pinned()).unwrap();
}
