//! Wait queues, time-outs, joining and mutexes, with real threads as CPUs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::vec::Vec;

use rhumb_machine::Machine;

use crate::tests::world::{K, Rig};
use crate::{
    Condition, Limits, LockError, Mutex, Nice, Policy, Priority, Semaphore, Turns, WaitError, WaitQueue,
};

fn rig(cpus: usize) -> Rig {
    Rig::new(cpus, 1, 20_000, Limits::USUAL)
}

fn fifo(priority: u8) -> Policy {
    Policy::RealTime(Priority::new(priority).unwrap(), Turns::Fifo)
}

/// Each permit is taken once, and no taker sleeps beside a permit.
#[test]
fn permits_are_passed_through_a_wait_queue() {
    const EACH: u64 = 300;
    let rig = rig(3);
    let (permits, queue, taken) =
        (Arc::new(AtomicU64::new(0)), Arc::new(WaitQueue::<K>::new()), Arc::new(AtomicU64::new(0)));
    rig.run(|| {
        let takers = (0..4).map(|_| {
            let (permits, queue, taken) = (Arc::clone(&permits), Arc::clone(&queue), Arc::clone(&taken));
            rig.spawn(Policy::default(), &rig.all(), move |rig| {
                for _ in 0..EACH {
                    let take =
                        || permits.fetch_update(SeqCst, SeqCst, |permits| permits.checked_sub(1)).is_ok();
                    queue.wait_while(rig.scheduler, None, |_| !take()).unwrap();
                    taken.fetch_add(1, SeqCst);
                    rig.poll();
                }
            })
        });
        let mut threads: Vec<_> = takers.collect();
        let (permits, queue) = (Arc::clone(&permits), Arc::clone(&queue));
        threads.push(rig.spawn(Policy::default(), &rig.all(), move |rig| {
            for _ in 0..4 * EACH {
                permits.fetch_add(1, SeqCst);
                queue.wake_one(rig.scheduler);
                rig.poll();
            }
        }));
        threads
    });
    assert_eq!((taken.load(SeqCst), permits.load(SeqCst)), (4 * EACH, 0));
}

/// All that wait are woken, 16 at a time; those that are not woken end by their time-outs, not before.
#[test]
fn all_are_woken_and_the_others_time_out() {
    let rig = rig(2);
    let (queue, is_open) = (Arc::new(WaitQueue::<K>::new()), Arc::new(AtomicU64::new(0)));
    rig.run(|| {
        let waiters = (0..40).map(|_| {
            let (queue, is_open) = (Arc::clone(&queue), Arc::clone(&is_open));
            rig.spawn(Policy::default(), &rig.all(), move |rig| {
                let waited = queue.wait_while(rig.scheduler, None, |_| is_open.load(SeqCst) == 0);
                assert_eq!(waited, Ok(()));
                let until_ns = rig.world.now_ns() + 50_000_000;
                let waited = queue.wait_while(rig.scheduler, Some(until_ns), |_| true);
                assert_eq!(waited, Err(WaitError::TimedOut));
                assert!(rig.world.now_ns() >= until_ns);
            })
        });
        let mut threads: Vec<_> = waiters.collect();
        let (queue, is_open) = (Arc::clone(&queue), Arc::clone(&is_open));
        threads.push(rig.spawn(Policy::default(), &rig.all(), move |rig| {
            rig.scheduler.sleep_until(rig.world.now_ns() + 1_000_000).unwrap();
            is_open.store(1, SeqCst);
            queue.wake_all(rig.scheduler);
        }));
        threads
    });
}

#[test]
fn a_joiner_gets_the_result_and_no_thread_joins_itself() {
    let rig = rig(2);
    rig.run(|| {
        let may_end = Arc::new(AtomicU64::new(0));
        let (child, host) = {
            let may_end = Arc::clone(&may_end);
            rig.spawn(Policy::default(), &rig.all(), move |rig| {
                while may_end.load(SeqCst) == 0 {
                    rig.scheduler.sleep_until(rig.world.now_ns() + 1_000_000).unwrap();
                }
            })
        };
        let target = child.clone();
        let parent = rig.spawn(Policy::default(), &rig.all(), move |rig| {
            let me = rig.scheduler.current().unwrap();
            assert_eq!(rig.scheduler.join(&me, None), Err(WaitError::Deadlock));
            assert_eq!(rig.scheduler.join(&target, Some(0)), Err(WaitError::TimedOut));
            may_end.store(1, SeqCst);
            assert_eq!(rig.scheduler.join(&target, None), Ok(7));
            assert_eq!(rig.scheduler.join(&target, Some(0)), Ok(7), "it has ended");
        });
        Vec::from([(child, host), parent])
    });
}

/// A time that never comes is no time that is over: the thread sleeps until it is cancelled.
#[test]
fn a_sleep_for_ever_is_long() {
    let rig = rig(1);
    rig.run(|| {
        let (sleeper, host) = rig.spawn(Policy::default(), &rig.all(), |rig| {
            assert_eq!(rig.scheduler.sleep_until(u64::MAX), Err(WaitError::Cancelled));
        });
        let target = sleeper.clone();
        let waker = rig.spawn(Policy::default(), &rig.all(), move |rig| {
            while !rig.scheduler.cancel(&target) {
                rig.poll();
                rig.scheduler.yield_now();
            }
        });
        // The waker starts first: a CPU with nothing to do moves the clock to its alarm.
        Vec::from([waker, (sleeper, host)])
    });
}

/// A caller with interrupts off, or with a pin, is refused: its token would lie after a switch.
#[test]
fn a_caller_with_a_token_does_not_switch() {
    let rig = rig(1);
    rig.run(|| {
        let other = rig.spawn(Policy::default(), &rig.all(), |_| {});
        let thread = rig.spawn(Policy::default(), &rig.all(), |rig| {
            let pin = rig.world.pin();
            assert_eq!(rig.scheduler.sleep_until(u64::MAX), Err(WaitError::CannotSwitch));
            rig.scheduler.yield_now();
            // SAFETY: it is refused.
            assert_eq!(unsafe { rig.scheduler.end(0) }, Err(crate::CannotSwitch));
            let mutex = Mutex::<_, K>::new(1);
            assert_eq!(mutex.lock(rig.scheduler).err(), Some(LockError::CannotSwitch));
            assert_eq!(*mutex.try_lock(rig.scheduler).unwrap(), 1);
            drop(pin);
            assert_eq!(*mutex.lock(rig.scheduler).unwrap(), 1);
        });
        Vec::from([other, thread])
    });
}

/// Increments under a mutex are not lost, some waits are cut short by time-outs, and the mutex is free in the end.
#[test]
fn a_mutex_keeps_others_out() {
    const EACH: u64 = 200;
    let rig = rig(3);
    let counter = Arc::new(Mutex::<(u64, u64), K>::new((0, 0)));
    let timed_out = Arc::new(AtomicU64::new(0));
    rig.run(|| {
        let threads = (0..5).map(|number| {
            let (counter, timed_out) = (Arc::clone(&counter), Arc::clone(&timed_out));
            let policy = if number % 2 == 0 { fifo(number) } else { Policy::default() };
            rig.spawn(policy, &rig.all(), move |rig| {
                let mut done = 0;
                while done < EACH {
                    let until_ns = (done % 3 == 0).then(|| rig.world.now_ns() + 60_000);
                    match counter.lock_until(rig.scheduler, until_ns) {
                        Ok(mut guard) => {
                            guard.0 += 1;
                            rig.poll();
                            if done % 5 == 0 {
                                rig.scheduler.yield_now();
                            }
                            guard.1 += 1;
                            assert_eq!(guard.0, guard.1, "two threads have it");
                            done += 1;
                        }
                        Err(LockError::TimedOut) => {
                            timed_out.fetch_add(1, SeqCst);
                        }
                        Err(error) => panic!("{error:?}"),
                    }
                }
                let me = rig.scheduler.current().unwrap();
                assert_eq!((me.effective_policy(), me.holds.get()), (me.policy(), 0));
            })
        });
        threads.collect()
    });
    let mut counter = Arc::into_inner(counter).unwrap();
    assert_eq!(*counter.get_mut(), (5 * EACH, 5 * EACH));
}

/// A thread that holds a mutex becomes as urgent as the thread that waits at the end of a chain, and is no longer so when
/// it releases it.
#[test]
fn urgency_goes_along_a_chain_and_goes_away() {
    let rig = rig(1);
    let (outer, inner) = (Arc::new(Mutex::<(), K>::new(())), Arc::new(Mutex::<(), K>::new(())));
    let (is_held, steps) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    rig.run(|| {
        let (low, host) = {
            let (inner, is_held, steps) = (Arc::clone(&inner), Arc::clone(&is_held), Arc::clone(&steps));
            rig.spawn(Policy::Fair(Nice::MOST), &rig.all(), move |rig| {
                let guard = inner.lock(rig.scheduler).unwrap();
                is_held.store(1, SeqCst);
                let me = rig.scheduler.current().unwrap();
                while steps.load(SeqCst) < 2 || me.effective_policy() != fifo(9) {
                    rig.poll();
                    rig.scheduler.yield_now();
                }
                assert_eq!(me.policy(), Policy::Fair(Nice::MOST));
                drop(guard);
                assert_eq!(me.effective_policy(), me.policy());
            })
        };
        let middle = {
            let (outer, inner, steps) = (Arc::clone(&outer), Arc::clone(&inner), Arc::clone(&steps));
            rig.spawn(Policy::default(), &rig.all(), move |rig| {
                while is_held.load(SeqCst) == 0 {
                    rig.scheduler.sleep_until(rig.world.now_ns() + 1_000_000).unwrap();
                }
                let first = outer.lock(rig.scheduler).unwrap();
                steps.fetch_add(1, SeqCst);
                let second = inner.lock(rig.scheduler).unwrap();
                let me = rig.scheduler.current().unwrap();
                assert_eq!(me.effective_policy(), fifo(9), "the urgent one waits for the first");
                drop(second);
                assert_eq!(me.effective_policy(), fifo(9));
                drop(first);
                assert_eq!(me.effective_policy(), me.policy());
            })
        };
        let high = {
            let steps = Arc::clone(&steps);
            let outer = Arc::clone(&outer);
            rig.spawn(fifo(9), &rig.all(), move |rig| {
                while steps.load(SeqCst) == 0 {
                    rig.scheduler.sleep_until(rig.world.now_ns() + 1_000_000).unwrap();
                }
                steps.fetch_add(1, SeqCst);
                drop(outer.lock(rig.scheduler).unwrap());
            })
        };
        Vec::from([(low, host), middle, high])
    });
}

/// A waiter that gives up takes its urgency back, while the mutex is still held.
#[test]
fn urgency_goes_away_with_a_waiter_that_gives_up() {
    let rig = rig(1);
    let mutex = Arc::new(Mutex::<(), K>::new(()));
    let steps = Arc::new(AtomicU64::new(0));
    rig.run(|| {
        let holder = {
            let (mutex, steps) = (Arc::clone(&mutex), Arc::clone(&steps));
            rig.spawn(Policy::default(), &rig.all(), move |rig| {
                let guard = mutex.lock(rig.scheduler).unwrap();
                let me = rig.scheduler.current().unwrap();
                steps.store(1, SeqCst);
                while me.effective_policy() != fifo(5) {
                    rig.poll();
                }
                steps.store(2, SeqCst);
                while me.effective_policy() != me.policy() {
                    rig.poll();
                    rig.scheduler.yield_now();
                }
                rig.scheduler.set_policy(&me, fifo(1));
                assert_eq!(me.effective_policy(), fifo(1));
                drop(guard);
                assert!(mutex.try_lock(rig.scheduler).is_some(), "no waiter is left behind");
            })
        };
        let urgent = {
            let (mutex, steps) = (Arc::clone(&mutex), Arc::clone(&steps));
            rig.spawn(fifo(5), &rig.all(), move |rig| {
                while steps.load(SeqCst) == 0 {
                    rig.scheduler.sleep_until(rig.world.now_ns() + 1_000_000).unwrap();
                }
                let until_ns = rig.world.now_ns() + 5_000_000;
                assert_eq!(mutex.lock_until(rig.scheduler, Some(until_ns)).err(), Some(LockError::TimedOut));
                assert_eq!(steps.load(SeqCst), 2, "the holder ran with the urgency of this thread");
            })
        };
        Vec::from([holder, urgent])
    });
}

/// Two threads that would wait for each other: one of them is told, and both end.
#[test]
fn a_deadlock_is_an_error() {
    let rig = rig(2);
    let mutexes = Arc::new([Mutex::<(), K>::new(()), Mutex::<(), K>::new(())]);
    let (held, deadlocks) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    rig.run(|| {
        let threads = (0..2).map(|first| {
            let (mutexes, held, deadlocks) =
                (Arc::clone(&mutexes), Arc::clone(&held), Arc::clone(&deadlocks));
            rig.spawn(Policy::default(), &rig.all(), move |rig| {
                let guard = mutexes[first].lock(rig.scheduler).unwrap();
                assert_eq!(mutexes[first].lock(rig.scheduler).err(), Some(LockError::Deadlock), "its own");
                held.fetch_add(1, SeqCst);
                while held.load(SeqCst) < 2 {
                    rig.poll();
                    rig.scheduler.yield_now();
                }
                match mutexes[1 - first].lock(rig.scheduler) {
                    Ok(other) => drop(other),
                    Err(LockError::Deadlock) => {
                        deadlocks.fetch_add(1, SeqCst);
                    }
                    Err(error) => panic!("{error:?}"),
                }
                drop(guard);
            })
        });
        threads.collect()
    });
    assert_eq!(deadlocks.load(SeqCst), 1);
}

/// A thread that ends with a mutex whose guard it forgot stays in memory, and others can still ask for the mutex.
#[test]
fn a_thread_that_forgot_a_guard_is_not_freed() {
    let rig = rig(1);
    let mutex = Arc::new(Mutex::<(), K>::new(()));
    let before = rig.world.threads.load(SeqCst);
    rig.run_with_left_over(1, || {
        let holder = {
            let mutex = Arc::clone(&mutex);
            rig.spawn(fifo(1), &rig.all(), move |rig| {
                std::mem::forget(mutex.lock(rig.scheduler).unwrap());
            })
        };
        let target = holder.0.clone();
        let mutex = Arc::clone(&mutex);
        let asker = rig.spawn(Policy::default(), &rig.all(), move |rig| {
            rig.scheduler.join(&target, None).unwrap();
            drop(target);
            let until_ns = rig.world.now_ns() + 1_000_000;
            assert_eq!(mutex.lock_until(rig.scheduler, Some(until_ns)).err(), Some(LockError::TimedOut));
        });
        Vec::from([holder, asker])
    });
    assert_eq!(before, 0);
}

/// Jobs go through a mutex and a condition, and permits through a semaphore: each is taken once, none is left.
#[test]
fn conditions_and_semaphores_pass_what_is_given() {
    const JOBS: u64 = 400;
    let rig = rig(3);
    let (jobs, come) = (Arc::new(Mutex::<u64, K>::new(0)), Arc::new(Condition::<K>::new()));
    let (permits, taken) = (Arc::new(Semaphore::<K>::new(1)), Arc::new(AtomicU64::new(0)));
    rig.run(|| {
        let takers = (0..4).map(|number| {
            let (jobs, come) = (Arc::clone(&jobs), Arc::clone(&come));
            let (permits, taken) = (Arc::clone(&permits), Arc::clone(&taken));
            rig.spawn(Policy::default(), &rig.all(), move |rig| {
                for _ in 0..JOBS / 4 {
                    let until_ns = (number == 0).then(|| rig.world.now_ns() + 100_000);
                    let mut guard = jobs.lock(rig.scheduler).unwrap();
                    while *guard == 0 {
                        guard = come.wait(guard, until_ns).unwrap();
                    }
                    *guard -= 1;
                    drop(guard);
                    rig.poll();
                    permits.take(rig.scheduler, None).unwrap();
                    taken.fetch_add(1, SeqCst);
                }
            })
        });
        let mut threads: Vec<_> = takers.collect();
        let (jobs, come, permits) = (Arc::clone(&jobs), Arc::clone(&come), Arc::clone(&permits));
        threads.push(rig.spawn(Policy::default(), &rig.all(), move |rig| {
            for _ in 0..JOBS / 2 {
                *jobs.lock(rig.scheduler).unwrap() += 2;
                come.wake_one(rig.scheduler);
                come.wake_one(rig.scheduler);
                permits.give(rig.scheduler, 2);
                rig.poll();
            }
        }));
        threads
    });
    assert_eq!((taken.load(SeqCst), permits.permits(), permits.try_take()), (JOBS, 1, true));
    assert_eq!(*Arc::into_inner(jobs).unwrap().get_mut(), 0);
}
