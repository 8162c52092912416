//! Calls between threads.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use std::thread;
use std::vec::Vec;

use rhumb_machine::{CpuMask, MAX_CPUS};

use super::machine::{Threads, become_cpu, cpu};

/// Runs `body` on so many CPUs.
fn on_cpus(cpus: usize, body: impl Fn(&Threads, usize) + Sync) -> Threads {
    let all: Vec<usize> = (0..cpus).collect();
    on_some(cpus, &all, body)
}

/// Runs `body` on some CPUs of a machine that has so many.
fn on_some(cpus: usize, some: &[usize], body: impl Fn(&Threads, usize) + Sync) -> Threads {
    let machine = Threads::with_threads(cpus, some.len());
    thread::scope(|scope| {
        for &index in some {
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

/// CPUs of different words call each other, on machines whose sets are one number and several words.
#[test]
fn cpus_of_any_number_call_each_other() {
    const ROUNDS: usize = 50;
    for (cpus, some) in
        [(64, &[0, 31, 63][..]), (65, &[0, 63, 64]), (MAX_CPUS, &[0, 64, 511, 512, MAX_CPUS - 1])]
    {
        let ran = AtomicUsize::new(0);
        let targets: CpuMask = some.iter().map(|&index| cpu(index)).collect();
        let machine = on_some(cpus, some, |machine, me| {
            for _ in 0..ROUNDS {
                machine.call(cpu(me), &targets, &|| {
                    ran.fetch_add(1, Relaxed);
                });
            }
        });
        assert_eq!(ran.into_inner(), some.len() * (some.len() - 1) * ROUNDS, "{cpus}");
        assert!(machine.is_quiet());
    }
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

/// A CPU that many call at once serves 64 of them, then has itself interrupted for the others; no sender waits for those
/// before it.
#[test]
fn one_stretch_serves_64_calls() {
    const CPUS: usize = 151;
    let (ran, machine) = (AtomicUsize::new(0), Threads::with_threads(CPUS, CPUS));
    thread::scope(|scope| {
        for index in 1..CPUS {
            let (machine, ran) = (&machine, &ran);
            scope.spawn(move || {
                become_cpu(cpu(index));
                machine.call(cpu(index), &CpuMask::only(cpu(0)), &|| _ = ran.fetch_add(1, Relaxed));
            });
        }
        become_cpu(cpu(0));
        while machine.sent() < 150 {
            thread::yield_now();
        }
        for served in [64, 128, 150, 150] {
            machine.take_interrupt(cpu(0));
            assert_eq!(ran.load(Relaxed), served);
        }
    });
    assert!(machine.is_quiet());
}
