//! The list of the CPUs that run.

use core::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
};

use rhumb_machine::{CpuId, CpuMask, MAX_CPUS};

static ONLINE: [AtomicU64; MAX_CPUS / 64] = [const { AtomicU64::new(0) }; MAX_CPUS / 64];

/// Returns the CPUs that run.
pub fn online() -> CpuMask {
    CpuMask::from_words(core::array::from_fn(|word| ONLINE[word].load(Acquire)))
}

/// How many are listed.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Returns how many CPUs run: one load, where the list is as long as there may be CPUs.
pub fn online_count() -> u64 {
    COUNT.load(Relaxed)
}

/// Lists a CPU that takes part from now on.
pub(super) fn set_online(cpu: CpuId) {
    let bit = 1 << (cpu.index() % 64);
    if ONLINE[cpu.index() / 64].fetch_or(bit, AcqRel) & bit == 0 {
        COUNT.fetch_add(1, Relaxed);
    }
}
