//! Threads that try to get more than their share, by sleeping, yielding, moving and changing their weight just in time.

use proptest::prelude::*;
use std::vec::Vec;

use rhumb_machine::CpuMask;

use crate::run_queue::Why;
use crate::tests::sim::Sim;
use crate::tests::world::cpu_id;
use crate::{Limits, Nice, Policy};

const MS: u64 = 1_000_000;

fn fair(nice: i8) -> Policy {
    Policy::Fair(Nice::new(nice).unwrap())
}

fn only(cpu: usize) -> CpuMask {
    CpuMask::only(cpu_id(cpu))
}

/// Runs until a microsecond before the alarm of a CPU.
fn just_before_the_alarm(sim: &Sim, cpu: usize) {
    let alarm_ns = sim.rig.world.alarm_ns(cpu).min(sim.now_ns() + 10 * MS);
    sim.run((alarm_ns - 1_000).max(sim.now_ns()), |_| {});
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// A thread that always runs beside sly ones has its share, but for two slices.
    #[test]
    fn sly_threads_do_not_rob(
        slies in 1usize..5, hogs in 1usize..3,
        steps in prop::collection::vec((0u8..8, 0usize..5, 1u64..7_000_000), 200..600),
    ) {
        let mut sim = Sim::new(1, Limits::USUAL);
        let hogs: Vec<_> = (0..hogs).map(|_| sim.start(fair(0))).collect();
        let first = hogs.len();
        (0..slies).for_each(|_| { sim.start(fair(0)); });
        let all = sim.threads.len() as u64;
        for (step, which, ns) in steps {
            let thread = first + which % slies;
            match step {
                0 | 1 => if let Some(running) = sim.running(0) && running >= first { sim.block(running) },
                2 | 3 => { sim.wake(thread, 0); }
                4 => if let Some(running) = sim.running(0) && running >= first { sim.choose(0, Why::Yield) },
                5 => {
                    let nice = if sim.threads[thread].policy() == fair(0) { 5 } else { 0 };
                    sim.rig.scheduler.set_policy(&sim.threads[thread], fair(nice));
                    sim.deliver();
                }
                // Just before the end of a slice.
                6 => just_before_the_alarm(&sim, 0),
                _ => sim.run(sim.now_ns() + ns, |_| {}),
            }
            for &hog in &hogs {
                let share = sim.now_ns() / all;
                let ran = sim.ran_ns(hog);
                prop_assert!(ran + 2 * 3 * MS + 100_000 >= share, "{ran} of {share}, {all}");
            }
        }
    }

    /// Nor by going from CPU to CPU.
    #[test]
    fn hopping_threads_do_not_rob(
        steps in prop::collection::vec((0u8..7, 1u64..7_000_000), 200..600),
    ) {
        let mut sim = Sim::new(2, Limits { balance_ns: u64::MAX, ..Limits::USUAL });
        let hogs = [sim.start_on(fair(0), &only(0)), sim.start_on(fair(0), &only(1))];
        let sly = sim.start_on(fair(0), &only(0));
        for (step, ns) in steps {
            match step {
                0 | 1 => {
                    let to = 1 - sim.threads[sly].cpu().index();
                    sim.rig.scheduler.set_affinity(&sim.threads[sly], &only(to)).unwrap();
                    sim.deliver();
                }
                2 if sim.cpu_of(sly).is_some() => sim.block(sly),
                3 => { sim.wake(sly, 0); }
                4 if sim.cpu_of(sly).is_some() => sim.choose(sim.cpu_of(sly).unwrap(), Why::Yield),
                5 => {
                    let cpu = sim.threads[sly].cpu().index();
                    just_before_the_alarm(&sim, cpu);
                }
                _ => sim.run(sim.now_ns() + ns, |_| {}),
            }
            sim.run(sim.now_ns(), |_| {});
            let ran: u64 = hogs.iter().map(|&hog| sim.ran_ns(hog)).sum();
            let now = sim.now_ns();
            prop_assert!(ran + 4 * 3 * MS >= now * 3 / 2, "{ran} of {now}: sly {}", sim.ran_ns(sly));
        }
    }
}

/// Slices without an end, as `real_time_budget_ns: u64::MAX` is a budget without one.
#[test]
fn slices_without_an_end() {
    let mut sim = Sim::new(1, Limits { slice_ns: u64::MAX, ..Limits::USUAL });
    (0..3).for_each(|_| {
        sim.start(fair(0));
    });
    sim.run(10 * MS, |_| {});
    sim.choose(0, Why::Yield);
    sim.run(20 * MS, |_| {});
}
