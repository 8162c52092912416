//! Which machine of the program has each CPU number.
//!
//! A token names a CPU by its number. A build that compares tokens with their machine ([`Machine::CHECKS_TOKENS`])
//! takes a token of one machine for no other. Benchmarks cannot bear the comparison, which costs a tenth of a pair of
//! operations: in their build a number is one CPU at a time in the whole program. So whichever machine a token comes
//! from, no other thread has a token that names the same CPU.

use core::sync::atomic::{AtomicU32, Ordering};
use std::thread;

#[cfg(doc)]
use rhumb_machine::Machine;
use rhumb_machine::{CpuId, MAX_CPUS};

/// A place for each CPU number: the machine that has it, or 0.
#[derive(Debug)]
pub(crate) struct Seats([AtomicU32; MAX_CPUS]);

/// The program's.
pub(crate) static PROGRAM: Seats = Seats::new();

impl Seats {
    pub(crate) const fn new() -> Self {
        Self([const { AtomicU32::new(0) }; MAX_CPUS])
    }

    /// Takes the place of `cpu` for `machine`; waits while another machine has it, unless the caller is a CPU itself
    /// (`is_cpu`): it might wait for itself. Says whether the place was taken.
    pub(crate) fn take(&self, cpu: CpuId, machine: u32, is_cpu: bool) -> bool {
        let place = &self.0[cpu.index()];
        while let Err(other) = place.compare_exchange(0, machine, Ordering::Acquire, Ordering::Relaxed) {
            if other == machine || is_cpu {
                return false;
            }
            thread::yield_now();
        }
        true
    }

    pub(crate) fn free(&self, cpu: CpuId) {
        self.0[cpu.index()].store(0, Ordering::Release);
    }
}
