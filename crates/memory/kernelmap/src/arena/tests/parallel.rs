//! Several CPUs at once: ranges wander between them, while one reclaims, walks and checks.

use core::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::vec::Vec;

use super::world::*;
use crate::HeldRange;

#[test]
fn ranges_wander_between_four_cpus_while_one_reclaims() {
    const CPUS: usize = 4;
    let world = World::new(1 << 14, CPUS + 1);
    let (passed, done) = (Mutex::<Vec<HeldRange>>::default(), AtomicBool::new(false));
    // One flag for each unit: a unit with two holders is seen.
    let used: Vec<_> = (0..1 << 14).map(|_| AtomicBool::new(false)).collect();
    let set = |range: &HeldRange, is_used: bool| {
        for unit in range.range().start()..range.range().end() {
            let before = used[(unit - START) as usize].swap(is_used, Ordering::Relaxed);
            assert_ne!(before, is_used, "the unit {unit} has two holders");
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CPUS)
            .map(|cpu| {
                let (world, passed, set) = (&world, &passed, &set);
                scope.spawn(move || {
                    be_cpu(cpu);
                    let (mut random, mut held) = (Random(cpu as u64), Vec::<HeldRange>::new());
                    let free = |range: HeldRange| {
                        set(&range, false);
                        world.free(range);
                    };
                    for step in 0..20_000 {
                        if random.below(100) < 51 {
                            let units = 1 + random.below(if step % 8 == 0 { 60 } else { 16 }) as u64;
                            if let Some(range) = world.alloc(units) {
                                set(&range, true);
                                held.push(range);
                            }
                        } else if !held.is_empty() {
                            let range = held.swap_remove(random.below(held.len()));
                            if random.below(2) == 0 {
                                passed.lock().unwrap().push(range);
                            } else {
                                free(range);
                            }
                        }
                        let other = passed.lock().unwrap().pop();
                        other.into_iter().for_each(free);
                        if step % 512 == 0 {
                            world.arena.tick(pinned());
                        }
                    }
                    held.into_iter().for_each(free);
                    world.arena.drain(pinned());
                })
            })
            .collect();
        let (world, done) = (&world, &done);
        scope.spawn(move || {
            be_cpu(CPUS);
            while !done.load(Ordering::Relaxed) {
                world.arena.reclaim(pinned());
                world.arena.trim(pinned());
                world.arena.validate(pinned()).unwrap();
                let mut end = 0;
                world
                    .arena
                    .for_each(|range| {
                        assert!(range.range.start() >= end, "{range:?} after {end}");
                        end = range.range.end();
                        ControlFlow::Continue(())
                    })
                    .unwrap();
            }
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        done.store(true, Ordering::Relaxed);
    });
    passed.into_inner().unwrap().into_iter().for_each(|range| world.free(range));
    world.arena.drain(pinned());
    world.assert_whole(1);
}

/// A unit is found whatever merges and is divided around it meanwhile.
#[test]
fn each_unit_is_found_while_two_cpus_churn() {
    const UNITS: u64 = 3000;
    let (world, done) = (World::new(UNITS, 3), AtomicBool::new(false));
    world.arena.set_cpu_units(pinned(), 0);
    std::thread::scope(|scope| {
        let (world, done) = (&world, &done);
        for cpu in 1..3 {
            scope.spawn(move || {
                be_cpu(cpu);
                let (mut random, mut held) = (Random(cpu as u64), Vec::new());
                while !done.load(Ordering::Relaxed) {
                    if random.below(2) == 0 && !held.is_empty() {
                        world.free(held.swap_remove(random.below(held.len())));
                    } else {
                        held.extend(world.alloc(1 + random.below(30) as u64));
                    }
                }
                held.into_iter().for_each(|range| world.free(range));
            });
        }
        let mut random = Random(0);
        let missed = (0..2000).find(|_| {
            let unit = START + random.below(UNITS as usize) as u64;
            !world.arena.find(unit).unwrap().is_some_and(|found| found.range.contains(unit))
        });
        done.store(true, Ordering::Relaxed);
        assert_eq!(missed, None, "a unit of the span was not found");
    });
    world.assert_whole(1);
}
