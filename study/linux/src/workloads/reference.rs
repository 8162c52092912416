//! Work that no direct map can touch: arithmetic, and dependent loads from a little of the process's own memory.
//!
//! The kernel takes no part in it, so that a difference between two phases is a difference of the machine: another clock,
//! or other programs. It is the control of all that is compared before and after.

use std::hint::black_box;
use std::io;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::Workload;
use crate::who::show::size;

/// The name that stays.
pub(crate) const ID: &str = "reference";

/// Words of a cache line.
const LINE_WORDS: usize = 16;

/// Lines of the memory: 256 KiB, which a CPU's own caches hold.
const LINES: usize = 4096;

/// Loads of one repetition, each with a multiplication.
const LOADS: u32 = 256;

/// The work.
#[derive(Debug)]
pub(crate) struct Reference {
    /// Each line's first word has the place of another line, all of them in one cycle.
    memory: Vec<u32>,
    at: u32,
    sum: u64,
}

impl Reference {
    /// Makes the memory, in an order that is drawn.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let mut order: Vec<usize> = (0..LINES).map(|line| line * LINE_WORDS).collect();
        order.shuffle(&mut random);
        let mut memory = vec![0; LINES * LINE_WORDS];
        for (place, next) in order.iter().zip(order.iter().cycle().skip(1)) {
            memory[*place] = *next as u32;
        }
        Self { memory, at: order.first().map_or(0, |place| *place as u32), sum: random.random() }
    }
}

impl Workload for Reference {
    fn id(&self) -> &'static str {
        ID
    }

    fn words(&self) -> String {
        let bytes = self.memory.len() * size_of::<u32>();
        format!("{LOADS} loads and multiplications in {} of the process's own memory", size(bytes as u64))
    }

    fn run(&mut self, times: u32) -> io::Result<()> {
        for _ in 0..times {
            for _ in 0..LOADS {
                self.at = self.memory.get(self.at as usize).copied().unwrap_or(0);
                self.sum = self.sum.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(self.at.into());
            }
        }
        self.sum = black_box(self.sum);
        Ok(())
    }
}
