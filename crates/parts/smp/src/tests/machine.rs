//! CPUs that are threads: an interrupt is a flag that a CPU sees when it looks.

use std::vec::Vec;

use rhumb_machine::{CpuId, CpuMask, CpuSet, FirstCpus, IrqOff, Pinned};

use crate::call::{self, Cpus, Inbox, Senders, Waited};
use rhumb_sync::atomic::{AtomicU64, Ordering::SeqCst};

/// A machine of a few CPUs.
pub(super) struct Threads {
    inboxes: Vec<Inbox>,
    interrupts: Vec<AtomicU64>,
    /// How many CPUs have nothing more to do of their own.
    idle: AtomicU64,
    /// How many CPUs are threads; the others are called by none.
    threads: usize,
    /// Calls that were put into slots; no part of a model.
    sent: core::sync::atomic::AtomicU64,
}

impl Threads {
    #[cfg(loom)]
    pub(super) fn new(cpus: usize) -> Self {
        Self::with_threads(cpus, cpus)
    }

    /// Makes a machine of which so many CPUs are threads.
    pub(super) fn with_threads(cpus: usize, threads: usize) -> Self {
        Self {
            inboxes: (0..cpus).map(|_| inbox_for(cpus)).collect(),
            interrupts: (0..cpus).map(|_| AtomicU64::new(0)).collect(),
            idle: AtomicU64::new(0),
            threads,
            sent: core::sync::atomic::AtomicU64::new(0),
        }
    }

    /// Returns how many calls were put into slots.
    #[cfg(not(loom))]
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(SeqCst)
    }

    /// Takes an interrupt of `cpu`, if there is one.
    pub(super) fn take_interrupt(&self, cpu: CpuId) {
        if self.interrupts[cpu.index()].swap(0, SeqCst) != 0 {
            // SAFETY: each CPU is one thread, and nothing interrupts a thread.
            call::serve(self, unsafe { IrqOff::assume(cpu) });
        }
    }

    /// Has done its own work, and serves interrupts until all CPUs have: a call without its interrupt hangs here.
    pub(super) fn idle(&self, cpu: CpuId) {
        self.idle.fetch_add(1, SeqCst);
        while self.idle.load(SeqCst) < self.threads as u64 {
            self.take_interrupt(cpu);
            relax();
        }
    }

    /// Calls `targets` from `cpu`, which this thread is.
    pub(super) fn call(&self, cpu: CpuId, targets: &CpuSet, remote: &(impl Fn() + Sync)) {
        // SAFETY: each CPU is one thread.
        call::run_on(self, unsafe { Pinned::assume(cpu) }, targets, remote, || ());
    }

    /// Tells whether no call waits anywhere.
    pub(super) fn is_quiet(&self) -> bool {
        !self.inboxes.iter().any(Inbox::has_calls)
    }
}

/// Inboxes live as long as a kernel's; a test leaks its own.
pub(super) fn inbox_for(cpus: usize) -> Inbox {
    let senders: Vec<Senders> = (0..Senders::needed(cpus)).map(|_| Senders::new()).collect();
    Inbox::new(senders.leak())
}

pub(super) fn cpu(index: usize) -> CpuId {
    CpuId::new(index).unwrap()
}

fn relax() {
    #[cfg(loom)]
    ::loom::thread::yield_now();
    #[cfg(not(loom))]
    std::thread::yield_now();
}

// SAFETY: each CPU has one inbox, and is one thread, which alone serves it; nothing interrupts a thread.
unsafe impl Cpus for Threads {
    fn inbox(&self, cpu: CpuId) -> Option<&Inbox> {
        self.inboxes.get(cpu.index())
    }

    fn online(&self) -> FirstCpus {
        FirstCpus(self.inboxes.len())
    }

    fn interrupt(&self, target: CpuId) {
        self.interrupts[target.index()].store(1, SeqCst);
    }

    fn interrupt_others(&self) {
        // The sender's own flag does no harm: it finds an empty inbox.
        (0..self.inboxes.len()).for_each(|index| self.interrupt(cpu(index)));
    }

    fn with_irqs_off<R>(&self, job: impl FnOnce(IrqOff<'_>) -> R) -> R {
        // The id matters to `serve` alone, which this machine calls with the right one: see `serve_if_any`.
        job(THIS.with(|this| {
            // SAFETY: each thread of a test is the CPU that it said it is, and interrupts come only where it takes
            // them.
            unsafe { IrqOff::assume(cpu(this.get())) }
        }))
    }

    fn has_waited(&self, _: &mut Waited, waiting_for: impl FnOnce() -> CpuMask) {
        let _ = waiting_for();
        relax();
    }

    fn has_sent(&self, _: Pinned<'_>) {
        self.sent.fetch_add(1, SeqCst);
    }

    fn has_served(&self, _: Pinned<'_>) {}
}

#[cfg(not(loom))]
std::thread_local! {
    static THIS: core::cell::Cell<usize> = const { core::cell::Cell::new(0) };
}
#[cfg(loom)]
::loom::thread_local! {
    static THIS: core::cell::Cell<usize> = core::cell::Cell::new(0);
}

/// From now on this thread is `cpu`.
pub(super) fn become_cpu(cpu: CpuId) {
    THIS.with(|this| this.set(cpu.index()));
}

/// Returns the CPU that this thread is.
#[cfg(not(loom))]
pub(super) fn this_cpu() -> CpuId {
    THIS.with(|this| cpu(this.get()))
}
