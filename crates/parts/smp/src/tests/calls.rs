//! Calls between threads.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use std::thread;

use rhumb_machine::CpuMask;

use super::machine::{Threads, become_cpu, cpu};

/// Runs `body` on so many CPUs.
fn on_cpus(cpus: usize, body: impl Fn(&Threads, usize) + Sync) -> Threads {
    let machine = Threads::new(cpus);
    thread::scope(|scope| {
        for index in 0..cpus {
            let (machine, body) = (&machine, &body);
            scope.spawn(move || {
                become_cpu(cpu(index));
                body(machine, index);
                machine.idle(cpu(index));
            });
        }
    });
    machine
}

#[test]
fn every_cpu_calls_all_others_at_once() {
    const CPUS: usize = 4;
    const ROUNDS: usize = 200;
    let ran = AtomicUsize::new(0);
    let machine = on_cpus(CPUS, |machine, me| {
        for _ in 0..ROUNDS {
            machine.call(cpu(me), &CpuMask::first(CPUS), &|| {
                ran.fetch_add(1, Relaxed);
            });
        }
    });
    assert_eq!(ran.into_inner(), CPUS * (CPUS - 1) * ROUNDS);
    assert!(machine.is_quiet());
}

#[test]
fn served_calls_call_in_turn() {
    const CPUS: usize = 3;
    const ROUNDS: usize = 100;
    let ran = AtomicUsize::new(0);
    on_cpus(CPUS, |machine, me| {
        for _ in 0..ROUNDS {
            machine.call(cpu(me), &CpuMask::first(CPUS), &|| {
                let here = super::machine::this_cpu();
                machine.call(here, &CpuMask::first(CPUS), &|| {
                    ran.fetch_add(1, Relaxed);
                });
            });
        }
    });
    assert_eq!(ran.into_inner(), CPUS * ROUNDS * (CPUS - 1) * (CPUS - 1));
}

#[test]
fn a_cpu_that_does_not_run_is_left_out() {
    let ran = AtomicUsize::new(0);
    on_cpus(2, |machine, me| {
        if me == 0 {
            machine.call(cpu(0), &CpuMask::first(200), &|| {
                ran.fetch_add(1, Relaxed);
            });
        }
    });
    assert_eq!(ran.into_inner(), 1);
}
