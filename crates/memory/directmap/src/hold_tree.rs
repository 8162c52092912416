//! Holds in the order of their frames: a treap, so that finding, entering and removing one takes about `2 log2 n`
//! steps.
//!
//! A treap is a binary tree by key and a heap by priority; random priorities keep it flat without any rebalancing. The
//! priority is a hash of the first frame and of a seed that no owner knows, so it is not stored, and an owner that
//! picks its frames cannot make the tree a list. Links are record numbers: the tree needs no memory but the records
//! themselves (I10). All loops, no recursion: the stack does not grow with the journal.
//!
//! Source: Seidel, Aragon, "Randomized search trees", Algorithmica 16 (1996).

use rhumb_machine::{Pfn, impossible};

use crate::records::HoldId;
use crate::slots::Slots;

/// Where a link to a hold is kept.
#[derive(Clone, Copy)]
enum Link {
    Root,
    Left(HoldId),
    Right(HoldId),
}

/// Applies the finalizer of splitmix64.
pub(crate) const fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// Returns a hash of a number under a seed: two rounds, with the seed before each.
pub(crate) const fn keyed(seed: u64, number: u64) -> u64 {
    mix(mix(number ^ seed).wrapping_add(seed.rotate_left(32)))
}

/// The tree: its root, and the seed of its priorities. The holds are those of the journal's records.
#[derive(Debug)]
pub(crate) struct HoldTree {
    root: Option<HoldId>,
    /// Known to no owner.
    pub(crate) seed: u64,
}

impl HoldTree {
    /// Returns an empty tree.
    pub(crate) const fn new(seed: u64) -> Self {
        Self { root: None, seed }
    }

    /// Returns a hash of a number that no owner can foresee.
    pub(crate) const fn hash(&self, number: u64) -> u64 {
        keyed(self.seed, number)
    }

    fn priority(&self, start: Pfn) -> u64 {
        self.hash(start.get())
    }

    fn link(&self, slots: &Slots, link: Link) -> Option<HoldId> {
        match link {
            Link::Root => self.root,
            Link::Left(id) => slots.hold(id)?.left,
            Link::Right(id) => slots.hold(id)?.right,
        }
    }

    fn set_link(&mut self, slots: &mut Slots, link: Link, to: Option<HoldId>) {
        match link {
            Link::Root => self.root = to,
            Link::Left(id) => slots.update_hold(id, |hold| hold.left = to),
            Link::Right(id) => slots.update_hold(id, |hold| hold.right = to),
        }
    }

    /// Returns the last hold that begins at `pfn` or before.
    pub(crate) fn floor(&self, slots: &Slots, pfn: Pfn) -> Option<HoldId> {
        let (mut next, mut found) = (self.root, None);
        while let Some(id) = next {
            let hold = slots.hold(id)?;
            if hold.frames.start() <= pfn {
                found = Some(id);
                next = hold.right;
            } else {
                next = hold.left;
            }
        }
        found
    }

    /// Returns the first hold that begins at `pfn` or after.
    pub(crate) fn ceiling(&self, slots: &Slots, pfn: Pfn) -> Option<HoldId> {
        let (mut next, mut found) = (self.root, None);
        while let Some(id) = next {
            let hold = slots.hold(id)?;
            if hold.frames.start() >= pfn {
                found = Some(id);
                next = hold.left;
            } else {
                next = hold.right;
            }
        }
        found
    }

    /// Returns how many steps it takes to find the hold that begins at `start`.
    #[cfg(test)]
    pub(crate) fn depth_of(&self, slots: &Slots, start: Pfn) -> usize {
        let (mut next, mut steps) = (self.root, 0);
        while let Some(hold) = next.and_then(|id| slots.hold(id)) {
            steps += 1;
            match start.cmp(&hold.frames.start()) {
                core::cmp::Ordering::Less => next = hold.left,
                core::cmp::Ordering::Equal => return steps,
                core::cmp::Ordering::Greater => next = hold.right,
            }
        }
        steps
    }

    /// Enters a hold. No other begins at the same frame.
    pub(crate) fn enter(&mut self, slots: &mut Slots, new: HoldId) {
        let start = start_of(slots, new);
        let priority = self.priority(start);
        // Down to where the heap wants it,
        let mut place = Link::Root;
        let mut below = None;
        while let Some(id) = self.link(slots, place) {
            let at = start_of(slots, id);
            if self.priority(at) < priority {
                below = Some(id);
                break;
            }
            place = if start < at { Link::Left(id) } else { Link::Right(id) };
        }
        self.set_link(slots, place, Some(new));
        // The subtree that was there is divided: lesser holds hang on the left, greater ones on the right.
        let (mut less, mut more) = (Link::Left(new), Link::Right(new));
        while let Some(id) = below {
            let Some(hold) = slots.hold(id) else {
                impossible!("a hold in the order has a record");
                break;
            };
            if hold.frames.start() < start {
                below = hold.right;
                self.set_link(slots, less, Some(id));
                less = Link::Right(id);
            } else {
                below = hold.left;
                self.set_link(slots, more, Some(id));
                more = Link::Left(id);
            }
        }
        self.set_link(slots, less, None);
        self.set_link(slots, more, None);
    }

    /// Takes a hold out of the order; its record stays.
    pub(crate) fn remove(&mut self, slots: &mut Slots, old: HoldId) {
        let start = start_of(slots, old);
        let mut place = Link::Root;
        while let Some(id) = self.link(slots, place) {
            if id == old {
                break;
            }
            let at = start_of(slots, id);
            place = if start < at { Link::Left(id) } else { Link::Right(id) };
        }
        let (mut less, mut more) = (self.link(slots, Link::Left(old)), self.link(slots, Link::Right(old)));
        // Its two subtrees become one in its place.
        while let (Some(left), Some(right)) = (less, more) {
            if self.priority(start_of(slots, left)) >= self.priority(start_of(slots, right)) {
                self.set_link(slots, place, Some(left));
                place = Link::Right(left);
                less = self.link(slots, place);
            } else {
                self.set_link(slots, place, Some(right));
                place = Link::Left(right);
                more = self.link(slots, place);
            }
        }
        self.set_link(slots, place, less.or(more));
    }
}

/// Returns where a hold of the order begins.
#[inline]
fn start_of(slots: &Slots, id: HoldId) -> Pfn {
    match slots.hold(id) {
        Some(hold) => hold.frames.start(),
        None => impossible!("a hold in the order has a record" => Pfn::new(0)),
    }
}
