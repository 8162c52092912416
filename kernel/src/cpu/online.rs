//! Which CPUs run.

use core::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire},
};

use rhumb_machine::{CpuId, CpuMask, MAX_CPUS};
use rhumb_smp::call::Waited;
use rhumb_smp::start::Starts;

use super::call;

/// While a start is under way, a CPU that is not listed walks the kernel's tables: see [`flush_targets`].
pub(super) static STARTS: Starts = Starts::new();

static ONLINE: [AtomicU64; MAX_CPUS / 64] = [const { AtomicU64::new(0) }; MAX_CPUS / 64];

/// Returns the CPUs that run.
pub fn online() -> CpuMask {
    CpuMask::from_words(core::array::from_fn(|word| ONLINE[word].load(Acquire)))
}

/// Returns the CPUs that may hold a translation of the kernel's tables, but for those that have parked: these use the
/// image alone, whose tables stay.
///
/// A CPU that starts walks the tables before it is listed, and cannot flush for others then. So the caller waits for a
/// start that is under way: a millisecond; where that CPU does not answer, as long as it is waited for. Calls are
/// served meanwhile.
pub fn flush_targets() -> CpuMask {
    let mut waited = Waited::default();
    STARTS.wait(|| {
        call::serve_if_here();
        core::hint::spin_loop();
        call::lose_patience(&mut waited, || CpuMask::only(CpuId::BOOT));
    });
    online()
}

/// Lists a CPU that takes part from now on.
pub(super) fn set_online(cpu: CpuId) {
    ONLINE[cpu.index() / 64].fetch_or(1 << (cpu.index() % 64), AcqRel);
}
