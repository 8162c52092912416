//! Model checking: loom on a CPU's cache and on the lock, shuttle on the whole.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p rhumb-kernelmap --lib --release`, and the same with `--cfg shuttle`.
#![expect(unsafe_code, reason = "makes machines of memory and threads of the process")]

#[cfg(shuttle)]
#[path = "world.rs"]
mod world;

#[cfg(loom)]
mod small {
    use loom::sync::Arc;
    use rhumb_machine::{CpuId, IrqOff};
    use rhumb_sync::Lock;

    use crate::arena::bins::Bins;
    use crate::arena::cpu::CpuCache;
    use crate::arena::ranges::Ranges;
    use crate::arena::stock::Chain;
    use crate::arena::tag::{State, TagRef};
    use crate::{Fit, Units};

    fn check(work: impl Fn() + Sync + Send + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(work);
    }

    /// Returns a proof for a thread of the model.
    fn irq_off(cpu: usize) -> IrqOff<'static> {
        // SAFETY: each thread of the model is a CPU of its own, and has no interrupts.
        unsafe { IrqOff::assume(CpuId::new(cpu).unwrap()) }
    }

    fn range_of(units: u64) -> TagRef {
        let tag = TagRef::of_test();
        tag.set_range(0, units);
        tag.set_state(State::Held);
        tag
    }

    /// A CPU begins to keep ranges while another asks for them: the request is seen at the next free, or before.
    #[test]
    fn a_request_is_not_missed() {
        check(|| {
            let cache = Arc::new(CpuCache::new());
            let asker = {
                let cache = Arc::clone(&cache);
                loom::thread::spawn(move || cache.gate.ask())
            };
            cache.gate.bound(8);
            let kept = cache.push(range_of(1), 1);
            asker.join().unwrap();
            assert!(cache.gate.is_wanted(), "the request is gone");
            assert!(!cache.push(range_of(2), 2), "a range is kept after the request");
            assert_eq!(cache.units(), u32::from(kept));
        });
    }

    /// A CPU gives all back, in batches, while another asks once more: the CPU keeps nothing, or the request stays.
    #[test]
    fn a_request_that_meets_a_drain_is_answered_or_stays() {
        check(|| {
            let cache = Arc::new(CpuCache::new());
            cache.gate.bound(8);
            assert!(cache.push(range_of(1), 1) && cache.push(range_of(2), 2));
            let asker = {
                let cache = Arc::clone(&cache);
                loom::thread::spawn(move || cache.gate.ask())
            };
            while cache.take_any(|_| {}) > 0 {}
            cache.gate.bound(0);
            cache.gate.answer();
            cache.gate.bound(8);
            let kept = cache.push(range_of(1), 1);
            asker.join().unwrap();
            // Where the request was answered, it came before the CPU had given all back.
            assert!(cache.gate.is_wanted() || kept, "the request is gone, and nothing is kept");
            assert_eq!(cache.units(), u32::from(kept));
        });
    }

    /// Two CPUs take ranges of one span and give one of them back: no two overlap, and all merges again.
    #[test]
    fn ranges_under_the_lock_are_one_holders_each() {
        check(|| {
            let bins = std::boxed::Box::leak(std::boxed::Box::new(Bins::new()));
            let shared = Arc::new(Lock::new(Ranges::new(bins)));
            {
                let mut ranges = shared.lock(irq_off(0));
                let mut tags = Chain::EMPTY;
                (0..4).for_each(|_| tags.push(TagRef::of_test()));
                ranges.stock.add(&mut tags);
                ranges.add_span(Units::of_length(0, 10).unwrap()).unwrap();
            }
            let turn = move |shared: &Lock<Ranges>, cpu: usize| {
                let fit = Fit::new(3).unwrap();
                let taken = shared.lock(irq_off(cpu)).take(fit, State::Held).unwrap();
                let range = taken.range();
                shared.lock(irq_off(cpu)).give(taken);
                range
            };
            let other = {
                let shared = Arc::clone(&shared);
                loom::thread::spawn(move || turn(&shared, 1))
            };
            let kept = shared.lock(irq_off(0)).take(Fit::new(2).unwrap(), State::Held).unwrap();
            let own = turn(&shared, 0);
            let others = other.join().unwrap();
            assert!(!kept.range().overlaps(own));
            let mut ranges = shared.lock(irq_off(0));
            ranges.give(kept);
            assert_eq!((ranges.free_units, ranges.out, ranges.stock.count()), (10, 0, 3));
            assert!(others.end() <= 10);
        });
    }
}

#[cfg(shuttle)]
mod whole {
    use std::sync::Arc;
    use std::vec::Vec;

    use shuttle::rand::Rng;

    use super::world::*;
    use crate::HeldRange;

    const CPUS: usize = 3;
    const UNITS: u64 = 60;

    /// Does the work of a CPU: allocates, passes ranges on, frees those of other CPUs, gives back when asked.
    fn work(world: &World, cpu: usize, passed: &shuttle::sync::Mutex<Vec<HeldRange>>) {
        let mut held = Vec::new();
        for step in 0..30usize {
            be_cpu(cpu);
            if (step + cpu) % 5 < 3 {
                let range = world.alloc(1 + (step % 4) as u64);
                be_cpu(cpu);
                if step % 2 == 0 { passed.lock().unwrap().extend(range) } else { held.extend(range) }
            } else {
                let range = passed.lock().unwrap().pop().or_else(|| held.pop());
                be_cpu(cpu);
                range.into_iter().for_each(|range| world.free(range));
            }
            be_cpu(cpu);
            match step % 13 {
                5 => world.arena.reclaim(pinned()),
                9 => world.arena.tick(pinned()),
                11 => world.arena.trim(pinned()),
                _ => {}
            }
        }
        for range in held {
            be_cpu(cpu);
            world.free(range);
        }
        be_cpu(cpu);
        world.arena.drain(pinned());
    }

    /// Runs a model in so many random schedules.
    fn check(schedules: usize, model: impl Fn() + Send + Sync + 'static) {
        let mut config = shuttle::Config::new();
        config.stack_size = 4 << 20;
        let scheduler = shuttle::scheduler::RandomScheduler::new(schedules);
        shuttle::Runner::new(scheduler, config).run(model);
    }

    /// A CPU begins to keep ranges while another takes its share away: the CPU is asked, or sees the new share.
    #[test]
    fn a_share_that_is_taken_away_is_not_kept() {
        check(200, || {
            let world = Arc::new(World::new(600, 2));
            // The spare tags are there, so that the CPU's way to its share is short.
            world.alloc(20).into_iter().for_each(|range| world.free(range));
            let keeper = {
                let world = Arc::clone(&world);
                shuttle::thread::spawn(move || {
                    be_cpu(1);
                    let range = world.alloc(1).unwrap();
                    be_cpu(1);
                    world.free(range);
                })
            };
            let steps = shuttle::rand::thread_rng().gen_range(0..100);
            (0..steps).for_each(|_| shuttle::thread::yield_now());
            be_cpu(0);
            world.arena.set_cpu_units(pinned(), 0);
            keeper.join().unwrap();
            be_cpu(1);
            world.arena.tick(pinned());
            world.alloc(1).into_iter().for_each(|range| world.free(range));
            assert_eq!(world.arena.report().kept_units, 0);
            world.assert_whole(1);
        });
    }

    #[test]
    fn every_range_is_in_one_place() {
        check(100, || {
            let world = Arc::new(World::new(UNITS, CPUS));
            let passed = Arc::new(shuttle::sync::Mutex::new(Vec::new()));
            let threads: Vec<_> = (0..CPUS)
                .map(|cpu| {
                    let (world, passed) = (Arc::clone(&world), Arc::clone(&passed));
                    shuttle::thread::spawn(move || work(&world, cpu, &passed))
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            be_cpu(0);
            passed.lock().unwrap().drain(..).for_each(|range| world.free(range));
            world.arena.drain(pinned());
            world.assert_whole(1);
        });
    }
}
