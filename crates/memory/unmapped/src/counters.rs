//! [`PoolCounters`]: the pool's counts, of events since boot and of blocks and frames now.

use core::fmt;
use rhumb_machine::Counted;

/// Counts of the pool: of events since boot, and of blocks and frames now.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PoolCounters {
    /// 2-MiB blocks taken, out of the map or past its end; one of 1 GiB counts 512.
    pub blocks_taken: u64,
    /// 2-MiB blocks given back.
    pub blocks_given_back: u64,
    /// Frames that are out of the pool now.
    pub frames_out: u64,
    /// Rounds of flushes on all CPUs.
    pub flushes: u64,
    /// Blocks that the allocator had only after a compaction.
    pub compactions: u64,
    /// Requests that could not get a block.
    pub refusals: u64,
    /// Blocks that neither the map nor the allocator knew when they were to go back: other code has freed or
    /// restored them.
    pub lost_blocks: u64,
}

impl PoolCounters {
    /// Nothing done.
    pub const NONE: Self = Self {
        blocks_taken: 0,
        blocks_given_back: 0,
        frames_out: 0,
        flushes: 0,
        compactions: 0,
        refusals: 0,
        lost_blocks: 0,
    };

    /// Returns how many blocks are out of the map now.
    pub const fn blocks(&self) -> u64 {
        self.blocks_taken - self.blocks_given_back - self.lost_blocks
    }
}

impl fmt::Display for PoolCounters {
    /// `3 blocks (7 taken, 4 given back), 1200 frames out, 9 flushes`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { blocks_taken, blocks_given_back, frames_out, flushes, .. } = self;
        let blocks = Counted(self.blocks(), "block");
        write!(f, "{blocks} ({blocks_taken} taken, {blocks_given_back} given back), ")?;
        write!(f, "{} out, {}", Counted(*frames_out, "frame"), Counted(*flushes, "flush"))
    }
}
