//! Watermarks, and the reclaimers to call when memory is short.
//!
//! Each pool keeps a reserve, `min`; `low` is a quarter above it and `high` a half. Below `high`, CPUs keep less to
//! themselves, and below `low` nothing; there, other zones and nodes are tried first, and [`crate::Frames::is_short`] tells a
//! background thread to reclaim; at `min`, ordinary requests call the reclaimers themselves, and the other classes go on
//! into the reserve.
//!
//! Before a request that may wait fails, the frames that other CPUs keep are called back ([`Recall`]). Only then does
//! this allocator have other CPUs interrupted, and that is the exception of invariant I2.

use rhumb_machine::{Order, Pinned};

use crate::request::{Mobility, Zone};
use rhumb_sync::{InterruptsOff, Lock};

/// The shortage that a reclaimer is to relieve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shortage {
    /// The order of the request that cannot be served.
    pub order: Order,
    /// The zones that would serve it: this one and those below.
    pub ceiling: Zone,
    /// The kind of memory asked for.
    pub kind: Mobility,
}

/// Gives frames back on demand: the slab's empty slabs, the page cache's clean pages, the unmapped pool's spare blocks.
pub trait Reclaimer: Sync {
    /// Returns its name, for reports.
    fn name(&self) -> &str;

    /// Frees what it can without waiting, through the allocator, and says how many frames. It runs on the allocating
    /// CPU, with no lock of the allocator held; an allocation that it makes meanwhile calls no reclaimer.
    fn reclaim(&self, pinned: Pinned<'_>, shortage: &Shortage) -> u64;
}

/// Makes the other CPUs give back what their caches hold: the last resort of a request that may wait.
pub trait Recall: Sync {
    /// Has [`crate::Frames::drain_some`] run on every CPU but this one that keeps frames ([`crate::Frames::is_keeping`])
    /// until each is drained, and returns then: by interrupts, or by waiting for their [`crate::Frames::tick`]. Does nothing where this CPU may not wait for others (its interrupts
    /// are off, say). Called with no lock of the allocator held.
    fn drain_others(&self, pinned: Pinned<'_>);
}

/// Reclaimers that an allocator can have.
const MAX_RECLAIMERS: usize = 8;

/// The reclaimers, in the order in which they are called, and the recall. A lock is held for as long as it takes to
/// copy a reference.
pub(crate) struct Reclaimers {
    list: Lock<[Option<&'static dyn Reclaimer>; MAX_RECLAIMERS]>,
    pub(crate) recall: Lock<Option<&'static dyn Recall>>,
}

/// There is no room for another reclaimer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyReclaimers;

impl core::fmt::Display for TooManyReclaimers {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "more than {MAX_RECLAIMERS} reclaimers")
    }
}

impl core::error::Error for TooManyReclaimers {}

impl Reclaimers {
    pub(crate) fn new() -> Self {
        Self { list: Lock::new([None; MAX_RECLAIMERS]), recall: Lock::new(None) }
    }

    pub(crate) fn add(
        &self,
        irq_off: impl InterruptsOff,
        reclaimer: &'static dyn Reclaimer,
    ) -> Result<(), TooManyReclaimers> {
        let mut list = self.list.lock(irq_off);
        let free = list.iter_mut().find(|place| place.is_none()).ok_or(TooManyReclaimers)?;
        *free = Some(reclaimer);
        Ok(())
    }

    /// Returns the reclaimer that is called after `index` others.
    pub(crate) fn get(&self, irq_off: impl InterruptsOff, index: usize) -> Option<&'static dyn Reclaimer> {
        self.list.lock(irq_off).get(index).copied().flatten()
    }
}

/// The levels of one zone of one node, in frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Levels {
    /// Free frames in the pools; those in per-CPU caches are not among them.
    pub free: u64,
    /// Ordinary requests stop here.
    pub min: u64,
    /// Below this the zone is short.
    pub low: u64,
    /// Reclaim goes on up to here.
    pub high: u64,
}
