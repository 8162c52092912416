//! [`Bins`]: the partial blocks of one kind, by how full they are and how long a run they have ([`bin`]).
//!
//! A bin is a list through the records of its blocks: the block that came last is its first. The first block names the
//! last one as the one before it, so that a block can go to either end. Everything here is under the pool's lock; without
//! it, what is found is a hint.

use rhumb_machine::Order;

use rhumb_sync::atomic::{AtomicU32, AtomicU64, Relaxed};

use crate::pool::block::Block;
use crate::pool::block::bin::{self, Bin};
use crate::request::Mobility;

/// The blocks of one kind that are partly free.
pub(crate) struct Bins {
    /// For each grain and order: bit c says that the bin of class c is not empty.
    filled: [[AtomicU32; bin::ORDERS]; bin::GRAINS],
    /// The first block of each bin plus one, or zero.
    heads: [[[AtomicU32; bin::CLASSES]; bin::ORDERS]; bin::GRAINS],
}

impl Default for Bins {
    fn default() -> Self {
        Self {
            filled: Default::default(),
            heads: core::array::from_fn(|_| {
                core::array::from_fn(|_| core::array::from_fn(|_| AtomicU32::new(0)))
            }),
        }
    }
}

/// For each order up to 8, in how many grains of how many kinds there is a partial block whose largest run has it. One
/// word for all bins of a pool, so that a request without the lock sees in a load whether the pool has what it asks for.
#[derive(Default)]
pub(crate) struct LargestRuns(AtomicU64);

impl LargestRuns {
    /// The count of an order.
    const BITS: u32 = 4;

    /// Tells whether a partial block has a run of `order`, at most 8: a hint, where the lock is not held.
    pub(crate) fn has(&self, order: Order) -> bool {
        self.0.load(Relaxed) >> (Self::BITS * u32::from(order.get())) != 0
    }

    /// Counts a grain of a kind that has now a block of this order, or none any more. With the lock held.
    fn note(&self, order: usize, is_there: bool) {
        let (counts, one) = (self.0.load(Relaxed), 1 << (Self::BITS * order as u32));
        self.0.store(if is_there { counts + one } else { counts - one }, Relaxed);
    }
}

const _: () = assert!(
    bin::GRAINS * Mobility::COUNT < 1 << LargestRuns::BITS
        && LargestRuns::BITS * bin::ORDERS as u32 <= u64::BITS
);

/// An end of a bin's list.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    First,
    Last,
}

impl Bins {
    /// Returns the bin of `grain` from which a run of `order` is best taken. For single frames, the fullest blocks: the
    /// others then empty out. For longer runs, the blocks whose largest run is the smallest that will do, and of those
    /// the fullest: a long run is not opened for a short one.
    #[inline]
    pub(crate) fn best(&self, grain: usize, order: usize) -> Option<Bin> {
        let filled = &self.filled[grain];
        let first = |order: usize, classes: u32| {
            let classes = filled[order].load(Relaxed) & classes;
            (classes != 0).then(|| Bin { grain, class: classes.trailing_zeros() as usize, order })
        };
        if order > 0 {
            return (order..bin::ORDERS).find_map(|order| first(order, u32::MAX));
        }
        let classes = filled.iter().fold(0, |all, word| all | word.load(Relaxed));
        (0..bin::ORDERS).find_map(|order| first(order, classes & classes.wrapping_neg()))
    }

    /// Returns the same among the grains that are not for this order.
    pub(crate) fn best_of_others(&self, order: usize) -> Option<Bin> {
        let mut others = (0..bin::GRAINS).filter(|&grain| grain != bin::grain_of(order));
        others.find_map(|grain| self.best(grain, order))
    }

    /// Returns the bin of the emptiest blocks that have a run of `order`.
    pub(crate) fn emptiest(&self, order: usize) -> Option<Bin> {
        self.emptiest_before(order, bin::END)
    }

    /// Returns the last bin before a [place](Bin::place) whose blocks have a run of `order`.
    pub(crate) fn emptiest_before(&self, order: usize, place: u32) -> Option<Bin> {
        let all = (0..bin::GRAINS).flat_map(|grain| (order..bin::ORDERS).map(move |order| (grain, order)));
        let last = all.filter_map(|(grain, order)| {
            let classes = self.filled[grain][order].load(Relaxed) & Bin::classes_before(place, grain, order);
            let class = 31_u32.checked_sub(classes.leading_zeros())? as usize;
            Some(Bin { grain, class, order })
        });
        last.max_by_key(|bin| bin.place())
    }

    pub(crate) fn is_filled(&self, bin: Bin) -> bool {
        self.filled[bin.grain][bin.order].load(Relaxed) & 1 << bin.class != 0
    }

    /// Returns the first block of a bin.
    #[inline]
    pub(crate) fn head(&self, bin: Bin) -> Option<usize> {
        (self.head_of(bin).load(Relaxed) as usize).checked_sub(1)
    }

    /// Returns the block after `block` in its bin.
    pub(crate) fn next(blocks: &[Block], block: usize) -> Option<usize> {
        (blocks[block].next.load(Relaxed) as usize).checked_sub(1)
    }

    fn head_of(&self, bin: Bin) -> &AtomicU32 {
        &self.heads[bin.grain][bin.order][bin.class]
    }

    fn set_filled(&self, bin: Bin, filled: bool, largest_runs: &LargestRuns) {
        let word = &self.filled[bin.grain][bin.order];
        let others = word.load(Relaxed) & !(1 << bin.class);
        word.store(others | u32::from(filled) << bin.class, Relaxed);
        if others == 0 {
            largest_runs.note(bin.order, filled);
        }
    }

    /// Puts a block, which is in no bin, first in one, or last. With the lock held.
    #[inline]
    pub(super) fn link(&self, blocks: &[Block], block: usize, bin: Bin, at: Place, runs: &LargestRuns) {
        let (head, this) = (self.head_of(bin), block as u32 + 1);
        let first = head.load(Relaxed);
        let record = &blocks[block];
        let Some(second) = (first as usize).checked_sub(1).map(|first| &blocks[first]) else {
            record.next.store(0, Relaxed);
            record.prev.store(this, Relaxed);
            head.store(this, Relaxed);
            self.set_filled(bin, true, runs);
            return;
        };
        let last = second.prev.load(Relaxed);
        record.prev.store(last, Relaxed);
        second.prev.store(this, Relaxed);
        match at {
            Place::First => {
                record.next.store(first, Relaxed);
                head.store(this, Relaxed);
            }
            Place::Last => {
                record.next.store(0, Relaxed);
                if let Some(last) = (last as usize).checked_sub(1) {
                    blocks[last].next.store(this, Relaxed);
                }
            }
        }
    }

    /// Takes a block out of its bin. With the lock held.
    #[inline]
    pub(super) fn unlink(&self, blocks: &[Block], block: usize, bin: Bin, runs: &LargestRuns) {
        let record = &blocks[block];
        let (next, prev) = (record.next.load(Relaxed), record.prev.load(Relaxed));
        let head = self.head_of(bin);
        let mut first = head.load(Relaxed);
        if first == block as u32 + 1 {
            head.store(next, Relaxed);
            if next == 0 {
                return self.set_filled(bin, false, runs);
            }
            first = next;
        } else if let Some(prev) = (prev as usize).checked_sub(1) {
            blocks[prev].next.store(next, Relaxed);
        }
        let after = if next == 0 { first } else { next };
        if let Some(after) = (after as usize).checked_sub(1) {
            blocks[after].prev.store(prev, Relaxed);
        }
    }
}
