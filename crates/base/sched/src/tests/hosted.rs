//! Real threads as CPUs: more threads than CPUs, which wait for each other, yield, move and end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::vec::Vec;

use crate::tests::world::Rig;
use crate::word::Reason;
use crate::{Limits, Nice, Policy, Priority, Turns};

/// Threads run on CPUs in turn until each has done its work; none is lost, none is on two CPUs, none is left in memory.
#[test]
fn threads_share_cpus_and_end() {
    for (cpus, threads) in [(1, 3), (2, 7), (4, 16), (8, 8)] {
        let rig = Rig::new(cpus, 1, 20_000, Limits::USUAL);
        let done = Arc::new(AtomicU64::new(0));
        rig.run(|| {
            (0..threads)
                .map(|number| {
                    let done = Arc::clone(&done);
                    let policy = match number % 4 {
                        0 => Policy::RealTime(Priority::new(number as u8).unwrap(), Turns::RoundRobin),
                        _ => Policy::Fair(Nice::new((number % 40) as i8 - 20).unwrap()),
                    };
                    rig.spawn(policy, &rig.all(), move |rig| {
                        for step in 0..200 {
                            rig.poll();
                            if (step + number) % 7 == 0 {
                                rig.scheduler.yield_now();
                            }
                        }
                        done.fetch_add(1, SeqCst);
                    })
                })
                .collect()
        });
        assert_eq!(done.load(SeqCst), threads);
    }
}

/// One thread cancels the waits of others, which begin anew, and moves them from CPU to CPU meanwhile.
#[test]
fn waits_are_cancelled_while_threads_move() {
    const WAITS: u64 = 100;
    let rig = Rig::new(3, 1, 20_000, Limits::USUAL);
    rig.run(|| {
        let mut threads: Vec<_> = (0..4)
            .map(|_| {
                rig.spawn(Policy::default(), &rig.all(), |rig| {
                    for _ in 0..WAITS {
                        rig.wait_for_ever();
                        assert_eq!(rig.scheduler.current().unwrap().reason(), Reason::Cancelled);
                        rig.poll();
                    }
                })
            })
            .collect();
        let waiters: Vec<_> = threads.iter().map(|(thread, _)| thread.clone()).collect();
        threads.push(rig.spawn(Policy::default(), &rig.all(), move |rig| {
            let mut cancelled = [0; 4];
            let mut turn = 0;
            while cancelled.iter().any(|&count| count < WAITS) {
                for (count, waiter) in cancelled.iter_mut().zip(&waiters) {
                    *count += u64::from(*count < WAITS && rig.scheduler.cancel(waiter));
                    turn += 1;
                    let only = rhumb_machine::CpuMask::only(rhumb_machine::CpuId::new(turn % 3).unwrap());
                    rig.scheduler.set_affinity(waiter, &only).unwrap();
                }
                rig.poll();
                rig.scheduler.yield_now();
            }
        }));
        threads
    });
}
