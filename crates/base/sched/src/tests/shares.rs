//! Shares of fair threads, priorities of real-time ones, and the limit between them.

use core::sync::atomic::Ordering::SeqCst;
use std::vec::Vec;

use proptest::prelude::*;
use rhumb_machine::Machine;

use crate::run_queue::Why;
use crate::tests::sim::Sim;
use crate::tests::world::be;
use crate::{Limits, Nice, Policy, Priority, State, Turns};

const MS: u64 = 1_000_000;
const SLICE_NS: u64 = Limits::USUAL.slice_ns;

fn fair(nice: i8) -> Policy {
    Policy::Fair(Nice::new(nice).unwrap())
}

fn fifo(priority: u8) -> Policy {
    Policy::RealTime(Priority::new(priority).unwrap(), Turns::Fifo)
}

fn round_robin(priority: u8) -> Policy {
    Policy::RealTime(Priority::new(priority).unwrap(), Turns::RoundRobin)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Theorem 1 of the source: at each moment each thread has had its share of the CPU, but for one slice, whatever the
    /// weights.
    #[test]
    fn no_thread_is_behind_or_ahead_of_its_share_by_more_than_a_slice(
        nices in prop::collection::vec(-20i8..20, 1..12),
    ) {
        let mut sim = Sim::new(1, Limits::USUAL);
        nices.iter().for_each(|&nice| { sim.start(fair(nice)); });
        let weight = |nice: i8| Nice::new(nice).unwrap().weight() as f64;
        let sum: f64 = nices.iter().map(|&nice| weight(nice)).sum();
        sim.run(2_000 * MS, |sim| {
            for (thread, &nice) in nices.iter().enumerate() {
                let share = sim.now_ns() as f64 * weight(nice) / sum;
                let lag = share - sim.ran_ns(thread) as f64;
                // A nanosecond of rounding for each request.
                assert!(lag.abs() <= (SLICE_NS + 10_000) as f64, "{nice} of {nices:?}: {lag} ns behind");
            }
        });
        sim.validate();
    }

    /// Threads come, wait, wake and end as they like, on several CPUs. Each queue stays whole, no thread is lost, and no
    /// CPU idles beside a thread that waits for it.
    #[test]
    fn any_history_leaves_the_queues_whole(
        cpus in 1usize..5,
        steps in prop::collection::vec((0u8..7, 0usize..16, 0usize..5, -20i8..20), 1..120),
    ) {
        let mut sim = Sim::new(cpus, Limits::USUAL);
        for (step, thread, cpu, nice) in steps {
            let cpu = cpu % cpus;
            let known = thread < sim.threads.len();
            match step {
                0 if sim.threads.len() < 16 => {
                    let priority = (nice + 20) as u8;
                    sim.start(if thread % 3 == 0 { round_robin(priority) } else { fair(nice) });
                }
                1 if known && sim.cpu_of(thread).is_some() => sim.block(thread),
                2 if known => { sim.wake(thread, cpu); }
                3 if known && nice > 10 && sim.cpu_of(thread).is_some() => sim.end(thread),
                4 => sim.choose(cpu, Why::Yield),
                5 if known => {
                    let policy = if nice < 0 { fifo(-nice as u8) } else { fair(nice) };
                    sim.rig.scheduler.set_policy(&sim.threads[thread], policy);
                    sim.deliver();
                }
                6 if known => {
                    let only = rhumb_machine::CpuMask::only(rhumb_machine::CpuId::new(cpu).unwrap());
                    sim.rig.scheduler.set_affinity(&sim.threads[thread], &only).unwrap();
                    sim.deliver();
                    let state = sim.threads[thread].state();
                    prop_assert!(sim.cpu_of(thread).is_none_or(|at| at == cpu), "{state:?}");
                }
                _ => sim.run(sim.now_ns() + (1 + thread as u64) * MS, |_| {}),
            }
            sim.validate();
            for idle in (0..cpus).filter(|&cpu| sim.running(cpu).is_none()) {
                let waits = |thread: &&crate::ThreadRef<_>| {
                    thread.state() == State::Ready && thread.cpu().index() == idle
                };
                prop_assert!(!sim.threads.iter().any(|thread| waits(&thread)), "CPU {idle} idles");
            }
        }
    }
}

/// A thread that sleeps gains nothing by it: it has its share of the time in which it does not sleep.
#[test]
fn sleeping_is_no_credit() {
    let mut sim = Sim::new(1, Limits::USUAL);
    let (sleeper, busy) = (sim.start(fair(0)), sim.start(fair(0)));
    while sim.running(0) != Some(sleeper) {
        sim.run(sim.now_ns() + MS, |_| {});
    }
    sim.block(sleeper);
    sim.run(sim.now_ns() + 10_000 * MS, |_| {});
    sim.wake(sleeper, 0);
    let before = (sim.ran_ns(sleeper), sim.ran_ns(busy));
    sim.run(sim.now_ns() + 100 * MS, |_| {});
    let ran = (sim.ran_ns(sleeper) - before.0, sim.ran_ns(busy) - before.1);
    assert!(ran.0.abs_diff(ran.1) <= 3 * SLICE_NS, "{ran:?}");
}

/// Nor does a thread that always blocks just before its slice is over get more than its share.
#[test]
fn blocking_before_the_end_of_a_slice_is_no_credit() {
    let mut sim = Sim::new(1, Limits::USUAL);
    let (sly, busy) = (sim.start(fair(0)), sim.start(fair(0)));
    for _ in 0..3_000 {
        if sim.running(0) == Some(sly) {
            sim.run(sim.now_ns() + SLICE_NS - 1_000, |_| {});
            if sim.running(0) == Some(sly) {
                sim.block(sly);
                sim.wake(sly, 0);
            }
        } else {
            sim.run(sim.now_ns() + SLICE_NS, |_| {});
        }
    }
    let (sly, busy) = (sim.ran_ns(sly), sim.ran_ns(busy));
    assert!(sly as f64 <= busy as f64 * 1.05, "{sly} and {busy}");
}

#[test]
fn the_most_urgent_real_time_thread_runs_and_a_preempted_one_goes_first_of_its_priority() {
    let mut sim = Sim::new(1, Limits::USUAL);
    let nice = sim.start(fair(-20));
    let (low, peer) = (sim.start(fifo(3)), sim.start(fifo(3)));
    assert_eq!(sim.running(0), Some(low));
    let high = sim.start(fifo(9));
    assert_eq!(sim.running(0), Some(high));
    sim.run(50 * MS, |sim| assert_eq!(sim.running(0), Some(high)));
    sim.block(high);
    assert_eq!(sim.running(0), Some(low), "it was preempted, and is before its peer");
    sim.run(300 * MS, |sim| assert_eq!(sim.running(0), Some(low), "first in, first out"));
    sim.choose(0, Why::Yield);
    assert_eq!(sim.running(0), Some(peer));
    sim.end(peer);
    sim.end(low);
    assert_eq!(sim.running(0), Some(nice));
}

#[test]
fn round_robin_takes_turns_and_fifo_does_not() {
    let mut sim = Sim::new(1, Limits { real_time_budget_ns: u64::MAX, ..Limits::USUAL });
    let robins = [sim.start(round_robin(5)), sim.start(round_robin(5)), sim.start(round_robin(5))];
    let low = sim.start(fifo(4));
    sim.run(3_000 * MS, |_| {});
    let ran: Vec<u64> = robins.iter().map(|&thread| sim.ran_ns(thread)).collect();
    assert_eq!(ran, [1_000 * MS; 3]);
    assert_eq!(sim.ran_ns(low), 0);
}

/// Real-time threads that loop have 95 % of each CPU, and fair ones the rest. Where no fair thread waits they have all.
#[test]
fn real_time_threads_leave_a_twentieth() {
    let mut sim = Sim::new(2, Limits::USUAL);
    let loops: Vec<usize> = (0..4).map(|_| sim.start(fifo(60))).collect();
    let only = |cpu| rhumb_machine::CpuMask::only(rhumb_machine::CpuId::new(cpu).unwrap());
    let shell = sim.start_on(fair(0), &only(0));
    sim.run(10_000 * MS, |_| {});
    let ran = sim.ran_ns(shell);
    assert!((480 * MS..=550 * MS).contains(&ran), "{ran}");
    let real_time: u64 = loops.iter().map(|&thread| sim.ran_ns(thread)).sum();
    assert_eq!(real_time + ran, 20_000 * MS, "the CPU without a shell runs them all the time");
}

/// A thread on 64 CPUs runs on each CPU that may run it, and on no other.
#[test]
fn an_affinity_is_kept_on_64_cpus() {
    let mut sim = Sim::new(64, Limits::USUAL);
    for cpu in 0..64 {
        let only = rhumb_machine::CpuMask::only(rhumb_machine::CpuId::new(cpu).unwrap());
        let thread = sim.start_on(fair(0), &only);
        assert_eq!(sim.cpu_of(thread), Some(cpu));
    }
    sim.run(100 * MS, |_| {});
    assert!((0..64).all(|thread| sim.ran_ns(thread) == 100 * MS));
    sim.validate();
}

/// Two equal threads take turns of one slice each.
#[test]
fn equal_threads_take_turns_of_a_slice() {
    for count in [2, 3] {
        let mut sim = Sim::new(1, Limits { balance_ns: u64::MAX, ..Limits::USUAL });
        (0..count).for_each(|_| {
            sim.start(fair(0));
        });
        let (mut last, mut began, mut turns) = (sim.running(0), 0, Vec::new());
        sim.run(1_000 * MS, |sim| {
            if sim.running(0) != last {
                turns.push(sim.now_ns() - began);
                (last, began) = (sim.running(0), sim.now_ns());
            }
        });
        assert!(turns.len() >= 300 && turns.iter().all(|&turn| turn == SLICE_NS), "{turns:?}");
    }
}

/// A thread that sleeps for short times cuts no slice of the others: when it has run, the one that ran before goes on.
#[test]
fn a_sleeper_does_not_cut_the_slices_of_others() {
    for period in [1_000_000, 100_000, 10_000] {
        let mut sim = Sim::new(1, Limits::USUAL);
        let sleeper = sim.start(fair(0));
        let hogs = [sim.start(fair(0)), sim.start(fair(0))];
        let sleep = |sim: &Sim| {
            if sim.running(0) != Some(sleeper) {
                return;
            }
            be(0);
            let thread = &sim.threads[sleeper];
            let ticket = thread.word.prepare();
            let guard = sim.rig.world.irq_off();
            sim.rig.scheduler.set_timer(thread, ticket, sim.now_ns() + period, guard.irq_off());
            drop(guard);
            sim.choose(0, Why::Block);
        };
        while sim.running(0) != Some(sleeper) {
            sim.choose(0, Why::Yield);
        }
        sleep(&sim);
        let (mut last, mut changes) = (None, 0);
        sim.run(sim.now_ns() + 1_000 * MS, |sim| {
            sleep(sim);
            let running = sim.running(0).filter(|running| hogs.contains(running));
            if running.is_some() && running != last {
                (last, changes) = (running, changes + 1);
            }
        });
        assert!(
            changes <= 1_000 / 3 + 2,
            "{changes} changes in a second, beside one that sleeps {period} ns"
        );
    }
}

/// A time-out that is over makes the CPU choose only where it matters: the thread that runs goes on.
#[test]
fn an_alarm_for_another_thread_asks_for_no_choice() {
    let mut sim = Sim::new(1, Limits { balance_ns: u64::MAX, ..Limits::USUAL });
    (0..2).for_each(|_| {
        sim.start(fair(0));
    });
    let before = sim.rig.world.interrupts.load(SeqCst);
    be(0);
    let at_ns = sim.rig.world.alarm_ns(0);
    for _ in 0..10 {
        let guard = sim.rig.world.irq_off();
        sim.rig.scheduler.alarm(guard.irq_off());
    }
    assert_eq!(sim.rig.world.interrupts.load(SeqCst), before, "the slice is not over");
    assert_eq!(sim.rig.world.alarm_ns(0), at_ns, "and ends when it was to");
}
