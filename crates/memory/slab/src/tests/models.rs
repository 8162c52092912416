//! Model checking: loom on the request to drain, shuttle on the whole.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p rhumb-slab --lib --release`, and the same with `--cfg shuttle`.

#[cfg(shuttle)]
#[path = "world.rs"]
mod world;

#[cfg(loom)]
mod small {
    use loom::sync::Arc;

    use crate::line::CpuLine;
    use crate::magazine::Magazine;

    fn check(work: impl Fn() + Sync + Send + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(work);
    }

    fn magazine() -> Magazine {
        magazine_for(6)
    }

    /// Returns an empty magazine for at most six rounds.
    fn magazine_for(room: u32) -> Magazine {
        let cell = std::boxed::Box::leak(std::boxed::Box::new([0u64; 8]));
        // SAFETY: 64 bytes that are lent permanently, aligned as the header, with six rounds beside it.
        unsafe { Magazine::place(core::ptr::NonNull::from(cell).cast(), room) }
    }

    /// A CPU that sets its limit while another asks it to drain sees the request, or its limit stays 0: one of them.
    #[test]
    fn a_request_to_drain_is_not_missed() {
        check(|| {
            let line = Arc::new(CpuLine::new());
            let asker = {
                let line = Arc::clone(&line);
                loom::thread::spawn(move || line.gate.ask())
            };
            line.load(magazine());
            let seen = line.gate.is_wanted();
            asker.join().unwrap();
            let one = core::ptr::NonNull::<u64>::dangling().cast();
            assert!(
                seen || !line.push(one),
                "neither was the request seen, nor does the next free go the slow way"
            );
        });
    }

    /// A CPU exchanges its magazine while another asks it to drain: the next free goes the slow way, and the objects
    /// that the CPU held are beside the new magazine.
    #[test]
    fn a_request_that_meets_an_exchange_of_magazines_is_not_missed() {
        check(|| {
            let line = Arc::new(CpuLine::new());
            line.load(magazine());
            let one = core::ptr::NonNull::<u64>::dangling().cast();
            assert!(line.push(one));
            let asker = {
                let line = Arc::clone(&line);
                loom::thread::spawn(move || line.gate.ask())
            };
            line.exchange(magazine());
            assert_eq!((line.objects(), line.full.objects()), (1, 1));
            assert!(line.load_full());
            asker.join().unwrap();
            assert!(line.gate.is_wanted() && !line.push(one), "the request is gone");
            assert_eq!((line.pop(), line.objects()), (Some(one), 0));
        });
    }

    /// A CPU exchanges its magazine for one with less room while another asks it to drain: no more is kept than there
    /// is room for, and the request is not missed.
    #[test]
    fn an_exchange_for_less_room_keeps_no_more_than_that() {
        check(|| {
            let line = Arc::new(CpuLine::new());
            line.load(magazine());
            let one = core::ptr::NonNull::<u64>::dangling().cast();
            assert!((0..3).all(|_| line.push(one)));
            let asker = {
                let line = Arc::clone(&line);
                loom::thread::spawn(move || line.gate.ask())
            };
            line.exchange(magazine_for(2));
            let kept = (0..3).filter(|_| line.push(one)).count() as u32;
            assert!(kept <= 2 && line.objects() == 3 + kept, "{kept} are kept in two rounds");
            line.bound();
            asker.join().unwrap();
            assert!(line.gate.is_wanted() && !line.push(one), "the request is gone");
        });
    }

    /// Two CPUs exchange magazines with a depot: each magazine is in one place.
    #[test]
    fn a_magazine_is_in_one_place() {
        use crate::depot::SharedDepot;
        use rhumb_machine::{CpuId, IrqOff};
        check(|| {
            let depot = Arc::new(SharedDepot::default());
            let exchange = |depot: &SharedDepot, index: usize| {
                // SAFETY: a thread of the model is a CPU of its own, and there are no interrupts.
                let irq_off = unsafe { IrqOff::assume(CpuId::new(index).unwrap()) };
                depot.lock(irq_off).full.push(magazine());
                let taken = depot.lock(irq_off).take_full(1).pop();
                taken.map(|magazine| magazine.cell())
            };
            let other = {
                let depot = Arc::clone(&depot);
                loom::thread::spawn(move || exchange(&depot, 1).map(|cell| cell.addr()))
            };
            let mine = exchange(&depot, 0).map(|cell| cell.addr());
            let others = other.join().unwrap();
            assert!(mine.is_some() && others.is_some() && mine != others);
        });
    }

    /// The counts beside a depot's lock are right once no CPU holds the lock, whichever CPU held the lock last: a CPU
    /// that looks at them then does not pass by a magazine that is there.
    #[test]
    fn the_counts_beside_a_depots_lock_are_right_at_rest() {
        use crate::depot::SharedDepot;
        use rhumb_machine::{CpuId, IrqOff};
        check(|| {
            let depot = Arc::new(SharedDepot::default());
            // SAFETY: a thread of the model is a CPU of its own, and there are no interrupts.
            let irq_off = |index: usize| unsafe { IrqOff::assume(CpuId::new(index).unwrap()) };
            let exchange = move |depot: &SharedDepot, index: usize| {
                depot.lock(irq_off(index)).full.push(magazine());
                // The magazine that the count promises may be gone.
                if depot.has_full() {
                    let mut depot = depot.lock(irq_off(index));
                    let taken = depot.take_full(1);
                    depot.spare.append(taken);
                }
            };
            let other = {
                let depot = Arc::clone(&depot);
                loom::thread::spawn(move || exchange(&depot, 1))
            };
            exchange(&depot, 0);
            other.join().unwrap();
            let (has_full, has_spare) = (depot.has_full(), depot.has_spare());
            let depot = depot.lock(irq_off(0));
            assert_eq!((has_full, has_spare), (depot.full.count > 0, depot.spare.count > 0));
            assert_eq!(depot.full.count + depot.spare.count, 2);
        });
    }
}

#[cfg(shuttle)]
mod whole {
    use core::ptr::NonNull;
    use std::sync::Arc;
    use std::vec::Vec;

    use super::world::*;
    use crate::line::CpuLine;
    use crate::magazine::Stack;
    use crate::{CacheSpec, Config, DestroyError, RawCache};

    const CPUS: usize = 3;

    struct Sent(NonNull<u8>);
    // SAFETY: an object's memory belongs to no CPU.
    unsafe impl Send for Sent {}

    /// Does the work of a CPU: allocates, passes objects on, frees those of other CPUs, reclaims, gives back when
    /// asked.
    fn work(
        world: &World,
        cache: &RawCache<TestMachine>,
        cpu: usize,
        passed: &shuttle::sync::Mutex<Vec<Sent>>,
    ) {
        let mut held = Vec::new();
        for step in 0..40usize {
            be_cpu(cpu);
            if (step + cpu) % 5 < 3 {
                let object = cache.alloc(pinned()).unwrap();
                be_cpu(cpu);
                if step % 2 == 0 { passed.lock().unwrap().push(Sent(object)) } else { held.push(object) }
            } else {
                let object = passed.lock().unwrap().pop().map(|sent| sent.0).or_else(|| held.pop());
                be_cpu(cpu);
                // SAFETY: an object of this cache.
                object.into_iter().for_each(|object| unsafe { cache.free(pinned(), object) });
            }
            be_cpu(cpu);
            match step % 13 {
                5 => drop(world.slabs.reclaim(pinned())),
                9 => world.slabs.tick(pinned()),
                11 => world.slabs.trim(pinned()),
                _ => {}
            }
        }
        for object in held {
            be_cpu(cpu);
            // SAFETY: an object of this cache.
            unsafe { cache.free(pinned(), object) };
        }
        be_cpu(cpu);
        world.slabs.drain(pinned());
    }

    /// Runs `work` with so many schedules at random.
    fn check(schedules: usize, work: impl Fn() + Send + Sync + 'static) {
        let mut config = shuttle::Config::new();
        config.stack_size = 4 << 20;
        shuttle::Runner::new(shuttle::scheduler::RandomScheduler::new(schedules), config).run(work);
    }

    fn world(frames: u64) -> Arc<World> {
        let config = Config { report: |report| panic!("{report}"), ..Config::new(CPUS) };
        Arc::new(World::new(frames, 1, config))
    }

    /// Gives a cache up that has no object out; another thread may walk it for a moment.
    fn end(mut cache: RawCache<TestMachine>, cpu: usize) {
        loop {
            be_cpu(cpu);
            match cache.destroy(pinned()) {
                Ok(()) => return,
                Err((back, DestroyError::Busy)) => cache = back,
                Err((_, error)) => panic!("{error}"),
            }
            shuttle::thread::yield_now();
        }
    }

    /// Two CPUs make caches, use them and give them up, and a third one looks at all: each cache has a number and lines
    /// of its own while it lives, and none is given up under the one that looks.
    #[test]
    fn caches_come_and_go_one_by_one() {
        check(100, || {
            let world = world(1024);
            let makers: Vec<_> = (0..CPUS - 1)
                .map(|cpu| {
                    let world = Arc::clone(&world);
                    shuttle::thread::spawn(move || {
                        for size in [1000, 2000] {
                            be_cpu(cpu);
                            let spec = CacheSpec::new("own", size * (cpu + 1));
                            let cache = RawCache::new(world.slabs, pinned(), &spec).unwrap();
                            be_cpu(cpu);
                            let object = cache.alloc(pinned()).unwrap();
                            be_cpu(cpu);
                            let found = world.slabs.find(cache.record, object);
                            assert!(found.is_ok(), "an object of another cache: {found:?}");
                            // SAFETY: an object of this cache.
                            unsafe { cache.free(pinned(), object) };
                            end(cache, cpu);
                        }
                    })
                })
                .collect();
            let looker = {
                let world = Arc::clone(&world);
                shuttle::thread::spawn(move || {
                    be_cpu(CPUS - 1);
                    world.slabs.for_each_report(|report| assert!(report.active_objects <= 1, "{report:?}"));
                    be_cpu(CPUS - 1);
                    world.slabs.reclaim(pinned());
                    be_cpu(CPUS - 1);
                    world.slabs.validate(pinned()).unwrap();
                })
            };
            makers.into_iter().chain([looker]).for_each(|thread| thread.join().unwrap());
            be_cpu(0);
            world.slabs.validate(pinned()).unwrap();
            assert_eq!(world.slabs.totals().live_bytes, 0);
        });
    }

    /// However many CPUs count their exchanges at once, magazines do not grow past the largest.
    #[test]
    fn magazines_grow_to_the_largest_and_not_past_it() {
        check(200, || {
            let world = world(1024);
            let cache = Arc::new(RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 1000)).unwrap());
            let threads: Vec<_> = (0..CPUS)
                .map(|cpu| {
                    let cache = Arc::clone(&cache);
                    shuttle::thread::spawn(move || {
                        be_cpu(cpu);
                        let line = cache.slabs().own_line(cache.record, pinned()).unwrap();
                        (0..8).for_each(|_| cache.record.count_visit(line));
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            be_cpu(0);
            let uses = cache.slabs().lines_of(cache.record).map(CpuLine::take_uses).sum();
            assert!(!cache.record.shrink_if_idle(uses), "it was used");
            assert!(cache.record.shrink_if_idle(0), "one size smaller is the smallest");
            assert!(!cache.record.shrink_if_idle(0), "and that is what it is now");
        });
    }

    /// However many CPUs leave magazines at once, a depot that is full takes no more than the one that fills it.
    #[test]
    fn a_depot_takes_no_more_than_it_may() {
        check(100, || {
            let world = world(1024);
            let cache = Arc::new(RawCache::new(world.slabs, pinned(), &CacheSpec::new("t", 1000)).unwrap());
            let rounds = cache.record.shape.most_rounds;
            let filled = |count: u32| {
                let mut magazines = Stack::default();
                for _ in 0..count {
                    let mut magazine = world.slabs.new_magazine(pinned(), rounds).unwrap();
                    (0..rounds).for_each(|_| magazine.push(cache.alloc(pinned()).unwrap()));
                    magazines.push(magazine);
                }
                magazines
            };
            be_cpu(0);
            // There is room for one more. All are filled first, because an allocation takes from the depot.
            let most = cache.record.most_in_depot();
            let (first, others) = (filled((most - 1) / rounds), [(); CPUS].map(|()| filled(2)));
            world.slabs.deposit(cache.record, pinned(), first);
            let threads: Vec<_> = others
                .into_iter()
                .enumerate()
                .map(|(cpu, magazines)| {
                    let (world, cache) = (Arc::clone(&world), Arc::clone(&cache));
                    shuttle::thread::spawn(move || {
                        be_cpu(cpu);
                        world.slabs.deposit(cache.record, pinned(), magazines);
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            be_cpu(0);
            let guard = rhumb_machine::Machine::irq_off(world.slabs.machine());
            let in_depot = cache.record.depot_of(0, pinned().cpu()).lock(guard.irq_off()).full.objects;
            assert!((most..most + rounds).contains(&in_depot), "{in_depot} objects, {most} are enough");
        });
    }

    #[test]
    fn every_object_is_in_one_place() {
        check(100, || {
            let world = world(1024);
            let spec = CacheSpec::new("t", 1000);
            let cache = Arc::new(RawCache::new(world.slabs, pinned(), &spec).unwrap());
            let passed = Arc::new(shuttle::sync::Mutex::new(Vec::new()));
            let threads: Vec<_> = (0..CPUS)
                .map(|cpu| {
                    let (world, cache, passed) =
                        (Arc::clone(&world), Arc::clone(&cache), Arc::clone(&passed));
                    shuttle::thread::spawn(move || work(&world, &cache, cpu, &passed))
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            be_cpu(0);
            for sent in passed.lock().unwrap().drain(..) {
                // SAFETY: objects of this cache.
                unsafe { cache.free(pinned(), sent.0) };
            }
            world.slabs.drain(pinned());
            world.slabs.validate(pinned()).unwrap();
            assert_eq!(world.slabs.report_of(cache.record).active_objects, 0);
            world.slabs.reclaim(pinned());
            assert_eq!(world.slabs.report_of(cache.record).slabs, 0, "nothing is kept anywhere");
        });
    }
}
