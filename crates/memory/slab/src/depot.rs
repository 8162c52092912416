//! A depot: the magazines that the CPUs of a neighbourhood leave for each other. One lock.
//!
//! A neighbourhood is [`NEIGHBOURS`] CPUs of successive numbers. A CPU that frees what another allocates leaves full
//! magazines here and takes empty ones, the other CPU the reverse, at one visit for two magazines of objects. Were
//! there one depot for a node, all of its CPUs would wait for one lock: on 16 CPUs that free each other's objects of
//! 256 bytes a visit took a microsecond, nearly all of it waiting. A CPU whose own depot has no objects looks at those
//! of the next neighbourhoods ([`LOOKS`]), so that objects also come back where the CPUs that free are far from those
//! that allocate.
//!
//! Beside the lock are counts of the magazines that it protects. A CPU looks at them first, so that it does not take
//! the lock of a depot that has nothing for it.
//!
//! A depot keeps count of the full magazines that it has not needed since the last trim (Bonwick and Adams's working
//! set), and the next trim lets go of those.

use core::ops::{Deref, DerefMut};

use rhumb_sync::atomic::{AtomicU32, Relaxed};
use rhumb_sync::{Guard, InterruptsOff, Lock};

use crate::magazine::{Magazine, Round, Stack};

/// CPUs that share a depot.
pub(crate) const NEIGHBOURS: usize = 4;
/// Depots of other neighbourhoods that a CPU looks at when its own has no objects.
pub(crate) const LOOKS: usize = 4;

/// The magazines that the depot's lock protects.
#[derive(Default)]
pub(crate) struct Depot {
    pub(crate) full: Stack,
    pub(crate) spare: Stack,
    /// The fewest full magazines in the depot since it was trimmed or emptied last.
    pub(crate) unused: u32,
}

impl Depot {
    /// Takes up to `most` magazines with objects, if the depot has any.
    pub(crate) fn take_full(&mut self, most: u32) -> Stack {
        if self.full.count == 0 {
            self.unused = 0;
            return Stack::default();
        }
        let taken = self.full.take_top(most);
        self.unused = self.unused.min(self.full.count);
        taken
    }

    /// Adds magazines with objects for as long as there are less than `most` objects, and returns the others.
    pub(crate) fn add_full(&mut self, mut magazines: Stack, most: u32) -> Stack {
        let mut rest = Stack::default();
        for magazine in magazines.drain() {
            if self.full.objects < most { self.full.push(magazine) } else { rest.push(magazine) }
        }
        rest
    }

    /// Takes out a magazine with objects that the caller gives back, because the depot does not need it.
    pub(crate) fn remove_full(&mut self) -> Option<Magazine> {
        let magazine = self.full.pop()?;
        self.unused = self.unused.min(self.full.count);
        Some(magazine)
    }

    /// Takes one object out of the top magazine, for a CPU whose line cannot take a magazine.
    pub(crate) fn take_single(&mut self) -> Option<Round> {
        let mut magazine = self.take_full(1).pop()?;
        let single = magazine.pop();
        if magazine.count() > 0 {
            self.full.push(magazine)
        } else {
            self.spare.push(magazine)
        }
        single
    }
}

/// A depot behind its lock, and counts of its magazines for those that do not hold the lock.
#[repr(align(64))]
#[derive(Default)]
pub(crate) struct SharedDepot {
    depot: Lock<Depot>,
    full: AtomicU32,
    spare: AtomicU32,
}

impl SharedDepot {
    /// Takes the lock.
    #[inline]
    pub(crate) fn lock<P: InterruptsOff>(&self, irq_off: P) -> DepotGuard<'_, P> {
        DepotGuard { depot: self.depot.lock(irq_off), shared: self }
    }

    /// Tells whether there was a magazine with objects a moment ago.
    #[inline]
    pub(crate) fn has_full(&self) -> bool {
        self.full.load(Relaxed) > 0
    }

    /// Tells whether there was an empty magazine a moment ago.
    #[inline]
    pub(crate) fn has_spare(&self) -> bool {
        self.spare.load(Relaxed) > 0
    }
}

/// A depot that is locked. The counts beside the lock are brought up to date as the lock is released.
pub(crate) struct DepotGuard<'depot, P: InterruptsOff> {
    depot: Guard<'depot, Depot, P>,
    shared: &'depot SharedDepot,
}

impl<P: InterruptsOff> Deref for DepotGuard<'_, P> {
    type Target = Depot;

    fn deref(&self) -> &Depot {
        &self.depot
    }
}

impl<P: InterruptsOff> DerefMut for DepotGuard<'_, P> {
    fn deref_mut(&mut self) -> &mut Depot {
        &mut self.depot
    }
}

impl<P: InterruptsOff> Drop for DepotGuard<'_, P> {
    fn drop(&mut self) {
        self.shared.full.store(self.depot.full.count, Relaxed);
        self.shared.spare.store(self.depot.spare.count, Relaxed);
    }
}
