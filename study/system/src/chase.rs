//! A chase: loads of which each has its address from the one before, all over a piece of memory.
//!
//! The CPU cannot overlap such loads, and no prefetcher guesses them, so that the time of a load is the full time of its
//! translation and its data. The chase visits each of its nodes once before it comes back to the first. Its order is that
//! of a linear congruential generator: it needs no list, and memory is written once, front to back.

use std::hint::black_box;
use std::ops::DerefMut;
use std::time::Instant;

use rhumb_method::undisturbed_mean;

#[cfg(test)]
mod tests;

/// Words of a cache line.
const LINE_WORDS: usize = 8;

/// Words of the smallest page.
const PAGE_WORDS: usize = 512;

/// Nodes that are written or visited between two looks at the wish to end.
const STRETCH: usize = 1 << 16;

/// Loads that are timed together: 25 to 100 microseconds.
const BATCH: usize = 256;

/// The places of a chase's nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Nodes {
    /// Each cache line: the data leaves every cache, too.
    Lines,
    /// One cache line of each 4 KiB, never the same line of two neighbours: little data, so that the translations weigh
    /// more.
    Pages,
}

impl Nodes {
    fn words(self) -> usize {
        match self {
            Self::Lines => LINE_WORDS,
            Self::Pages => PAGE_WORDS,
        }
    }

    /// Returns the word that the node with this number occupies.
    fn place(self, number: usize) -> usize {
        match self {
            Self::Lines => number * LINE_WORDS,
            Self::Pages => {
                number * PAGE_WORDS + (number ^ number >> 6) % (PAGE_WORDS / LINE_WORDS) * LINE_WORDS
            }
        }
    }
}

/// The generator's factor: one more than a multiple of four, which makes the period full (Hull and Dobell, 1962). It is
/// that of Knuth's MMIX.
const FACTOR: usize = 6_364_136_223_846_793_005;

/// The generator's addend: odd, for the same reason.
const ADDEND: usize = 1_442_695_040_888_963_407;

/// A chase over a piece of memory.
#[derive(Debug)]
pub(crate) struct Chase<M> {
    memory: M,
    nodes: usize,
    at: usize,
}

impl<M: DerefMut<Target = [u64]>> Chase<M> {
    /// Writes a chase into the largest part of `memory` that is a power of two of bytes. Returns `None` where
    /// `is_cancelled` tells so meanwhile.
    pub(crate) fn over(mut memory: M, nodes: Nodes, is_cancelled: impl Fn() -> bool) -> Option<Self> {
        let count = memory.len() / nodes.words();
        let count = if count == 0 { 0 } else { 1 << count.ilog2() };
        for number in 0..count {
            if number % STRETCH == 0 && is_cancelled() {
                return None;
            }
            let next = number.wrapping_mul(FACTOR).wrapping_add(ADDEND) & (count - 1);
            memory[nodes.place(number)] = nodes.place(next) as u64;
        }
        Some(Self { memory, nodes: count, at: 0 })
    }

    /// Visits each node once, so that no later visit is the first. Returns `None` where `is_cancelled` tells so meanwhile.
    pub(crate) fn warm_up(mut self, is_cancelled: impl Fn() -> bool) -> Option<Self> {
        for _ in 0..self.nodes.div_ceil(STRETCH) {
            if is_cancelled() {
                return None;
            }
            self.load(STRETCH);
        }
        Some(self)
    }

    /// Follows the chase for so many batches of loads, from where it stopped, and returns the nanoseconds of one load.
    /// Batches in which the CPU was given to another program do not count.
    pub(crate) fn follow(&mut self, batches: u32) -> f64 {
        let time = |_| {
            let began = Instant::now();
            self.load(BATCH);
            began.elapsed().as_nanos() as f64 / BATCH as f64
        };
        let times: Vec<f64> = (0..batches).map(time).collect();
        undisturbed_mean(&times).unwrap_or(0.0)
    }

    /// Follows the chase for so many loads.
    fn load(&mut self, loads: usize) {
        let memory: &[u64] = &self.memory;
        let mut at = self.at;
        for _ in 0..loads {
            // Each node has the place of another.
            at = memory.get(at).map_or(0, |next| *next as usize);
        }
        self.at = black_box(at);
    }

    /// Returns the memory.
    pub(crate) fn memory(&self) -> &M {
        &self.memory
    }
}
