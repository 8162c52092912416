//! Giving wholly free blocks back: those above the few that stay, and all of them where memory is short.

use rhumb_frames::{Owner, Reclaimer, Shortage};
use rhumb_machine::{Order, Pinned};

use crate::pool::UnmappedPool;
use crate::pool::crossing::{self, Stays, Wait};
use crate::pool::home::Home;
use crate::pool::record::{BlockId, Kind, MEMBERS};

impl<H: Home> UnmappedPool<H> {
    /// Gives all wholly free blocks back but `keep` of 2 MiB, and says how many frames.
    ///
    /// Cost: for each block one change of the map and at most one flush.
    pub fn shrink(&self, pinned: Pinned<'_>, keep: u64) -> u64 {
        let frames = self.home.frames();
        let mut freed = 0;
        while let Some(block) = self.home.with_shelf(|shelf| shelf.pop_group(frames)) {
            freed += self.put_back(pinned, block, Order::HUGE, Wait::Allowed).unwrap_or(0);
        }
        while let Some(block) = self.home.with_shelf(|shelf| shelf.pop_spare(frames, keep)) {
            freed += self.put_back(pinned, block, Order::LARGE, Wait::Allowed).unwrap_or(0);
        }
        freed
    }

    /// Gives back what is more than stays.
    pub(crate) fn shed(&self, pinned: Pinned<'_>) {
        let frames = self.home.frames();
        while let Some(block) = self.home.with_shelf(|shelf| shelf.pop_spare(frames, u64::MAX)) {
            let _ = self.put_back(pinned, block, Order::LARGE, Wait::Allowed);
        }
    }

    /// Brings a block that is off the shelf back into the map; back on the shelf where the map's lock cannot be had.
    fn put_back(
        &self,
        pinned: Pinned<'_>,
        (id, owner): (BlockId, Owner),
        order: Order,
        wait: Wait,
    ) -> Option<u64> {
        let blocks = if order == Order::HUGE { MEMBERS } else { 1 };
        let map_owner =
            self.home.with_shelf(|shelf| shelf.account(owner).and_then(|account| account.map_owner));
        let stays = match map_owner {
            Some(map_owner) => crossing::back(&self.home, pinned, (id.start(), order), map_owner, wait),
            None => Err(Stays::Unknown),
        };
        match stays {
            Ok(flushes) => {
                self.home.with_shelf(|shelf| {
                    shelf.uncharge(owner, blocks);
                    shelf.counters.flushes += flushes;
                    shelf.counters.blocks_given_back += blocks;
                });
                Some(order.frames())
            }
            Err(Stays::Busy) => {
                self.reinsert(id, owner, order);
                None
            }
            Err(Stays::Unknown) => {
                self.home.with_shelf(|shelf| shelf.counters.lost_blocks += blocks);
                None
            }
        }
    }

    fn reinsert(&self, id: BlockId, owner: Owner, order: Order) {
        let frames = self.home.frames();
        self.home.with_shelf(|shelf| {
            if order == Order::HUGE {
                id.members().for_each(|member| shelf.insert(frames, member, Kind::Member, owner));
                shelf.counters.blocks_taken -= MEMBERS;
            } else {
                shelf.insert(frames, id, Kind::Alone, owner);
                shelf.counters.blocks_taken -= 1;
            }
        });
    }
}

/// Spare blocks go first when memory is short. Where the allocator is called under one of the pool's locks, or the
/// map's, nothing is given.
impl<H: Home> Reclaimer for UnmappedPool<H> {
    fn name(&self) -> &str {
        "unmapped pool"
    }

    fn reclaim(&self, pinned: Pinned<'_>, shortage: &Shortage) -> u64 {
        let frames = self.home.frames();
        let mut freed = 0;
        while freed < shortage.order.frames() {
            let popped = self.home.try_with_shelf(|shelf| match shelf.pop_spare(frames, 0) {
                Some(block) => Some((block, Order::LARGE)),
                None => shelf.pop_group(frames).map(|block| (block, Order::HUGE)),
            });
            let Some(Some((block, order))) = popped else { break };
            match self.put_back(pinned, block, order, Wait::Forbidden) {
                Some(frames) => freed += frames,
                None => break,
            }
        }
        freed
    }
}
