//! Work for every CPU at once, in ordinary context: interrupts on, on the CPU's own stack.
//!
//! A thread of each CPU, its worker, does the jobs (`task::worker`); the CPU that hands one out wakes the workers with a
//! cross-call, does its own share, and waits for all. The caller is bound to its CPU, as the prompt is.

use core::sync::atomic::{
    AtomicBool, AtomicU32,
    Ordering::{AcqRel, Acquire, Release},
};

use rhumb_machine::{CpuId, Machine};
use rhumb_smp::call::Waited;
use spin::Once;

use super::machine::MACHINE;
use super::{area, call, once};
use crate::cpu;

/// A job that is being done.
struct Job {
    function: unsafe fn(*const ()),
    argument: *const (),
    left: AtomicU32,
}

/// Turns of a waiting loop between two looks at the clock.
const TURNS_PER_LOOK: u64 = 1024;

/// Wakes the worker of the CPU on which it is called.
static WAKE: Once<fn()> = Once::new();

/// Has workers woken by `wake`. Once, before other CPUs run.
pub fn wake_by(wake: fn()) {
    once::fill(&WAKE, wake);
}

/// One job at a time.
static BUSY: AtomicBool = AtomicBool::new(false);

/// Runs `job` once on every CPU that runs, this one included, and returns when all are done. Not from an interrupt, and
/// not from within a job.
pub fn on_every_cpu<F: Fn() + Sync>(job: &F) {
    on_others(job, job);
}

/// Runs `job` once on every other CPU and `mine` on this one, and returns when all are done. Otherwise the same as
/// [`on_every_cpu`].
pub fn on_others<F: Fn() + Sync>(job: &F, mine: impl FnOnce()) {
    unsafe fn invoke<F: Fn()>(argument: *const ()) {
        // SAFETY: `on_others` passed a reference to an F and waits until the last CPU has left this call.
        unsafe { (*argument.cast::<F>())() }
    }
    while BUSY.swap(true, AcqRel) {
        call::serve_if_here();
        core::hint::spin_loop();
    }
    let others = {
        let guard = MACHINE.pin();
        cpu::online().without(guard.pinned().cpu())
    };
    let record = Job {
        function: invoke::<F>,
        argument: core::ptr::from_ref(job).cast(),
        left: AtomicU32::new(others.len() as u32),
    };
    let pointer = core::ptr::from_ref(&record).cast_mut();
    for cpu in others.iter() {
        if let Some(area) = area::of(cpu) {
            area.job().store(pointer.cast(), Release);
        }
    }
    {
        let guard = MACHINE.pin();
        call::run_on(guard.pinned(), &others, &|| _ = WAKE.get().map(|wake| wake()), || ());
    }
    mine();
    let mut waited = Waited::default();
    while record.left.load(Acquire) != 0 {
        call::serve_if_here();
        core::hint::spin_loop();
        waited.turns += 1;
        // A job may take its time; each worker begins with it soon.
        if waited.turns.is_multiple_of(TURNS_PER_LOOK) {
            let has_not_begun =
                |&cpu: &CpuId| area::of(cpu).is_some_and(|area| area.job().load(Acquire) == pointer.cast());
            call::lose_patience(&mut waited, || others.iter().filter(has_not_begun).collect());
        }
    }
    BUSY.store(false, Release);
}

/// Tells whether a job waits for this CPU.
pub fn is_waiting() -> bool {
    let guard = MACHINE.pin();
    !area::here(guard.pinned()).job().load(Acquire).is_null()
}

/// Does the job that waits for this CPU, if there is one. Called by its worker.
pub fn do_waiting() {
    let pointer = {
        let guard = MACHINE.pin();
        area::here(guard.pinned()).job().swap(core::ptr::null_mut(), AcqRel).cast::<Job>()
    };
    // SAFETY: `on_others` stored a reference that lives until `left` reaches zero, which this CPU's share has yet to
    // do.
    if let Some(job) = unsafe { pointer.as_ref() } {
        // SAFETY: function and argument were stored together.
        unsafe { (job.function)(job.argument) };
        job.left.fetch_sub(1, Release);
    }
}
