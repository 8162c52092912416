//! The check of the pool's bookkeeping, and its reports.

use rhumb_frames::Owner;
use rhumb_frames::words::FRAMES;
use rhumb_machine::{Machine, Pfn};

use crate::UnmappedPool;
use crate::counters::PoolCounters;
use crate::home::Home;
use crate::record::{BlockId, Chain, Kind, Link, Links, Record, Records, SPARE_BIN};

/// The fault in the pool's bookkeeping.
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
    /// Returns the counts so far.
    pub fn counters(&self) -> PoolCounters {
        self.home.with_lists(|lists| lists.counters)
    }

    /// Returns the owner of a frame that was taken; `None` where it is not the first of one that is out.
    pub fn owner_of(&self, pfn: Pfn) -> Option<Owner> {
        let frames = self.home.frames();
        self.home.with_lists(|lists| {
            let (owner, order) = Records(frames).taken(pfn)?;
            let order = rhumb_machine::Order::new(order)?;
            lists.check_out(frames, pfn, order).is_ok().then_some(owner)
        })
    }

    /// Recomputes all counts, a block at a time, and compares them. No request is under way meanwhile.
    ///
    /// # Errors
    /// The first thing that is wrong.
    ///
    /// Cost: a short hold of the lock for each account and for each block that has something free.
    pub fn validate(&self) -> Result<(), PoolInconsistency> {
        let (mut frames_held, mut charged) = (0, 0);
        let accounts = self.home.with_lists(|lists| lists.accounts.len());
        for owner in 0..accounts {
            let (frames, blocks, bins, occupied) = self.home.with_lists(|lists| {
                let account = &lists.accounts[owner];
                (account.frames, account.blocks, account.bins, account.occupied)
            });
            frames_held += frames;
            charged += blocks;
            for (bin, &head) in (0u8..).zip(&bins) {
                if head.is_some() != (occupied & 1 << bin != 0) {
                    return Err(PoolInconsistency::BadBins);
                }
                self.check_list(head, |record| record.bin == bin && usize::from(record.owner.0) == owner)?;
            }
        }
        let (head, spare_blocks, counters) =
            self.home.with_lists(|lists| (lists.spares, lists.spare_blocks, lists.counters));
        if self.check_list(head, |record| record.bin == SPARE_BIN)? != spare_blocks {
            return Err(PoolInconsistency::BadBins);
        }
        if frames_held != counters.frames_out {
            let out = counters.frames_out;
            return Err(PoolInconsistency::BadAccounts { accounts: frames_held, out });
        }
        // A spare is no account's.
        let out = counters.blocks() - spare_blocks;
        if charged == out { Ok(()) } else { Err(PoolInconsistency::BadCharges { accounts: charged, out }) }
    }

    /// Walks a list of blocks, each of them as `belongs` says; returns how many there are.
    fn check_list(&self, head: Link, belongs: impl Fn(&Record) -> bool) -> Result<u64, PoolInconsistency> {
        let records = Records(self.home.frames());
        let (mut before, mut at, mut blocks) = (None, head, 0);
        while let Some(id) = at {
            let next = self.home.with_lists(|_| {
                let record = records.load(id).ok_or(PoolInconsistency::NoRecord(id.start()))?;
                let links: Links = records.links(id, Chain::Bin);
                if links.before != before {
                    return Err(PoolInconsistency::BadLinks(id.start()));
                }
                if !belongs(&record) {
                    return Err(PoolInconsistency::BadRecord(id.start()));
                }
                check_record(&records, id, &record)?;
                Ok(links.next)
            })?;
            blocks += 1;
            (before, at) = (at, next);
        }
        Ok(blocks)
    }
}

fn check_record<M: Machine>(
    records: &Records<'_, M>,
    id: BlockId,
    record: &Record,
) -> Result<(), PoolInconsistency> {
    let bits: u32 = record.bits.iter().map(|word| word.count_ones()).sum();
    if record.wanted_bin() != record.bin || record.free != bits || bits > FRAMES {
        return Err(PoolInconsistency::BadRecord(id.start()));
    }
    if record.kind == Kind::Member {
        // Each member would count 512 others: the first does for all.
        if id == id.group() {
            let free = id.members().filter(|&member| records.is_whole(member)).count() as u64;
            if free != records.free_members(id) {
                return Err(PoolInconsistency::BadGroup(id.start()));
            }
        }
    }
    Ok(())
}
