//! Balancing in virtual time.

use proptest::prelude::*;
use std::vec::Vec;

use rhumb_machine::{CpuMask, Machine};

use crate::tests::sim::Sim;
use crate::tests::world::{be, cpu_id};
use crate::{Idle, Kernel, Limits, Nice, Policy, Priority, Turns};

const MS: u64 = 1_000_000;

/// Starts all threads on CPU 0, and lets them go where they like then.
fn crowd(cpus: usize, nices: &[i8]) -> Sim {
    let mut sim = Sim::new(cpus, Limits::USUAL);
    for &nice in nices {
        sim.start_on(Policy::Fair(Nice::new(nice).unwrap()), &CpuMask::only(cpu_id(0)));
    }
    for thread in &sim.threads {
        sim.rig.scheduler.set_affinity(thread, &sim.rig.all()).unwrap();
    }
    sim
}

/// Has each idle CPU look for work, and halt if there is none.
pub(crate) fn idle(sim: &Sim) {
    for cpu in (0..sim.cpus).filter(|&cpu| sim.running(cpu).is_none()) {
        be(cpu);
        let guard = sim.rig.world.irq_off();
        let _: Idle = sim.rig.scheduler.begin_idle(guard.irq_off());
    }
    sim.deliver();
}

/// CPUs that halt get the threads of a CPU that has too many, wherever they are: within one period of balancing for each
/// thread, no CPU halts beside a thread that waits.
#[test]
fn no_cpu_halts_beside_threads_that_wait() {
    for cpus in [2, 3, 4, 7, 16, 64] {
        let sim = crowd(cpus, &std::vec![0; cpus]);
        idle(&sim);
        sim.run((cpus as u64 + 1) * 4 * MS, idle);
        let running = (0..cpus).filter(|&cpu| sim.running(cpu).is_some()).count();
        assert_eq!(running, cpus, "of {cpus}");
        sim.validate();
    }
}

/// Twice as many threads as CPUs, all of one weight: after a while each CPU has two of them, and no thread moves any more.
#[test]
fn equal_threads_spread_evenly_and_stay() {
    for cpus in [2, 4, 8] {
        let sim = crowd(cpus, &std::vec![0; 2 * cpus]);
        sim.run(2_000 * MS, idle);
        let places = |sim: &Sim| sim.threads.iter().map(|thread| thread.cpu().index()).collect::<Vec<_>>();
        let before = places(&sim);
        for cpu in 0..cpus {
            assert_eq!(before.iter().filter(|&&at| at == cpu).count(), 2, "{before:?}");
        }
        sim.run(4_000 * MS, |sim| assert_eq!(places(sim), before));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    /// Whatever the weights, each move makes the sum of the squares of the loads smaller: so moves come to an end.
    #[test]
    fn each_move_makes_loads_more_even(nices in prop::collection::vec(-10i8..10, 1..24), cpus in 2usize..5) {
        let sim = crowd(cpus, &nices);
        let places = |sim: &Sim| sim.threads.iter().map(|thread| thread.cpu().index()).collect::<Vec<_>>();
        let unevenness = |places: &[usize]| {
            let weight = |thread: usize| Nice::new(nices[thread]).unwrap().weight();
            let load = |cpu| (0..nices.len()).filter(|&thread| places[thread] == cpu).map(weight).sum::<u64>();
            (0..cpus).map(|cpu| load(cpu) * load(cpu)).sum::<u64>()
        };
        let mut before = places(&sim);
        let mut moves = 0;
        sim.run(2_000 * MS, |sim| {
            idle(sim);
            let now = places(sim);
            if now != before {
                assert!(unevenness(&now) < unevenness(&before), "{before:?} {now:?}");
                before = now;
                moves += 1;
            }
        });
        prop_assert!(moves > 0 || nices.len() == 1);
        sim.validate();
    }
}

/// A crowd on one of 1,024 CPUs spreads, although no CPU looks at more than a few others.
#[test]
fn a_crowd_spreads_over_1024_cpus() {
    let sim = crowd(1_024, &[0; 64]);
    idle(&sim);
    sim.run(100 * MS, |_| {});
    assert_eq!((0..1_024).filter(|&cpu| sim.running(cpu).is_some()).count(), 64);
}

/// 64 threads that wait on CPU 0 are sent to 64 other CPUs, which halt: each goes to another one.
#[test]
fn threads_that_are_sent_away_spread() {
    let mut sim = Sim::new(128, Limits::USUAL);
    let threads: Vec<_> =
        (0..64).map(|_| sim.start_on(Policy::default(), &CpuMask::only(cpu_id(0)))).collect();
    idle(&sim);
    let mut there = CpuMask::only(cpu_id(64));
    (65..128).for_each(|cpu| {
        there.insert(cpu_id(cpu));
    });
    be(0);
    for &thread in &threads {
        sim.rig.scheduler.set_affinity(&sim.threads[thread], &there).unwrap();
    }
    sim.deliver();
    assert!((64..128).all(|cpu| sim.running(cpu).is_some()));
    sim.validate();
}

/// The same where no CPU halts: a crowd that is sent away is spread within a thread or two.
#[test]
fn threads_that_are_sent_to_busy_cpus_spread() {
    let mut sim = Sim::new(16, Limits::USUAL);
    (0..16).for_each(|cpu| {
        sim.start_on(Policy::default(), &CpuMask::only(cpu_id(cpu)));
    });
    let sent: Vec<_> = (0..32).map(|_| sim.start_on(Policy::default(), &CpuMask::only(cpu_id(0)))).collect();
    let mut there = CpuMask::only(cpu_id(8));
    (9..16).for_each(|cpu| {
        there.insert(cpu_id(cpu));
    });
    be(0);
    for &thread in &sent {
        sim.rig.scheduler.set_affinity(&sim.threads[thread], &there).unwrap();
    }
    for cpu in 8..16 {
        let count = sent.iter().filter(|&&thread| sim.threads[thread].cpu().index() == cpu).count();
        assert!((3..=5).contains(&count), "{count} on CPU {cpu}");
    }
}

/// A CPU that was claimed for a thread, which may not go there any more, looks again, and says again that it halts.
#[test]
fn a_claim_that_came_to_nothing_is_given_back() {
    let mut sim = Sim::new(2, Limits::USUAL);
    let thread = sim.start_on(Policy::default(), &CpuMask::only(cpu_id(0)));
    idle(&sim);
    let guard = sim.rig.world.irq_off();
    sim.block(thread);
    let scheduler = sim.rig.scheduler;
    assert_eq!(scheduler.idle[0].0.fetch_and(!0b10, core::sync::atomic::Ordering::SeqCst) & 0b10, 0b10);
    let target = &sim.threads[thread];
    assert_eq!(
        target.word.wake(target.word.ticket().unwrap(), crate::word::Reason::Woken),
        crate::word::Wake::OffCpu
    );
    let entered = scheduler.enqueue_at(target, cpu_id(1), guard.irq_off());
    scheduler.act(entered, guard.irq_off());
    drop(guard);
    assert!(sim.rig.world.take_request(1), "the CPU is told to look");
    assert_eq!(target.cpu().index(), 0);
}

/// Threads that are bound to a CPU do not hide one that is not, in either class, however many they are.
#[test]
fn bound_threads_hide_no_other() {
    for policy in
        [Policy::Fair(Nice::new(19).unwrap()), Policy::RealTime(Priority::new(9).unwrap(), Turns::Fifo)]
    {
        let mut sim = Sim::new(2, Limits::USUAL);
        let bound = CpuMask::only(cpu_id(0));
        for _ in 0..100 {
            sim.start_on(policy, &bound);
        }
        let free = sim.start_on(Policy::Fair(Nice::NORMAL), &bound);
        // More real-time threads come before it than one look sees.
        sim.rig.scheduler.set_affinity(&sim.threads[free], &sim.rig.all()).unwrap();
        idle(&sim);
        sim.run(8 * MS, idle);
        assert_eq!(sim.cpu_of(free), Some(1), "behind threads of {policy:?}");
        // It is bound again, and free again, while it runs and while it waits.
        sim.rig.scheduler.set_affinity(&sim.threads[free], &bound).unwrap();
        sim.deliver();
        sim.validate();
        sim.rig.scheduler.set_affinity(&sim.threads[free], &sim.rig.all()).unwrap();
        sim.validate();
    }
}

/// Nor do threads that may run on two CPUs, but not on the one that halts: each look goes on where the last one ended.
#[test]
fn threads_that_may_not_go_hide_no_other_for_long() {
    for policy in
        [Policy::Fair(Nice::new(19).unwrap()), Policy::RealTime(Priority::new(9).unwrap(), Turns::Fifo)]
    {
        let mut sim = Sim::new(3, Limits::USUAL);
        for _ in 0..100 {
            sim.start_on(policy, &CpuMask::first(2));
        }
        let free = sim.start_on(policy, &CpuMask::first(2));
        sim.rig.scheduler.set_affinity(&sim.threads[free], &sim.rig.all()).unwrap();
        idle(&sim);
        sim.run(4 * MS * (2 + 101 / 8), idle);
        assert_eq!(sim.cpu_of(free), Some(2), "behind threads of {policy:?}");
        sim.validate();
    }
}

/// 100,000 threads on 64 CPUs: all are counted, each CPU runs one, and all come back. Each step takes as long as among few,
/// but for the depth of a tree.
#[test]
fn a_hundred_thousand_threads_fit() {
    let mut sim = Sim::new(64, Limits::USUAL);
    for number in 0..100_000u32 {
        sim.start(Policy::Fair(Nice::new((number / 64 % 40) as i8 - 20).unwrap()));
    }
    let guard = sim.rig.world.irq_off();
    let loads: Vec<u64> = (0..64)
        .map(|cpu| {
            let queue = sim.rig.world.per_cpu(cpu_id(cpu)).queue.lock(guard.irq_off());
            queue.validate();
            queue.load().weight
        })
        .collect();
    drop(guard);
    let weight = sim.threads.iter().map(|thread| thread.run.weight()).sum::<u64>();
    assert_eq!(loads.iter().sum::<u64>(), weight);
    let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
    assert!(*most as f64 <= *least as f64 * 1.2, "{least} to {most}");
    sim.run(12 * MS, |_| {});
    let ran: u64 = (0..sim.threads.len()).map(|thread| sim.ran_ns(thread)).sum();
    assert_eq!(ran, 64 * 12 * MS);
}
