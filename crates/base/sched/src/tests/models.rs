//! Model checking of the hand-over with shuttle: the scheduler whole, on two CPUs, with threads of the checker.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test --release --target-dir target/models -p rhumb-sched --lib`.

use std::vec::Vec;

use rhumb_machine::Machine;
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::tests::world::{K, Rig};
use crate::word::Reason;
use crate::{Condition, Limits, LockError, Mutex, Policy, Priority, Turns, WaitError, WaitQueue};

fn check(runs: usize, work: impl Fn() + Send + Sync + 'static) {
    let mut config = shuttle::Config::new();
    config.stack_size = 0x4_0000;
    let scheduler = shuttle::scheduler::PctScheduler::new(3, runs / 2);
    shuttle::Runner::new(scheduler, config.clone()).run({
        let work = std::sync::Arc::new(work);
        let also = std::sync::Arc::clone(&work);
        let random = shuttle::scheduler::RandomScheduler::new(runs / 2);
        shuttle::Runner::new(random, config).run(move || also());
        move || work()
    });
}

fn rig(cpus: usize) -> Rig {
    Rig::new(cpus, 1, 400_000, Limits::USUAL)
}

/// Three threads on two CPUs, which yield and are preempted at the ends of their slices: none is on two CPUs, none is
/// lost, and all memory comes back.
#[test]
fn threads_are_handed_over() {
    check(2_000, || {
        let rig = rig(2);
        rig.run(|| {
            let threads = (0..3).map(|_| {
                rig.spawn(Policy::default(), &rig.all(), |rig| {
                    rig.poll();
                    rig.scheduler.yield_now();
                    rig.poll();
                })
            });
            threads.collect()
        });
    });
}

/// A thread waits while another ends its wait: at any moment before it has begun, while its CPU leaves it, after. No
/// wake-up is lost, and no CPU waits for another.
#[test]
fn a_wait_is_ended_while_the_cpu_leaves_the_thread() {
    check(3_000, || {
        let rig = rig(2);
        rig.run(|| {
            let (waiter, host) = rig.spawn(Policy::default(), &rig.all(), |rig| {
                rig.wait_for_ever();
                assert_eq!(rig.scheduler.current().unwrap().reason(), Reason::Cancelled);
            });
            let target = waiter.clone();
            let waker = rig.spawn(Policy::default(), &rig.all(), move |rig| {
                while !rig.scheduler.cancel(&target) {
                    rig.poll();
                    rig.scheduler.yield_now();
                    shuttle::thread::yield_now();
                }
            });
            Vec::from([(waiter, host), waker])
        });
    });
}

/// Two CPUs cancel a thread: one of them ends its wait, and the thread becomes ready once.
#[test]
fn two_cancels_end_a_wait() {
    check(2_000, || {
        let rig = rig(2);
        let ended = Arc::new(AtomicUsize::new(0));
        rig.run(|| {
            let (waiter, host) = rig.spawn(Policy::default(), &rig.all(), |rig| rig.wait_for_ever());
            let mut threads = Vec::new();
            for _ in 0..2 {
                let (target, ended) = (waiter.clone(), Arc::clone(&ended));
                threads.push(rig.spawn(Policy::default(), &rig.all(), move |rig| {
                    while ended.load(SeqCst) == 0 {
                        ended.fetch_add(usize::from(rig.scheduler.cancel(&target)), SeqCst);
                        rig.poll();
                        rig.scheduler.yield_now();
                        shuttle::thread::yield_now();
                    }
                }));
            }
            threads.push((waiter, host));
            threads
        });
        // The second one is kept for the next wait, if it comes after the thread was told of the first and before it ends.
        let ended = ended.load(SeqCst);
        assert!((1..=2).contains(&ended), "{ended}");
    });
}

/// A thread is sent from CPU to CPU, and given other policies, while it runs, waits in a queue, is left, and ends.
#[test]
fn a_thread_moves_while_it_is_left() {
    check(3_000, || {
        let rig = rig(2);
        rig.run(|| {
            let (moved, host) = rig.spawn(Policy::default(), &rig.all(), |rig| {
                for _ in 0..2 {
                    rig.poll();
                    rig.scheduler.yield_now();
                }
            });
            let target = moved.clone();
            let mover = rig.spawn(Policy::default(), &rig.all(), move |rig| {
                for cpu in [0, 1, 0] {
                    let id = rhumb_machine::CpuId::new(cpu).unwrap();
                    let policy = if cpu == 0 { 5 } else { 6 };
                    let policy = crate::Priority::new(policy).unwrap();
                    rig.scheduler.set_policy(&target, Policy::RealTime(policy, crate::Turns::Fifo));
                    // Until a CPU is online, none of those allowed may be.
                    let _ = rig.scheduler.set_affinity(&target, &rhumb_machine::CpuMask::only(id));
                    rig.poll();
                }
            });
            Vec::from([(moved, host), mover])
        });
    });
}

/// A permit is given while its taker begins to wait: the taker sees it, or is woken.
#[test]
fn a_wake_up_meets_a_wait() {
    check(3_000, || {
        let rig = rig(2);
        let (permits, queue) = (Arc::new(AtomicUsize::new(0)), Arc::new(WaitQueue::<K>::new()));
        rig.run(|| {
            let taker = {
                let (permits, queue) = (Arc::clone(&permits), Arc::clone(&queue));
                rig.spawn(Policy::default(), &rig.all(), move |rig| {
                    for _ in 0..2 {
                        let take =
                            || permits.fetch_update(SeqCst, SeqCst, |permits| permits.checked_sub(1)).is_ok();
                        queue.wait_while(rig.scheduler, None, |_| !take()).unwrap();
                    }
                })
            };
            let giver = rig.spawn(Policy::default(), &rig.all(), move |rig| {
                for _ in 0..2 {
                    permits.fetch_add(1, SeqCst);
                    queue.wake_one(rig.scheduler);
                    rig.poll();
                }
            });
            Vec::from([taker, giver])
        });
    });
}

/// One wake-up, two waiters, one of which has a time-out: the wake-up reaches one that waits, so the one without a
/// time-out is not left behind.
#[test]
fn a_wake_up_is_not_lost_to_a_time_out() {
    check(3_000, || {
        let rig = rig(2);
        let (permits, queue) = (Arc::new(AtomicUsize::new(0)), Arc::new(WaitQueue::<K>::new()));
        let timed_out = Arc::new(AtomicUsize::new(0));
        rig.run(|| {
            let mut threads = Vec::new();
            for waits_long in [false, true] {
                let (permits, queue, timed_out) =
                    (Arc::clone(&permits), Arc::clone(&queue), Arc::clone(&timed_out));
                threads.push(rig.spawn(Policy::default(), &rig.all(), move |rig| {
                    let until_ns = (!waits_long).then(|| rig.world.now_ns() + 1_500_000);
                    let take =
                        || permits.fetch_update(SeqCst, SeqCst, |permits| permits.checked_sub(1)).is_ok();
                    match queue.wait_while(rig.scheduler, until_ns, |_| !take()) {
                        Ok(()) => {}
                        Err(WaitError::TimedOut) => {
                            // It hands its permit on to the one that waits longer.
                            timed_out.fetch_add(1, SeqCst);
                        }
                        Err(error) => panic!("{error:?}"),
                    }
                }));
            }
            let (permits, queue) = (Arc::clone(&permits), Arc::clone(&queue));
            threads.push(rig.spawn(Policy::default(), &rig.all(), move |rig| {
                for _ in 0..2 {
                    permits.fetch_add(1, SeqCst);
                    queue.wake_one(rig.scheduler);
                    rig.poll();
                }
            }));
            threads
        });
        assert_eq!(permits.load(SeqCst), timed_out.load(SeqCst));
    });
}

/// A mutex passes between threads of different urgency, one of which gives up after a time: each has it alone, no one
/// waits for a free mutex, and all urgency that was lent is given back.
#[test]
fn a_mutex_is_handed_over_while_a_waiter_gives_up() {
    check(3_000, || {
        let rig = rig(2);
        let mutex = Arc::new(Mutex::<usize, K>::new(0));
        rig.run(|| {
            let threads = (0..3u8).map(|number| {
                let mutex = Arc::clone(&mutex);
                let policy = Policy::RealTime(Priority::new(number).unwrap(), Turns::RoundRobin);
                rig.spawn(policy, &rig.all(), move |rig| {
                    let until_ns = (number == 2).then(|| rig.world.now_ns() + 1_500_000);
                    match mutex.lock_until(rig.scheduler, until_ns) {
                        Ok(mut guard) => {
                            *guard += 1;
                            let seen = *guard;
                            rig.poll();
                            assert_eq!(*guard, seen, "two threads have it");
                        }
                        Err(error) => assert_eq!(error, LockError::TimedOut),
                    }
                    let me = rig.scheduler.current().unwrap();
                    assert_eq!((me.effective_policy(), me.holds.get()), (me.policy(), 0));
                })
            });
            threads.collect()
        });
        assert!(Arc::into_inner(mutex).unwrap().get_mut() >= &mut 2);
    });
}

/// Two threads take two mutexes in opposite orders: at most one of them is told of a deadlock, and both end.
#[test]
fn mutexes_in_opposite_orders_end() {
    check(3_000, || {
        let rig = rig(2);
        let mutexes = Arc::new([Mutex::<(), K>::new(()), Mutex::<(), K>::new(())]);
        let deadlocks = Arc::new(AtomicUsize::new(0));
        rig.run(|| {
            let threads = (0..2).map(|first| {
                let (mutexes, deadlocks) = (Arc::clone(&mutexes), Arc::clone(&deadlocks));
                rig.spawn(Policy::default(), &rig.all(), move |rig| {
                    let outer = mutexes[first].lock(rig.scheduler).unwrap();
                    rig.poll();
                    match mutexes[1 - first].lock(rig.scheduler) {
                        Ok(inner) => drop(inner),
                        Err(error) => {
                            assert_eq!(error, LockError::Deadlock);
                            deadlocks.fetch_add(1, SeqCst);
                        }
                    }
                    drop(outer);
                })
            });
            threads.collect()
        });
        assert!(deadlocks.load(SeqCst) <= 1);
    });
}

/// Threads end while other CPUs balance, pull and join.
#[test]
fn threads_end_while_cpus_balance() {
    check(3_000, || {
        let rig = Rig::new(2, 1, 1_500_000, Limits { balance_ns: 1_000_000, ..Limits::USUAL });
        rig.run(|| {
            let mut threads: Vec<_> = (0..3)
                .map(|_| {
                    rig.spawn(Policy::default(), &rig.all(), |rig| {
                        rig.poll();
                        rig.poll();
                    })
                })
                .collect();
            let target = threads[0].0.clone();
            threads.push(rig.spawn(Policy::default(), &rig.all(), move |rig| {
                assert_eq!(rig.scheduler.join(&target, None), Ok(7));
            }));
            threads
        });
    });
}

/// A job is put in while its taker is between looking, releasing the mutex and sleeping: the taker sees it, or is woken.
#[test]
fn a_wake_up_meets_a_release() {
    check(3_000, || {
        let rig = rig(2);
        let (jobs, come) = (Arc::new(Mutex::<usize, K>::new(0)), Arc::new(Condition::<K>::new()));
        rig.run(|| {
            let taker = {
                let (jobs, come) = (Arc::clone(&jobs), Arc::clone(&come));
                rig.spawn(Policy::default(), &rig.all(), move |rig| {
                    let mut guard = jobs.lock(rig.scheduler).unwrap();
                    while *guard == 0 {
                        guard = come.wait(guard, None).unwrap();
                    }
                })
            };
            let giver = rig.spawn(Policy::default(), &rig.all(), move |rig| {
                *jobs.lock(rig.scheduler).unwrap() += 1;
                come.wake_one(rig.scheduler);
            });
            Vec::from([taker, giver])
        });
    });
}
