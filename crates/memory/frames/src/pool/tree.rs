//! A set of numbers below a fixed bound, as bits with summaries: bit i of a level says that word i of the level below
//! is not empty. Insert, remove, first and last cost one word for each level, and the whole takes 1.016 bits for each
//! number.
//!
//! [`WholeBlocks`] holds a pool's wholly free blocks. Blocks aligned to 2^j are aligned runs of bits, so that memory
//! that comes back need not be merged for the orders 10 to 18 either. For each of these orders, one more tree knows the
//! words that have such a run, so that a search takes a few loads however large the memory is, also where it finds
//! nothing. All accesses are under the pool's lock.

use rhumb_machine::impossible;

use crate::pool::words;
use rhumb_sync::atomic::{AtomicU64, Relaxed};

/// Levels that a tree can have: 64^5 numbers are 2 PiB of blocks.
const LEVELS: usize = 5;

/// From which end a search begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Low,
    High,
}

struct BitTree {
    /// Lowest level first; empty slices above the top.
    levels: [&'static [AtomicU64]; LEVELS],
    depth: usize,
}

/// Returns how many words the levels of a tree over `bound` numbers have together.
const fn storage_words(bound: usize) -> usize {
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
    /// Returns an empty tree over `bound` numbers in `storage`, which is zero and has [`storage_words`] words.
    fn new(bound: usize, storage: &'static [AtomicU64]) -> Self {
        let mut levels: [&'static [AtomicU64]; LEVELS] = [&[]; LEVELS];
        let (mut words, mut rest, mut depth) = (bound, storage, 0);
        while depth < LEVELS {
            words = words.div_ceil(64);
            let (level, above) = rest.split_at_checked(words).unwrap_or_else(
                || impossible!("a level of {words} words in {} of storage", rest.len() => (rest, &[])),
            );
            levels[depth] = level;
            rest = above;
            depth += 1;
            if words <= 1 {
                break;
            }
        }
        Self { levels, depth }
    }

    fn insert(&self, number: usize) {
        self.insert_from(0, number);
    }

    /// Says in `level` and above that the word `at` below is not empty.
    fn insert_from(&self, level: usize, mut at: usize) {
        for level in &self.levels[level.min(self.depth)..self.depth] {
            let word = &level[at / 64];
            let old = word.load(Relaxed);
            word.store(old | 1 << (at % 64), Relaxed);
            if old != 0 {
                return;
            }
            at /= 64;
        }
    }

    fn remove(&self, number: usize) {
        self.remove_from(0, number);
    }

    /// Says in `level` and above that the word `at` below is empty.
    fn remove_from(&self, level: usize, mut at: usize) {
        for level in &self.levels[level.min(self.depth)..self.depth] {
            let word = &level[at / 64];
            let new = word.load(Relaxed) & !(1 << (at % 64));
            word.store(new, Relaxed);
            if new != 0 {
                return;
            }
            at /= 64;
        }
    }

    fn contains(&self, number: usize) -> bool {
        self.levels[0].get(number / 64).is_some_and(|word| word.load(Relaxed) & 1 << (number % 64) != 0)
    }

    /// Inserts `start..end`, none of which is in the set: a word at a time.
    fn insert_range(&self, start: usize, end: usize) {
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

    /// Returns the least or the greatest number in the set.
    fn find(&self, from: End) -> Option<usize> {
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

    /// Removes `start..end`: a word at a time.
    fn remove_range(&self, start: usize, end: usize) {
        let mut at = start;
        while at < end {
            let stop = end.min((at / 64 + 1) * 64);
            let word = &self.levels[0][at / 64];
            let mask = (u64::MAX >> (64 - (stop - at))) << (at % 64);
            // The last bit of the word goes the long way, so that the summaries follow.
            word.store(word.load(Relaxed) & !mask | 1 << (at % 64), Relaxed);
            self.remove(at);
            at = stop;
        }
    }

    fn word(&self, at: usize) -> u64 {
        self.levels[0].get(at).map_or(0, |word| word.load(Relaxed))
    }

    fn set(&self, number: usize, present: bool) {
        match present {
            _ if self.contains(number) == present => {}
            true => self.insert(number),
            false => self.remove(number),
        }
    }

    /// Tells whether the summaries above the word `at` say what they should of it.
    fn is_consistent_at(&self, mut at: usize) -> bool {
        self.levels[..self.depth].windows(2).all(|pair| {
            let said = pair[1][at / 64].load(Relaxed) & 1 << (at % 64) != 0;
            let is = pair[0][at].load(Relaxed) != 0;
            at /= 64;
            said == is
        })
    }
}

/// The longest runs that are looked for: 2^9 blocks are 1 GiB.
const RUN_ORDERS: usize = 9;

/// The wholly free blocks of a pool, and where runs of them are.
pub(crate) struct WholeBlocks {
    all: BitTree,
    /// For runs of 2^1 to 2^9 blocks: the words of `all`, or for 2^7 and more the groups of words, that have one.
    runs: [BitTree; RUN_ORDERS],
}

/// Returns how many words, or groups of words, the tree for runs of 2^`log2` of `bound` blocks covers.
const fn run_groups(bound: usize, log2: usize) -> usize {
    bound.div_ceil(64).div_ceil(1 << log2.saturating_sub(6))
}

/// Returns how many words of storage [`WholeBlocks`] over `bound` blocks needs.
pub(crate) const fn whole_words(bound: usize) -> usize {
    let (mut words, mut log2) = (storage_words(bound), 1);
    while log2 <= RUN_ORDERS {
        words += storage_words(run_groups(bound, log2));
        log2 += 1;
    }
    words
}

/// Returns the longest aligned run in a word, up to 2^6.
fn rank(word: u64) -> u32 {
    let mut rank = 0;
    while rank < 6 && words::run_starts(word, rank + 1) != 0 {
        rank += 1;
    }
    rank
}

impl WholeBlocks {
    /// Makes an empty set of blocks below `bound` in `storage`, which is zero and has [`whole_words`] words.
    pub(crate) fn new(bound: usize, storage: &'static [AtomicU64]) -> Self {
        let mut rest = storage;
        let mut tree = |bound: usize| {
            let (mine, others) = rest.split_at(storage_words(bound).min(rest.len()));
            rest = others;
            BitTree::new(bound, mine)
        };
        let all = tree(bound);
        Self { all, runs: core::array::from_fn(|at| tree(run_groups(bound, at + 1))) }
    }

    pub(crate) fn contains(&self, block: usize) -> bool {
        self.all.contains(block)
    }

    /// Returns the lowest or the highest block.
    pub(crate) fn find(&self, from: End) -> Option<usize> {
        self.all.find(from)
    }

    /// Returns the start of the first run of 2^`log2` blocks, 1 to 9, aligned to its length, from that end.
    pub(crate) fn find_run(&self, log2: u32, from: End) -> Option<usize> {
        let group = self.runs.get(log2 as usize - 1)?.find(from)?;
        if log2 > 6 {
            return Some(group << log2);
        }
        let starts = words::run_starts(self.all.word(group), log2);
        let bit = match from {
            End::Low => starts.trailing_zeros(),
            End::High => starts.checked_ilog2()?,
        };
        Some(group * 64 + bit as usize)
    }

    /// Adds one block.
    #[inline]
    pub(crate) fn insert(&self, block: usize) {
        let word = &self.all.levels[0][block / 64];
        let old = word.load(Relaxed);
        let new = old | 1 << (block % 64);
        word.store(new, Relaxed);
        if old == 0 {
            self.all.insert_from(1, block / 64);
        }
        self.note_runs(block / 64, old, new);
    }

    /// Removes one block.
    #[inline]
    pub(crate) fn remove(&self, block: usize) {
        let word = &self.all.levels[0][block / 64];
        let old = word.load(Relaxed);
        let new = old & !(1 << (block % 64));
        word.store(new, Relaxed);
        if new == 0 {
            self.all.remove_from(1, block / 64);
        }
        self.note_runs(block / 64, old, new);
    }

    /// Adds the blocks `start..end`. Cost: a few stores for each 64 blocks.
    pub(crate) fn insert_range(&self, start: usize, end: usize) {
        self.change(start, end, BitTree::insert_range);
    }

    /// Removes the blocks `start..end`.
    pub(crate) fn remove_range(&self, start: usize, end: usize) {
        self.change(start, end, BitTree::remove_range);
    }

    /// Changes `start..end` by `change`: parts of words one by one, and whole words all at once.
    fn change(&self, start: usize, end: usize, change: impl Fn(&BitTree, usize, usize)) {
        let (first, last) = (start.div_ceil(64), end / 64);
        let part = |from: usize, to: usize| {
            if from < to {
                let old = self.all.word(from / 64);
                change(&self.all, from, to);
                self.note_runs(from / 64, old, self.all.word(from / 64));
            }
        };
        if first >= last {
            let middle = (first * 64).clamp(start, end);
            part(start, middle);
            part(middle, end);
            return;
        }
        change(&self.all, first * 64, last * 64);
        self.runs[..6].iter().for_each(|tree| change(tree, first, last));
        for log2 in 7..=RUN_ORDERS {
            let span = 1 << (log2 - 6);
            let (inner, outer) = (first.div_ceil(span), last / span);
            if inner < outer {
                change(&self.runs[log2 - 1], inner, outer);
            }
            self.note_group(log2, first / span);
            self.note_group(log2, (last - 1) / span);
        }
        part(start, first * 64);
        part(last * 64, end);
    }

    /// Notes which runs the word `at` has, which was `old` and is `new`. Most changes end no run and make none, because
    /// a neighbour is not free: they are over after the first step.
    #[inline]
    fn note_runs(&self, at: usize, old: u64, new: u64) {
        let (was, is) = (words::pairs(old), words::pairs(new));
        if was != is {
            self.note_longer_runs(at, was, is);
        }
    }

    /// Notes the longer runs by the pairs that the word had and has: each is made of two of the length before it.
    #[inline(never)]
    fn note_longer_runs(&self, at: usize, mut was: u64, mut is: u64) {
        for log2 in 1..=6 {
            if (was != 0) != (is != 0) {
                self.runs[log2 - 1].set(at, is != 0);
            }
            // Of equal runs come equal longer ones.
            if was == is {
                return;
            }
            if log2 < 6 {
                (was, is) = (words::double(was, log2), words::double(is, log2));
            }
        }
        (7..=RUN_ORDERS).for_each(|log2| self.note_group(log2, at >> (log2 - 6)));
    }

    /// Notes whether all words of a group are full.
    fn note_group(&self, log2: usize, group: usize) {
        self.runs[log2 - 1].set(group, self.is_full(log2, group));
    }

    fn is_full(&self, log2: usize, group: usize) -> bool {
        let span = 1 << (log2 - 6);
        (group * span..(group + 1) * span).all(|at| self.all.word(at) == u64::MAX)
    }

    /// Returns how many aligned runs of 2^`log2` blocks, at most 9, there are. Cost: a load per 64 blocks, without the
    /// lock.
    pub(crate) fn count_runs(&self, log2: u32) -> u64 {
        let leaves = self.all.levels[0];
        if log2 <= 6 {
            let count = |word: &AtomicU64| words::run_starts(word.load(Relaxed), log2).count_ones();
            return leaves.iter().map(|word| u64::from(count(word))).sum();
        }
        let groups = leaves.chunks_exact(1 << (log2 - 6));
        groups.filter(|words| words.iter().all(|word| word.load(Relaxed) == u64::MAX)).count() as u64
    }

    /// Returns how many words of 64 blocks there are.
    pub(crate) fn words(&self) -> usize {
        self.all.levels[0].len()
    }

    /// Tells whether all that is said of the word `at` is so.
    pub(crate) fn is_consistent_at(&self, at: usize) -> bool {
        let rank = rank(self.all.word(at)) as usize;
        let said = |log2: usize, at: usize| {
            let tree = &self.runs[log2 - 1];
            tree.is_consistent_at(at / 64).then(|| tree.contains(at))
        };
        self.all.is_consistent_at(at)
            && (1..=6).all(|log2| said(log2, at) == Some(rank >= log2))
            && (7..=RUN_ORDERS).all(|log2| {
                let group = at >> (log2 - 6);
                said(log2, group) == Some(self.is_full(log2, group))
            })
    }
}
