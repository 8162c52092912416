//! The last samples of each node.

use rhumb_module::alloc::vec::Vec;
use rhumb_module::{NodeMemory, ORDERS};

/// Samples that are kept of each node.
pub(crate) const SAMPLES: usize = 240;

/// The state of one node's free memory at one time.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sample {
    /// When, in milliseconds since the start.
    pub(crate) at_ms: u64,
    pub(crate) free_frames: u64,
    /// The part of the frames in free blocks that lies in those of each order, of 255.
    pub(crate) part: [u8; ORDERS],
}

impl Sample {
    pub(crate) fn of(at_ms: u64, memory: &NodeMemory) -> Self {
        let in_order = |order: usize| memory.free_blocks[order] << order;
        let all: u64 = (0..ORDERS).map(in_order).sum();
        // Rounded up, so that what is there is seen.
        let part = |order| (in_order(order) * 255).div_ceil(all.max(1)) as u8;
        Self { at_ms, free_frames: memory.free_frames, part: core::array::from_fn(part) }
    }
}

/// Room for [`SAMPLES`] of each node, allocated once.
pub(crate) struct Ring {
    nodes: u32,
    /// Samples that were taken of each node so far.
    taken: u64,
    samples: Vec<Sample>,
}

impl Ring {
    pub(crate) fn new(nodes: u32) -> Option<Self> {
        let mut samples = Vec::new();
        samples.try_reserve_exact(nodes as usize * SAMPLES).ok()?;
        samples.resize(nodes as usize * SAMPLES, Sample::default());
        Some(Self { nodes, taken: 0, samples })
    }

    pub(crate) const fn nodes(&self) -> u32 {
        self.nodes
    }

    pub(crate) fn bytes(&self) -> usize {
        self.samples.capacity() * size_of::<Sample>()
    }

    /// Adds a sample of each node; the oldest goes.
    pub(crate) fn add(&mut self, sample: impl Fn(u32) -> Sample) {
        let at = (self.taken % SAMPLES as u64) as usize;
        for node in 0..self.nodes {
            self.samples[node as usize * SAMPLES + at] = sample(node);
        }
        self.taken += 1;
    }

    /// Returns the last samples of a node, at most so many, the oldest first.
    pub(crate) fn last(&self, node: u32, most: usize) -> impl DoubleEndedIterator<Item = &Sample> + Clone {
        let there = self.taken.min(SAMPLES as u64).min(most as u64);
        let base = node as usize * SAMPLES;
        (self.taken - there..self.taken)
            .map(move |number| &self.samples[base + (number % SAMPLES as u64) as usize])
    }
}
