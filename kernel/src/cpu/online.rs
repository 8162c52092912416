//! The list of the CPUs that run.

use core::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire},
};

use rhumb_machine::{CpuId, CpuMask, MAX_CPUS};

static ONLINE: [AtomicU64; MAX_CPUS / 64] = [const { AtomicU64::new(0) }; MAX_CPUS / 64];

/// Returns the CPUs that run.
pub fn online() -> CpuMask {
    CpuMask::from_words(core::array::from_fn(|word| ONLINE[word].load(Acquire)))
}

/// Lists a CPU that takes part from now on.
pub(super) fn set_online(cpu: CpuId) {
    ONLINE[cpu.index() / 64].fetch_or(1 << (cpu.index() % 64), AcqRel);
}
