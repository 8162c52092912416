//! The list of the CPUs that run: they are numbered without gaps, so it is their number.

use core::sync::atomic::{
    AtomicUsize,
    Ordering::{AcqRel, Acquire},
};

use rhumb_machine::{CpuId, CpuMask};

static ONLINE: AtomicUsize = AtomicUsize::new(0);

/// Returns the CPUs that run.
pub fn online() -> CpuMask {
    CpuMask::first(online_count())
}

/// Returns how many CPUs run.
pub fn online_count() -> usize {
    ONLINE.load(Acquire)
}

/// Lists a CPU that takes part from now on, and all CPUs before it take part already.
pub(super) fn set_online(cpu: CpuId) {
    ONLINE.fetch_max(cpu.index() + 1, AcqRel);
}
