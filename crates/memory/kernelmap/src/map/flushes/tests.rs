//! Model checking of the numbers: `RUSTFLAGS="--cfg shuttle" cargo test -p rhumb-kernelmap --lib --release`.
//!
//! Two CPUs walk a table while two others flush, and the holder of an entry gives it back. Whatever the order, no CPU has
//! the entry's translation once the holder sees that its flush is over.

use std::vec::Vec;

use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

use super::{Flushes, Reach};
use rhumb_sync::atomic::{AtomicU64, Ordering::SeqCst};

const CPUS: usize = 2;
const FRAME: u64 = 7;
/// The CPU that is lazy, which only a flush of all reaches.
const LAZY: usize = 1;

struct Model {
    flushes: Flushes,
    entry: AtomicU64,
    /// The translation that each CPU has cached. A walk ends before the CPU answers a flush, so both hold the lock.
    cached: [Mutex<u64>; CPUS],
}

impl Model {
    fn walk(&self, cpu: usize) {
        let mut cached = self.cached[cpu].lock().unwrap();
        *cached = self.entry.load(SeqCst);
    }

    fn flush(&self, reach: Reach) {
        let number = self.flushes.begin();
        for (cpu, cached) in self.cached.iter().enumerate() {
            if cpu != LAZY || reach == Reach::All {
                *cached.lock().unwrap() = 0;
            }
        }
        self.flushes.end(number, reach);
    }

    /// Gives the entry back, and looks whether its flush is over.
    fn retire(&self, reach: Reach) {
        self.entry.store(0, SeqCst);
        let stamp = self.flushes.stamp();
        for _ in 0..6 {
            if self.flushes.is_over(stamp, reach) {
                for (cpu, cached) in self.cached.iter().enumerate() {
                    if cpu != LAZY || reach == Reach::All {
                        assert_ne!(*cached.lock().unwrap(), FRAME, "CPU {cpu} has the translation");
                    }
                }
            }
            thread::yield_now();
        }
    }
}

fn check(reach: Reach, flushes: [Reach; 2]) {
    let body = move || {
        let cached = core::array::from_fn(|_| Mutex::new(FRAME));
        let model = Model { flushes: Flushes::new(), entry: AtomicU64::new(FRAME), cached };
        let model = Arc::new(model);
        let mut threads = Vec::new();
        for cpu in 0..CPUS {
            let model = Arc::clone(&model);
            threads.push(thread::spawn(move || (0..3).for_each(|_| model.walk(cpu))));
        }
        for reach in flushes {
            let model = Arc::clone(&model);
            threads.push(thread::spawn(move || (0..2).for_each(|_| model.flush(reach))));
        }
        model.retire(reach);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(model.flushes.begun(), 4);
    };
    shuttle::check_pct(body, 4000, 3);
}

#[test]
fn a_flush_that_is_over_has_dropped_what_was_hidden_before() {
    check(Reach::Running, [Reach::Running, Reach::All]);
}

#[test]
fn tables_wait_for_flushes_that_reach_lazy_cpus() {
    check(Reach::All, [Reach::Running, Reach::All]);
}
