//! [`Ring`]: the slots of one magazine, or of one queue of blocks on their way home.
//!
//! Only its own CPU writes a ring, behind the gate of the CPU's cache. Other CPUs may *glimpse* how much it holds.

use crate::handle::raw::Raw;
use rhumb_sync::atomic::{AtomicU32, AtomicU64, Relaxed};

/// A stack at one end (alloc, free) and a queue at the other (drain): `tail..head` of the slots, counted without end.
pub(crate) struct Ring<const SLOTS: usize> {
    head: AtomicU32,
    tail: AtomicU32,
    slots: [AtomicU64; SLOTS],
}

impl<const SLOTS: usize> Default for Ring<SLOTS> {
    fn default() -> Self {
        const { assert!(SLOTS.is_power_of_two()) };
        Self {
            head: AtomicU32::new(0),
            tail: AtomicU32::new(0),
            slots: core::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl<const SLOTS: usize> Ring<SLOTS> {
    #[inline(always)]
    fn slot(&self, index: u32) -> &AtomicU64 {
        &self.slots[index as usize % SLOTS]
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> u32 {
        self.head.load(Relaxed).wrapping_sub(self.tail.load(Relaxed))
    }

    /// Returns the newer end: how many blocks were ever added, less those that were taken at this end.
    pub(crate) fn newer_end(&self) -> u32 {
        self.head.load(Relaxed)
    }

    /// Returns how many blocks the ring has, as another CPU sees them: exact while the ring is quiet. Both ends may
    /// move between the two loads, so that the older end seems to be past the newer one. There are few blocks then, and
    /// the answer is none.
    pub(crate) fn glimpse(&self) -> u64 {
        let ends_apart = self.len();
        if ends_apart as usize <= SLOTS { u64::from(ends_apart) } else { 0 }
    }

    /// Returns how many frames the ring's blocks have, as another CPU sees them.
    pub(crate) fn glimpse_frames(&self) -> u64 {
        let mut frames = 0;
        self.for_each(&mut |raw| frames += raw.order().frames());
        frames
    }

    /// Calls `each` with every block, oldest first, as another CPU sees them.
    pub(crate) fn for_each(&self, each: &mut impl FnMut(Raw)) {
        (0..self.glimpse() as u32).map(self.oldest_first()).for_each(each);
    }

    /// Takes the newest block.
    #[inline(always)]
    pub(crate) fn pop(&self) -> Option<Raw> {
        let head = self.head.load(Relaxed);
        if head == self.tail.load(Relaxed) {
            return None;
        }
        let head = head.wrapping_sub(1);
        self.head.store(head, Relaxed);
        Some(Raw(self.slot(head).load(Relaxed)))
    }

    /// Takes the block of the least rank, of those that have one, and puts the newest of all in its place; of blocks of
    /// one rank, the newest. Cost: a look at each block.
    #[inline(never)]
    pub(crate) fn take(&self, rank: impl Fn(Raw) -> Option<u32>) -> Option<Raw> {
        let (tail, newest) = (self.tail.load(Relaxed), self.head.load(Relaxed).wrapping_sub(1));
        let raw_at = |at: u32| Raw(self.slot(at).load(Relaxed));
        let newest_first = (0..self.len()).rev().map(|at| tail.wrapping_add(at));
        let ranked = newest_first.filter_map(|at| Some((rank(raw_at(at))?, at)));
        let (_, found) = ranked.min_by_key(|&(rank, _)| rank)?;
        let raw = raw_at(found);
        self.slot(found).store(raw_at(newest).0, Relaxed);
        self.head.store(newest, Relaxed);
        Some(raw)
    }

    /// Returns the oldest block, and leaves it there.
    pub(crate) fn oldest(&self) -> Option<Raw> {
        (self.len() > 0).then(|| Raw(self.slot(self.tail.load(Relaxed)).load(Relaxed)))
    }

    /// Returns the newest block, and leaves it there.
    pub(crate) fn peek(&self) -> Option<Raw> {
        (self.len() > 0).then(|| Raw(self.slot(self.head.load(Relaxed).wrapping_sub(1)).load(Relaxed)))
    }

    /// Adds `raw`, unless the ring has `limit` blocks or more. A limit is at most `SLOTS`; one of 0 or less sends each
    /// free to the slow path.
    #[inline(always)]
    pub(crate) fn push(&self, raw: Raw, limit: i32) -> bool {
        let head = self.head.load(Relaxed);
        if head.wrapping_sub(self.tail.load(Relaxed)) as i32 >= limit {
            return false;
        }
        self.slot(head).store(raw.0, Relaxed);
        self.head.store(head.wrapping_add(1), Relaxed);
        true
    }

    /// Adds `raw`; the caller knows that there is room.
    pub(crate) fn put(&self, raw: Raw) {
        let head = self.head.load(Relaxed);
        self.slot(head).store(raw.0, Relaxed);
        self.head.store(head.wrapping_add(1), Relaxed);
    }

    /// Adds the frames of the set bits of `word`, so that they leave lowest first; the caller knows that there is room.
    pub(crate) fn push_word(&self, first: Raw, mut word: u64) {
        let mut head = self.head.load(Relaxed);
        let at = head as usize % SLOTS;
        // The usual case of a fresh block: two instructions for each frame.
        if word == u64::MAX
            && let Some(slots) = self.slots.get(at..at + 64)
        {
            let numbers = (first.0..first.0 + 64).rev();
            slots.iter().zip(numbers).for_each(|(slot, number)| slot.store(number, Relaxed));
            head = head.wrapping_add(64);
            word = 0;
        }
        while word != 0 {
            let bit = 63 - word.leading_zeros();
            word ^= 1 << bit;
            self.slot(head).store(first.0 + u64::from(bit), Relaxed);
            head = head.wrapping_add(1);
        }
        self.head.store(head, Relaxed);
    }

    /// Returns a function that returns the n-th oldest block. It is right as long as no block is forgotten.
    #[inline(always)]
    pub(crate) fn oldest_first(&self) -> impl Fn(u32) -> Raw {
        let tail = self.tail.load(Relaxed);
        move |index| Raw(self.slot(tail.wrapping_add(index)).load(Relaxed))
    }

    /// Looks at the `at`-th oldest frame and at those up to the `end`-th that follow it and are of the same 64: returns
    /// a bit for each, and the index of the first frame that is of other 64 or has its bit already.
    #[inline(always)]
    pub(crate) fn neighbours(&self, at: u32, end: u32) -> (u64, u32) {
        let tail = self.tail.load(Relaxed);
        let slot = |index: u32| self.slot(tail.wrapping_add(index)).load(Relaxed);
        let first = slot(at);
        let (mut bits, mut next) = (1 << (first % 64), at + 1);
        while next < end {
            let number = slot(next);
            let bit = 1 << (number % 64);
            if (number ^ first) >= 64 || bits & bit != 0 {
                break;
            }
            bits |= bit;
            next += 1;
        }
        (bits, next)
    }

    /// Forgets the `count` oldest blocks, which the caller has given back to their pool.
    #[inline(always)]
    pub(crate) fn forget_oldest(&self, count: u32) {
        self.tail.store(self.tail.load(Relaxed).wrapping_add(count), Relaxed);
    }
}
