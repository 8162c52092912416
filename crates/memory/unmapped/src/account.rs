//! The holdings of each owner, and their limits (I11).
//!
//! Accounts are in memory that the caller lends, by the owner's number: the numbers that frame descriptors keep.
//!
//! A block that is out of the map is one account's: no other owner has a frame in it. So an owner keeps as many blocks
//! out of the map as are charged to it, together with others or alone, and its limit is a bound.

use rhumb_frames::Owner;
use rhumb_machine::CpuId;

use crate::error::PoolError;
use crate::record::{Link, OWN_BINS};

/// How much an owner may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// 2-MiB blocks in which it has frames; a block of 1 GiB that was taken for it in advance counts 512.
    pub blocks: u64,
    /// Frames.
    pub frames: u64,
    /// Nanoseconds for each block that leaves the map for it, on average; 0 is no limit. Each such block costs a flush
    /// on all CPUs. `blocks` of them may leave at once. A block that is sought in vain counts, too.
    pub block_ns: u64,
}

impl Limits {
    /// No limit.
    pub const NONE: Self = Self { blocks: u64::MAX, frames: u64::MAX, block_ns: 0 };
}

/// The holdings and limits of an owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holdings {
    /// Its limits.
    pub limits: Limits,
    blocks: u64,
    frames: u64,
}

impl Holdings {
    /// Returns how many 2-MiB blocks are out of the map for it: those in which it has frames, and those taken in
    /// advance.
    pub const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Returns how many frames it has.
    pub const fn frames(&self) -> u64 {
        self.frames
    }
}

/// A place for an account.
#[derive(Debug)]
pub struct Account {
    limits: Option<Limits>,
    pub(crate) blocks: u64,
    pub(crate) frames: u64,
    /// When the blocks that have left the map for it will have lasted as long as they must.
    due_ns: u64,
    /// The CPU that is taking a block for it.
    pub(crate) grower: Option<CpuId>,
    /// Its blocks that have something free.
    pub(crate) bins: [Link; OWN_BINS],
    /// Which bins are not empty.
    pub(crate) occupied: u64,
}

impl Account {
    /// Not open.
    pub const CLOSED: Self = Self {
        limits: None,
        blocks: 0,
        frames: 0,
        due_ns: 0,
        grower: None,
        bins: [None; OWN_BINS],
        occupied: 0,
    };

    pub(crate) const fn set_limits(&mut self, limits: Limits) {
        self.limits = Some(limits);
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.limits.is_some()
    }

    pub(crate) fn holdings(&self) -> Option<Holdings> {
        self.limits.map(|limits| Holdings { limits, blocks: self.blocks, frames: self.frames })
    }

    /// Returns how long until the blocks that have left the map for it have lasted as long as they must.
    pub(crate) const fn debt_ns(&self, now_ns: u64) -> u64 {
        self.due_ns.saturating_sub(now_ns)
    }

    /// Tells whether it is at its limit of blocks.
    pub(crate) fn is_full(&self) -> bool {
        self.limits.is_none_or(|limits| self.blocks >= limits.blocks)
    }

    pub(crate) fn charge_frames(&mut self, owner: Owner, frames: u64) -> Result<(), PoolError> {
        let limit = self.limits.ok_or(PoolError::NoAccount { owner })?.frames;
        if limit.saturating_sub(self.frames) < frames {
            return Err(PoolError::OverFrames { owner, limit });
        }
        self.frames += frames;
        Ok(())
    }

    pub(crate) fn charge_blocks(&mut self, owner: Owner, blocks: u64) -> Result<(), PoolError> {
        let limit = self.limits.ok_or(PoolError::NoAccount { owner })?.blocks;
        if limit.saturating_sub(self.blocks) < blocks {
            return Err(PoolError::OverBlocks { owner, limit });
        }
        self.blocks += blocks;
        Ok(())
    }

    /// Lets one change of the map happen for it, unless too many have: a bucket that `block_ns` fills by one, and that
    /// holds `blocks`. It is spent also where the change fails, since by then a block has been sought, memory compacted
    /// for it, and 2 MiB cleared. Reads the clock only where there is a rate.
    pub(crate) fn spend_change(
        &mut self,
        owner: Owner,
        now_ns: impl FnOnce() -> u64,
    ) -> Result<(), PoolError> {
        let Limits { blocks, block_ns, .. } = self.limits.ok_or(PoolError::NoAccount { owner })?;
        if block_ns == 0 {
            return Ok(());
        }
        let now_ns = now_ns();
        let ahead_ns = block_ns.saturating_mul(blocks.saturating_sub(1));
        let wait_ns = self.due_ns.saturating_sub(now_ns.saturating_add(ahead_ns));
        if wait_ns > 0 {
            return Err(PoolError::TooFast { owner, wait_ns });
        }
        self.due_ns = self.due_ns.max(now_ns).saturating_add(block_ns);
        Ok(())
    }
}
