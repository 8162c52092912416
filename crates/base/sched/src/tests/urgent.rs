//! Real-time threads of several CPUs: none waits while one of its CPUs runs a less urgent thread.

use std::vec::Vec;

use rhumb_machine::{CpuMask, Machine};

use crate::tests::balancing::idle;
use crate::tests::sim::Sim;
use crate::tests::world::{be, cpu_id};
use crate::word::Reason;
use crate::{Limits, Nice, Policy, Priority, Turns};

const MS: u64 = 1_000_000;

fn fair(nice: i8) -> Policy {
    Policy::Fair(Nice::new(nice).unwrap())
}

fn fifo(priority: u8) -> Policy {
    Policy::RealTime(Priority::new(priority).unwrap(), Turns::Fifo)
}

fn only(cpu: usize) -> CpuMask {
    CpuMask::only(cpu_id(cpu))
}

/// A thread that starts beside a more urgent one goes where fair threads run, whatever their weights.
#[test]
fn a_thread_that_starts_does_not_wait_beside_fair_ones() {
    let mut sim = Sim::new(2, Limits::USUAL);
    sim.start_on(fifo(60), &only(0));
    (0..2).for_each(|_| {
        sim.start_on(fair(-20), &only(1));
    });
    be(0);
    let low = sim.start(fifo(50));
    sim.run(10_000 * MS, idle);
    let ran_ms = sim.ran_ns(low) / MS;
    assert!((9_450..=9_550).contains(&ran_ms), "{ran_ms}: but for the twentieth of fair threads");
}

/// So does one that loses its CPU to a more urgent one, at once.
#[test]
fn a_thread_that_is_displaced_goes_on_elsewhere() {
    let mut sim = Sim::new(2, Limits::USUAL);
    (0..2).for_each(|_| {
        sim.start_on(fair(-20), &only(1));
    });
    let low = sim.start(fifo(50));
    assert_eq!(sim.cpu_of(low), Some(0));
    let high = sim.start_on(fifo(60), &only(0));
    assert_eq!((sim.cpu_of(high), sim.cpu_of(low)), (Some(0), Some(1)));
    sim.run(10_000 * MS, idle);
    assert!(sim.ran_ns(low) > 9_000 * MS, "{}", sim.ran_ns(low));
    sim.validate();
}

/// One that waits while all its CPUs run more urgent threads goes to the first that does so no more.
#[test]
fn a_thread_that_waits_goes_where_a_more_urgent_one_has_stopped() {
    let mut sim = Sim::new(4, Limits::USUAL);
    let high: Vec<_> = (0..4).map(|cpu| sim.start_on(fifo(60), &only(cpu))).collect();
    (0..4).for_each(|cpu| {
        (0..8).for_each(|_| {
            sim.start_on(fair(-20), &only(cpu));
        })
    });
    be(0);
    let low = sim.start(fifo(50));
    assert_eq!(sim.cpu_of(low), None);
    // The farthest one.
    let at = 3 ^ sim.threads[low].cpu().index();
    (0..8).for_each(|_| {
        sim.start_on(fair(-20), &only(at));
    });
    sim.block(high[at]);
    let from_ns = sim.now_ns();
    let mut began_ns = None;
    sim.run(from_ns + 40 * MS, |sim| {
        idle(sim);
        began_ns = began_ns.or(sim.cpu_of(low).map(|_| sim.now_ns()));
    });
    assert!(began_ns.is_some_and(|began_ns| began_ns <= from_ns + 25 * MS), "{began_ns:?}");
}

/// Threads that wake at once on one CPU, which has yet to choose, go to one CPU each.
#[test]
fn threads_that_wake_at_once_spread() {
    let mut sim = Sim::new(4, Limits::USUAL);
    let threads: Vec<_> = (0..4).map(|_| sim.start_on(fifo(50), &only(0))).collect();
    for _ in 0..4 {
        let thread = sim.running(0).unwrap();
        sim.block(thread);
    }
    for &thread in &threads {
        sim.rig.scheduler.set_affinity(&sim.threads[thread], &sim.rig.all()).unwrap();
    }
    (0..4).for_each(|cpu| {
        sim.start_on(fair(0), &only(cpu));
    });
    be(0);
    for &thread in &threads {
        let guard = sim.rig.world.irq_off();
        let ticket = sim.threads[thread].word.ticket().unwrap();
        assert!(sim.rig.scheduler.wake(&sim.threads[thread], ticket, Reason::Woken, guard.irq_off()));
    }
    sim.deliver();
    assert!(threads.iter().all(|&thread| sim.cpu_of(thread).is_some()));
}
