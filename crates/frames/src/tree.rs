//! A set of numbers below a fixed bound, as bits with summaries: bit i of a level says that word i of the level below
//! is not empty. Insert, remove, first and last cost one word a level, and the whole takes 1.016 bits a number.
//!
//! It holds a pool's wholly free blocks. Blocks aligned to 2^j are found as aligned runs of bits, so that memory that
//! comes back needs no merging for the orders 10 to 18 either. All accesses are under the pool's lock.

use crate::sync::{AtomicU64, Relaxed};
use crate::words;

/// Levels that a tree can have: 64^5 numbers are 2 PiB of blocks.
const LEVELS: usize = 5;

/// From which end a search begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Low,
    High,
}

pub(crate) struct BitTree {
    /// Lowest level first; empty slices above the top.
    levels: [&'static [AtomicU64]; LEVELS],
    depth: usize,
}

/// Words that the levels of a tree over `bound` numbers have together.
pub(crate) const fn storage_words(bound: usize) -> usize {
    let (mut words, mut total) = (bound, 0);
    loop {
        words = words.div_ceil(64);
        total += words;
        if words <= 1 {
            return total;
        }
    }
}

impl BitTree {
    /// An empty tree over `bound` numbers in `storage`, which is zero and has [`storage_words`] words.
    pub(crate) fn new(bound: usize, storage: &'static [AtomicU64]) -> Self {
        let mut levels: [&'static [AtomicU64]; LEVELS] = [&[]; LEVELS];
        let (mut words, mut rest, mut depth) = (bound, storage, 0);
        while depth < LEVELS {
            words = words.div_ceil(64);
            let (level, above) = rest.split_at(words.min(rest.len()));
            levels[depth] = level;
            rest = above;
            depth += 1;
            if words <= 1 {
                break;
            }
        }
        Self { levels, depth }
    }

    pub(crate) fn insert(&self, number: usize) {
        let mut at = number;
        for level in &self.levels[..self.depth] {
            let word = &level[at / 64];
            let old = word.load(Relaxed);
            word.store(old | 1 << (at % 64), Relaxed);
            if old != 0 {
                return;
            }
            at /= 64;
        }
    }

    pub(crate) fn remove(&self, number: usize) {
        let mut at = number;
        for level in &self.levels[..self.depth] {
            let word = &level[at / 64];
            let left = word.load(Relaxed) & !(1 << (at % 64));
            word.store(left, Relaxed);
            if left != 0 {
                return;
            }
            at /= 64;
        }
    }

    pub(crate) fn contains(&self, number: usize) -> bool {
        self.levels[0].get(number / 64).is_some_and(|word| word.load(Relaxed) & 1 << (number % 64) != 0)
    }

    /// Inserts `start..end`, none of which is in the set: a word at a time.
    pub(crate) fn insert_range(&self, start: usize, end: usize) {
        let mut at = start;
        while at < end {
            let stop = end.min((at / 64 + 1) * 64);
            self.insert(at);
            let word = &self.levels[0][at / 64];
            let mask = (u64::MAX >> (64 - (stop - at))) << (at % 64);
            word.store(word.load(Relaxed) | mask, Relaxed);
            at = stop;
        }
    }

    /// The least or the greatest number in the set.
    pub(crate) fn find(&self, from: End) -> Option<usize> {
        let mut at = 0;
        for level in self.levels[..self.depth].iter().rev() {
            let word = level[at].load(Relaxed);
            if word == 0 {
                return None;
            }
            at = at * 64
                + match from {
                    End::Low => word.trailing_zeros(),
                    End::High => 63 - word.leading_zeros(),
                } as usize;
        }
        Some(at)
    }

    /// The start of the first run of 2^`log2` numbers, aligned to its length, from that end; `log2` is at most 9.
    /// Cost: a load per 64 blocks of the pool.
    pub(crate) fn find_run(&self, log2: u32, from: End) -> Option<usize> {
        let leaves = self.levels[0];
        let span = if log2 > 6 { 1 << (log2 - 6) } else { 1 };
        let within = |group: &[AtomicU64]| {
            if group.len() < span {
                return None;
            }
            if log2 > 6 {
                return group.iter().all(|word| word.load(Relaxed) == u64::MAX).then_some(0);
            }
            let starts = words::run_starts(group[0].load(Relaxed), log2);
            match from {
                _ if starts == 0 => None,
                End::Low => Some(starts.trailing_zeros() as usize),
                End::High => Some(63 - starts.leading_zeros() as usize),
            }
        };
        let mut groups = leaves.chunks(span).enumerate();
        let mut hit = |(at, group): (usize, &[AtomicU64])| within(group).map(|bit| at * span * 64 + bit);
        match from {
            End::Low => groups.find_map(&mut hit),
            End::High => groups.rev().find_map(&mut hit),
        }
    }

    /// How many aligned runs of 2^`log2` numbers, at most 9, there are.
    pub(crate) fn count_runs(&self, log2: u32) -> u64 {
        if log2 <= 6 {
            let count = |word: &AtomicU64| words::run_starts(word.load(Relaxed), log2).count_ones();
            return self.levels[0].iter().map(|word| u64::from(count(word))).sum();
        }
        let span = 1 << (log2 - 6);
        let groups = self.levels[0].chunks_exact(span);
        groups.filter(|words| words.iter().all(|word| word.load(Relaxed) == u64::MAX)).count() as u64
    }

    /// Whether each summary bit says what it should.
    pub(crate) fn is_consistent(&self) -> bool {
        self.levels[..self.depth].windows(2).all(|pair| {
            pair[0].iter().enumerate().all(|(at, word)| {
                let said = pair[1][at / 64].load(Relaxed) & 1 << (at % 64) != 0;
                said == (word.load(Relaxed) != 0)
            })
        })
    }
}
