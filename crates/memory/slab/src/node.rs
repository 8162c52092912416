//! A node's part of a cache: its slabs by how full they are. One lock.
//!
//! Slabs are in ten bins: full, eight of partly free ones by eighths, wholly free. Objects are taken from the fullest
//! slab that has any, so that the others empty out by themselves (the cache stays dense). Wholly free slabs are kept up
//! to a bound that shrinks with the cache; beyond, they go back to the frames at once.
//!
//! All slabs are in a second list, by age, for walks that look at each slab, one at each visit to the lock. During a
//! walk no slab leaves the node, so that the next one is always there. The list never changes its order.

use crate::magazine::Round;
use crate::shape::Shape;
use crate::slab::{AlreadyFree, Slab, SlabRef};

/// The bin of slabs without a free slot.
pub(crate) const FULL: usize = 0;
/// The bin of slabs all of whose slots are free.
pub(crate) const EMPTY: usize = 9;
const BINS: usize = EMPTY + 1;
/// Wholly free slabs that are kept: this many, and one for each so many that there are, up to a bound.
const KEPT_SLABS: u32 = 1;
const KEPT_PART: u32 = 64;
const MOST_KEPT_SLABS: u32 = 16;

/// The data that the node's lock protects.
#[derive(Default)]
pub(crate) struct Node {
    bins: [Option<SlabRef>; BINS],
    /// The slab that was made last: the first of the list by age.
    newest: Option<SlabRef>,
    /// The number of walks that look at each slab now: no slab leaves meanwhile.
    pub(crate) walkers: u32,
    /// Slabs, wholly free ones among them, and free slots in all.
    pub(crate) slabs: u32,
    pub(crate) empty_slabs: u32,
    pub(crate) free: u64,
    /// Slabs made, and slabs given back, so far: they tell whether anything has happened.
    pub(crate) grown: u32,
    pub(crate) shrunk: u32,
    /// Visits so far that took or gave back objects.
    turns: u32,
}

/// The counts of a node. Two that are equal say that nothing has happened in between.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Census {
    pub(crate) slabs: u32,
    pub(crate) empty_slabs: u32,
    pub(crate) free: u64,
    grown: u32,
    shrunk: u32,
    turns: u32,
}

impl Node {
    /// Takes up to `want` objects, from the fullest slab first, and says how many.
    pub(crate) fn take(&mut self, shape: &Shape, want: u32, mut each: impl FnMut(Round)) -> u32 {
        let mut taken = 0;
        while taken < want {
            let Some(slab) = self.bins[FULL + 1..].iter().find_map(|&slab| slab) else { break };
            taken += slab.take(shape, want - taken, &mut each);
            self.rebin(shape, slab);
        }
        self.free -= u64::from(taken);
        self.turns = self.turns.wrapping_add(1);
        taken
    }

    /// Takes one object.
    pub(crate) fn take_single(&mut self, shape: &Shape) -> Option<Round> {
        let mut single = None;
        self.take(shape, 1, |object| single = Some(object));
        single
    }

    /// Takes an object back.
    pub(crate) fn put(&mut self, shape: &Shape, slab: SlabRef, index: u32) -> Result<(), AlreadyFree> {
        slab.put(index)?;
        self.free += 1;
        self.turns = self.turns.wrapping_add(1);
        self.rebin(shape, slab);
        Ok(())
    }

    /// Takes out a wholly free slab, if there are more than are kept.
    pub(crate) fn remove_excess(&mut self, shape: &Shape) -> Option<Slab> {
        let kept = (KEPT_SLABS + self.slabs / KEPT_PART).min(MOST_KEPT_SLABS);
        if self.empty_slabs > kept { self.remove_empty(shape) } else { None }
    }

    /// Adds a new slab.
    pub(crate) fn add(&mut self, shape: &Shape, slab: Slab) {
        let slab = slab.into_list();
        self.slabs += 1;
        self.grown = self.grown.wrapping_add(1);
        self.free += u64::from(slab.free());
        let older = self.newest.replace(slab);
        slab.set_newer(None);
        slab.set_older(older);
        if let Some(older) = older {
            older.set_newer(Some(slab));
        }
        let bin = bin_of(shape, slab);
        self.link(slab, bin);
    }

    /// Takes out a wholly free slab; none during a walk.
    pub(crate) fn remove_empty(&mut self, shape: &Shape) -> Option<Slab> {
        let slab = self.bins[EMPTY].filter(|_| self.walkers == 0)?;
        Some(self.remove(shape, slab))
    }

    fn remove(&mut self, shape: &Shape, slab: SlabRef) -> Slab {
        self.unlink(slab);
        let (newer, older) = (slab.newer(), slab.older());
        match newer {
            Some(newer) => newer.set_older(older),
            None => self.newest = older,
        }
        if let Some(older) = older {
            older.set_newer(newer);
        }
        self.slabs -= 1;
        self.shrunk = self.shrunk.wrapping_add(1);
        self.free -= u64::from(shape.objects);
        Slab::taken_out(slab)
    }

    /// Returns the slabs of a bin.
    fn bin(&self, bin: usize) -> impl Iterator<Item = SlabRef> + use<> {
        core::iter::successors(self.bins.get(bin).copied().flatten(), |slab| slab.next())
    }

    /// Returns the slabs with objects out: first those that have no slot free.
    pub(crate) fn used(&self) -> impl Iterator<Item = SlabRef> + '_ {
        (FULL..EMPTY).flat_map(|bin| self.bin(bin))
    }

    /// Returns the slab that was made last.
    pub(crate) const fn newest(&self) -> Option<SlabRef> {
        self.newest
    }

    pub(crate) const fn census(&self) -> Census {
        let Self { slabs, empty_slabs, free, grown, shrunk, turns, .. } = *self;
        Census { slabs, empty_slabs, free, grown, shrunk, turns }
    }

    /// Tells whether the slabs beside `slab` agree with it: in its bin, and in the list by age.
    pub(crate) fn is_linked(&self, slab: SlabRef) -> bool {
        let bin = slab.bin();
        let first = slab.previous().map_or(self.bins.get(bin).copied().flatten(), |previous| previous.next());
        let newest = slab.newer().map_or(self.newest, |newer| newer.older());
        let follows = |next: SlabRef| next.previous() == Some(slab) && next.bin() == bin;
        first == Some(slab)
            && newest == Some(slab)
            && slab.next().is_none_or(follows)
            && slab.older().is_none_or(|older| older.newer() == Some(slab))
    }

    /// Moves a slab to the bin that it belongs to.
    fn rebin(&mut self, shape: &Shape, slab: SlabRef) {
        let bin = bin_of(shape, slab);
        if bin != slab.bin() {
            self.unlink(slab);
            self.link(slab, bin);
        }
    }

    fn link(&mut self, slab: SlabRef, bin: usize) {
        self.empty_slabs += u32::from(bin == EMPTY);
        slab.set_bin(bin);
        slab.set_previous(None);
        let next = self.bins[bin].replace(slab);
        slab.set_next(next);
        if let Some(next) = next {
            next.set_previous(Some(slab));
        }
    }

    fn unlink(&mut self, slab: SlabRef) {
        self.empty_slabs -= u32::from(slab.bin() == EMPTY);
        let (previous, next) = (slab.previous(), slab.next());
        match previous {
            Some(previous) => previous.set_next(next),
            None => self.bins[slab.bin()] = next,
        }
        if let Some(next) = next {
            next.set_previous(previous);
        }
    }
}

/// Returns the bin that a slab belongs to.
pub(crate) fn bin_of(shape: &Shape, slab: SlabRef) -> usize {
    match slab.free() {
        0 => FULL,
        free if free == shape.objects => EMPTY,
        free => FULL + 1 + shape.eighths(free).min(EMPTY - FULL - 2),
    }
}
