//! Object caches of tests: checked, and given up again.

use rhumb_machine::Machine;
use rhumb_slab::{DestroyError, Inconsistency, RawCache, Slabs};
use spin::mutex::SpinMutex;

use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::{clock, work};

/// Checks the object caches on every CPU, each of which looks at its own magazines, too. Not from an interrupt.
///
/// # Errors
/// The first thing that does not fit, of those that a CPU found.
pub fn validate(slabs: &Slabs<KernelMachine>) -> Result<(), Inconsistency> {
    let result: SpinMutex<Result<(), Inconsistency>> = SpinMutex::new(Ok(()));
    work::on_every_cpu(&|| {
        let guard = MACHINE.pin();
        if let Err(inconsistency) = slabs.validate(guard.pinned()) {
            *result.lock() = Err(inconsistency);
        }
    });
    result.into_inner()
}

/// How long [`give_up`] tries.
const GIVE_UP_NS: u64 = 1_000_000_000;

/// Gives a cache up. Where another CPU walks it just then (a tick, a reclaim, a report), tries again for a second: with
/// the machine's interrupts on, and unpinned in between.
#[expect(
    clippy::result_large_err,
    reason = "the cache itself comes back, and its caller has it on the stack anyway"
)]
pub fn give_up(mut cache: RawCache<KernelMachine>) -> Result<(), (RawCache<KernelMachine>, DestroyError)> {
    let end = clock::now_ns().saturating_add(GIVE_UP_NS);
    loop {
        let guard = MACHINE.pin();
        match cache.destroy(guard.pinned()) {
            Err((back, DestroyError::Busy)) if clock::now_ns() < end => cache = back,
            other => return other,
        }
        drop(guard);
        core::hint::spin_loop();
    }
}
