//! Where a way of changing a map flushes: on simulated CPUs that count, on real ones through the host's map, or
//! nowhere.
//!
//! On a real map each round of interrupts that the way asks for is one of the host's: the system call that takes pages
//! away makes its own; where only translations are dropped, `membarrier` stands for it, which interrupts every core
//! that runs a thread of this process. A round that is not asked for is not made.

use std::cell::RefCell;
use std::io;

use rhumb_directmap::{Batch, FlushedBatch};
use rhumb_hosted::HostedMachine;
use rhumb_hosted::native::{NativeAccess, NativeMap};
use rhumb_machine::{CpuMask, PfnRange, Pinned};
use rhumb_pagetable::flush::{FlushBatch, FlushCause, FlushCounters, FlushCounts, FlushStats};
use rustix::thread::{MembarrierCommand, membarrier};

use crate::driver::Unfit;

/// The purpose of a batch's flush, as the host's map has to follow it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    /// Pages became smaller or larger; nothing else.
    Sizes,
    /// Frames went out of the map.
    Removed(PfnRange),
    /// They came back into it.
    Returned(PfnRange),
    /// They became read-only.
    ReadOnly(PfnRange),
    /// They became writable.
    Writable(PfnRange),
}

/// The CPUs of a machine, one of which changes the map.
pub(super) struct Cpus<'stage> {
    pub(super) machine: &'stage HostedMachine,
    pub(super) pinned: Pinned<'stage>,
    pub(super) targets: CpuMask,
}

/// See the module.
pub(super) struct Stage<'stage> {
    cpus: Option<Cpus<'stage>>,
    host: Option<&'stage NativeMap>,
    counters: FlushCounters,
    failure: RefCell<Option<io::Error>>,
}

impl<'stage> Stage<'stage> {
    /// No CPU has cached anything: for the cost of a way itself.
    pub(super) fn unflushed() -> Self {
        Self { cpus: None, host: None, counters: FlushCounters::new(), failure: RefCell::new(None) }
    }

    /// Every flush is counted.
    pub(super) fn counting(cpus: Cpus<'stage>) -> Self {
        Self { cpus: Some(cpus), ..Self::unflushed() }
    }

    /// The host's map follows each change.
    ///
    /// # Safety
    /// No code touches the frames of `host` that a way changes until it has restored them.
    ///
    /// # Errors
    /// Where the host has no `membarrier` for one process.
    pub(super) unsafe fn real(host: &'stage NativeMap) -> Result<Self, Unfit> {
        membarrier(MembarrierCommand::RegisterPrivateExpedited).map_err(|error| Unfit(error.to_string()))?;
        Ok(Self { host: Some(host), ..Self::unflushed() })
    }

    /// Flushes a batch of Rhumb's map.
    pub(super) fn flush(&self, batch: Batch, effect: Effect) -> FlushedBatch {
        let round = Round::of(batch.is_empty());
        let flushed = match &self.cpus {
            Some(cpus) => batch.flush_batch().clone().flush_on(cpus.machine, cpus.pinned, &cpus.targets),
            None => FlushStats::NOTHING,
        };
        self.counters.count(FlushCause::Other, flushed);
        self.follow(round, effect);
        // SAFETY: no CPU walks these tables: those of the machine count what they are asked to drop.
        unsafe { batch.never_walked() }
    }

    /// Flushes pages of any map.
    pub(super) fn flush_pages(&self, mut batch: FlushBatch, effect: Effect) {
        let round = Round::of(batch.is_empty());
        let flushed = match &self.cpus {
            Some(cpus) => batch.flush_on(cpus.machine, cpus.pinned, &cpus.targets),
            None => FlushStats::NOTHING,
        };
        self.counters.count(FlushCause::Other, flushed);
        self.follow(round, effect);
    }

    /// Returns the flushes so far.
    pub(super) fn counts(&self) -> FlushCounts {
        self.counters.read(FlushCause::Other)
    }

    /// Returns the host's refusal, if there was one: then there are no figures.
    pub(super) fn failure(&self) -> Result<(), Unfit> {
        match self.failure.borrow_mut().take() {
            Some(error) => Err(Unfit(error.to_string())),
            None => Ok(()),
        }
    }

    fn follow(&self, round: Round, effect: Effect) {
        let Some(host) = self.host else { return };
        let barrier = || match round {
            Round::Asked => membarrier(MembarrierCommand::PrivateExpedited).map_err(io::Error::from),
            Round::NotAsked => Ok(()),
        };
        let result = match effect {
            Effect::Sizes => barrier(),
            // SAFETY: no code touches the frames until they are restored, as `real` was promised.
            Effect::Removed(frames) => unsafe { host.remove(frames.addrs()) },
            Effect::Returned(frames) => host.restore(frames.addrs()).and_then(|()| barrier()),
            // SAFETY: no code writes the frames until they are restored, as `real` was promised.
            Effect::ReadOnly(frames) => unsafe { host.protect(frames.addrs(), NativeAccess::ReadOnly) },
            Effect::Writable(frames) => {
                // SAFETY: the frames may be used in more ways afterwards, and in no fewer.
                unsafe { host.protect(frames.addrs(), NativeAccess::ReadWrite) }.and_then(|()| barrier())
            }
        };
        if let Err(error) = result {
            self.failure.borrow_mut().get_or_insert(error);
        }
    }
}

/// Whether a way asked for a round of interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Round {
    Asked,
    NotAsked,
}

impl Round {
    fn of(batch_is_empty: bool) -> Self {
        if batch_is_empty { Self::NotAsked } else { Self::Asked }
    }
}
