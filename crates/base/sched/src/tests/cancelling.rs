//! Cancels: each one ends a wait, the present one or the next, and none is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::vec::Vec;

use rhumb_machine::Machine;

use crate::tests::world::{K, Rig};
use crate::{Limits, LockError, Mutex, Policy, Priority, Semaphore, Turns, WaitError};

fn rig() -> Rig {
    Rig::new(1, 1, 1_000, Limits::USUAL)
}

/// A thread that is cancelled while it runs is told so by its next wait, of any kind, and by one alone.
#[test]
fn a_cancel_before_a_wait_ends_it() {
    let rig = rig();
    rig.run(|| {
        let thread = rig.spawn(Policy::default(), &rig.all(), |rig| {
            let me = rig.scheduler.current().unwrap();
            let permits = Semaphore::<K>::new(0);
            let soon = |rig: Rig| Some(rig.world.now_ns() + 50_000);
            assert!(rig.scheduler.cancel(&me) && !rig.scheduler.cancel(&me));
            assert_eq!(permits.take(rig.scheduler, None), Err(WaitError::Cancelled));
            assert_eq!(
                permits.take(rig.scheduler, soon(rig)),
                Err(WaitError::TimedOut),
                "two cancels are one"
            );
            assert!(rig.scheduler.cancel(&me));
            assert_eq!(rig.scheduler.sleep_until(u64::MAX), Err(WaitError::Cancelled));
            assert!(rig.scheduler.cancel(&me));
            permits.give(rig.scheduler, 1);
            assert_eq!(permits.take(rig.scheduler, None), Ok(()), "it has what it asks for");
            assert_eq!(permits.take(rig.scheduler, None), Err(WaitError::Cancelled), "it waits");
        });
        Vec::from([thread])
    });
}

/// So is one that asks for a mutex that another thread holds.
#[test]
fn a_cancel_before_a_lock_ends_it() {
    let rig = rig();
    let mutex = Arc::new(Mutex::<(), K>::new(()));
    let told = Arc::new(AtomicU64::new(0));
    rig.run(|| {
        let urgent = Policy::RealTime(Priority::new(9).unwrap(), Turns::Fifo);
        let holder = {
            let (mutex, told) = (Arc::clone(&mutex), Arc::clone(&told));
            rig.spawn(urgent, &rig.all(), move |rig| {
                let guard = mutex.lock(rig.scheduler).unwrap();
                while told.load(SeqCst) == 0 {
                    rig.scheduler.sleep_until(rig.world.now_ns() + 500_000).unwrap();
                }
                drop(guard);
            })
        };
        let told = Arc::clone(&told);
        let asker = rig.spawn(Policy::default(), &rig.all(), move |rig| {
            let me = rig.scheduler.current().unwrap();
            while mutex.try_lock(rig.scheduler).is_some() {
                rig.poll();
                rig.scheduler.yield_now();
            }
            assert!(rig.scheduler.cancel(&me));
            assert_eq!(mutex.lock(rig.scheduler).err(), Some(LockError::Cancelled));
            told.store(1, SeqCst);
            drop(mutex.lock(rig.scheduler).unwrap());
        });
        Vec::from([holder, asker])
    });
    assert_eq!(told.load(SeqCst), 1);
}

/// A cancel that comes between the entry into a queue and the last look at the condition is told by the next wait.
#[test]
fn a_cancel_beside_success_is_kept() {
    let rig = rig();
    rig.run(|| {
        let thread = rig.spawn(Policy::default(), &rig.all(), |rig| {
            let me = rig.scheduler.current().unwrap();
            let queue = crate::WaitQueue::<K>::new();
            let mut looks = 0;
            let waited = queue.wait_while(rig.scheduler, None, |_| {
                looks += 1;
                if looks == 2 {
                    rig.scheduler.cancel(&me);
                }
                looks < 2
            });
            assert_eq!(waited, Ok(()));
            assert_eq!(rig.scheduler.sleep_until(u64::MAX), Err(WaitError::Cancelled));
            assert_eq!(rig.scheduler.sleep_until(rig.world.now_ns() + 9_000), Ok(()));
        });
        let (ended, host) = rig.spawn(Policy::default(), &rig.all(), |_| {});
        let target = ended.clone();
        let other = rig.spawn(Policy::default(), &rig.all(), move |rig| {
            assert_eq!(rig.scheduler.join(&target, None), Ok(7));
            while target.state() != crate::State::Gone {
                rig.scheduler.yield_now();
            }
            assert!(!rig.scheduler.cancel(&target), "it has ended");
        });
        Vec::from([thread, (ended, host), other])
    });
}
