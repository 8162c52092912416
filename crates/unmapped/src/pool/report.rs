//! Whether the pool's bookkeeping is exact, and what it tells of itself.

use rhumb_frames::words::FRAMES;
use rhumb_frames::{Frames, Owner};
use rhumb_machine::{Machine, Pfn};

use crate::pool::UnmappedPool;
use crate::pool::counters::PoolCounters;
use crate::pool::home::Home;
use crate::pool::record::{BINS, BlockId, Chain, Kind, Link, Links, Record, Records, SPARE_BIN};
use crate::pool::shelf::Shelf;

/// What is wrong in the pool's bookkeeping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PoolInconsistency {
    /// A block in a list is no block of the pool.
    NoRecord(Pfn),
    /// Its count, bits or bin do not agree.
    BadRecord(Pfn),
    /// Its neighbours in the list do not lead to it.
    BadLinks(Pfn),
    /// The count of spare blocks, or the set of bins in use.
    BadBins,
    /// The count of wholly free members of a 1-GiB block.
    BadGroup(Pfn),
    /// The frames of the accounts and the frames that are out.
    BadAccounts {
        /// Frames that the accounts have.
        accounts: u64,
        /// Frames that are out.
        out: u64,
    },
    /// The blocks of the accounts and the blocks that are out of the map.
    BadCharges {
        /// Blocks charged.
        accounts: u64,
        /// Blocks out.
        out: u64,
    },
}

impl<H: Home> UnmappedPool<H> {
    /// What was done so far.
    pub fn counters(&self) -> PoolCounters {
        self.home.with_shelf(|shelf| shelf.counters())
    }

    /// Who has a frame that was taken; `None` where it is not the first of one that is out.
    pub fn owner_of(&self, pfn: Pfn) -> Option<Owner> {
        let frames = self.home.frames();
        self.home.with_shelf(|shelf| {
            let (owner, order) = Records(frames).taken(pfn)?;
            let order = rhumb_machine::Order::new(order)?;
            shelf.check_out(frames, pfn, order).is_ok().then_some(owner)
        })
    }

    /// Recomputes all that can be. No request is under way meanwhile.
    ///
    /// # Errors
    /// The first thing that is wrong.
    ///
    /// Cost: a look at each block that has something free.
    pub fn validate(&self) -> Result<(), PoolInconsistency> {
        self.home.with_shelf(|shelf| shelf.validate(self.home.frames()))
    }
}

impl Shelf {
    fn validate<M: Machine>(&self, frames: &Frames<M>) -> Result<(), PoolInconsistency> {
        let records = Records(frames);
        let (mut occupied, mut spares) = (0, 0);
        for (bin, &head) in (0u8..).zip(&self.bins) {
            let blocks = check_list(&records, head, |id, record| check_record(&records, bin, id, record))?;
            if bin == SPARE_BIN {
                spares = blocks;
            } else if blocks > 0 {
                occupied |= 1 << bin;
            }
        }
        debug_assert_eq!(self.bins.len(), BINS);
        if (occupied, spares) != (self.occupied, self.spares) {
            return Err(PoolInconsistency::BadBins);
        }
        let frames_held: u64 = self.accounts.iter().map(|account| account.frames).sum();
        if frames_held != self.counters.frames_out {
            let out = self.counters.frames_out;
            return Err(PoolInconsistency::BadAccounts { accounts: frames_held, out });
        }
        let charged: u64 = self.accounts.iter().map(|account| account.blocks).sum();
        let out = self.counters.blocks() + self.counters.lost_blocks;
        if charged == out { Ok(()) } else { Err(PoolInconsistency::BadCharges { accounts: charged, out }) }
    }
}

/// Walks a list of blocks; says how many.
fn check_list<M: Machine>(
    records: &Records<'_, M>,
    head: Link,
    check: impl Fn(BlockId, &Record) -> Result<(), PoolInconsistency>,
) -> Result<u64, PoolInconsistency> {
    let (mut before, mut at, mut blocks) = (None, head, 0);
    while let Some(id) = at {
        let record = records.load(id).ok_or(PoolInconsistency::NoRecord(id.start()))?;
        let links: Links = records.links(id, Chain::Bin);
        if links.before != before {
            return Err(PoolInconsistency::BadLinks(id.start()));
        }
        check(id, &record)?;
        blocks += 1;
        (before, at) = (at, links.next);
    }
    Ok(blocks)
}

fn check_record<M: Machine>(
    records: &Records<'_, M>,
    bin: u8,
    id: BlockId,
    record: &Record,
) -> Result<(), PoolInconsistency> {
    let bits: u32 = record.bits.iter().map(|word| word.count_ones()).sum();
    if record.bin != bin || record.wanted_bin() != bin || record.free != bits || bits > FRAMES {
        return Err(PoolInconsistency::BadRecord(id.start()));
    }
    if record.kind == Kind::Member {
        let whole = |id: &BlockId| records.load(*id).is_some_and(|record| record.is_whole());
        let free = id.group().members().filter(whole).count() as u64;
        // Each member would count 512 others: the first does for all.
        if id == id.group() && free != records.free_members(id) {
            return Err(PoolInconsistency::BadGroup(id.start()));
        }
    }
    Ok(())
}
