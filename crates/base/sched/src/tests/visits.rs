//! How the common paths scale: CPUs in turns, with the lines that they share being counted.
//!
//! `RUSTFLAGS="--cfg rhumb_counted" cargo test --release -p rhumb-sched --lib visits`.

use rhumb_machine::CpuMask;
use rhumb_sync::counted::{be, forget, take};
use std::vec::Vec;

use crate::run_queue::Why;
use crate::tests::sim::Sim;
use crate::tests::world::cpu_id;
use crate::{Limits, Policy};

/// Returns the lines of other CPUs and the locks that one CPU visits for a yield, and for a wait with its wake-up, while
/// all CPUs do the same.
fn visits(cpus: usize) -> [(f64, f64); 2] {
    const ROUNDS: usize = 20;
    let mut sim = Sim::new(cpus, Limits::USUAL);
    let threads: Vec<[usize; 2]> = (0..cpus)
        .map(|cpu| [(); 2].map(|()| sim.start_on(Policy::default(), &CpuMask::only(cpu_id(cpu)))))
        .collect();
    for thread in &sim.threads {
        sim.rig.scheduler.set_affinity(thread, &sim.rig.all()).unwrap();
    }
    forget();
    let mut all = [(0.0, 0.0); 2];
    for round in 0..ROUNDS {
        for (cpu, pair) in threads.iter().enumerate() {
            let mut counted = |which: usize, work: &dyn Fn()| {
                be(Some(cpu_id(cpu)));
                take();
                work();
                let counts = take();
                be(None);
                // The first rounds bring the lines to their CPUs.
                if round >= 2 {
                    let per = (cpus * (ROUNDS - 2)) as f64;
                    all[which].0 += counts.foreign_lines as f64 / per;
                    all[which].1 += counts.lock_visits as f64 / per;
                }
            };
            counted(0, &|| sim.choose(cpu, Why::Yield));
            let waits = pair.iter().copied().find(|&thread| sim.running(cpu) == Some(thread)).unwrap();
            counted(1, &|| {
                sim.threads[waits].word.prepare();
                sim.choose(cpu, Why::Block);
                assert!(sim.wake(waits, cpu));
            });
        }
    }
    sim.validate();
    all
}

/// On 64 CPUs as on one: no line that another CPU wrote, and the same few locks, all of them the CPU's own.
#[test]
fn i13_the_common_paths_touch_no_shared_line() {
    let one = visits(1);
    for cpus in [1, 2, 4, 8, 16, 32, 64] {
        let counts = visits(cpus);
        std::println!("{cpus} CPUs: yield {:?}, wait and wake-up {:?} (lines, locks)", counts[0], counts[1]);
        for (count, of_one) in counts.iter().zip(&one) {
            assert_eq!(count.0, 0.0, "lines of other CPUs");
            assert!((count.1 - of_one.1).abs() < 0.5, "locks: {} and {}", count.1, of_one.1);
        }
    }
}
