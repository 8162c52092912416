//! [`Loaded`]: an object that is loaded, and how often its programs have run.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_bpf::limits::MAX_PROGRAMS;
use rhumb_bpf::{Context, Environment, LoadError, Object};
use rhumb_machine::IrqOff;

use crate::cpu::area;

/// An object, with counts of its programs' runs. Its address stays while it is loaded, and is a multiple of 64.
#[repr(align(64))]
pub struct Loaded {
    object: Object,
    /// The runs of each program, by CPU.
    runs: Vec<Runs>,
    faults: AtomicU64,
}

/// Runs on one CPU.
#[repr(align(64))]
struct Runs([AtomicU64; MAX_PROGRAMS]);

impl Loaded {
    pub(super) fn new(object: Object) -> Result<Self, LoadError> {
        let cpus = area::all().count();
        let mut runs = Vec::new();
        runs.try_reserve_exact(cpus).map_err(|_| LoadError::OutOfMemory)?;
        runs.extend((0..cpus).map(|_| Runs([const { AtomicU64::new(0) }; MAX_PROGRAMS])));
        Ok(Self { object, runs, faults: AtomicU64::new(0) })
    }

    /// Returns the object.
    pub const fn object(&self) -> &Object {
        &self.object
    }

    /// Returns how often a program has run.
    pub fn runs_of(&self, program: usize) -> u64 {
        self.runs.iter().filter_map(|runs| Some(runs.0.get(program)?.load(Relaxed))).sum()
    }

    /// Returns how often a check at run time has failed: 0, or the verifier is wrong.
    pub fn faults(&self) -> u64 {
        self.faults.load(Relaxed)
    }

    /// Runs a program.
    pub(super) fn run(
        &self,
        program: usize,
        context: &Context,
        environment: &impl Environment,
        irq_off: IrqOff<'_>,
    ) {
        let count = self.runs.get(irq_off.cpu().index()).and_then(|runs| runs.0.get(program));
        if let Some(count) = count {
            count.store(count.load(Relaxed) + 1, Relaxed);
        }
        if self.object.run(program, context, environment, irq_off).is_none_or(|ran| ran.is_err()) {
            self.faults.fetch_add(1, Relaxed);
        }
    }
}
