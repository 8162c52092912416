//! Giving wholly free blocks back: those above the few that stay, and all of them where memory is short.

use rhumb_frames::{Owner, Reclaimer, Shortage};
use rhumb_machine::{Order, Pinned};

use crate::UnmappedPool;
use crate::home::Home;
use crate::presence::{self, Stays, Wait};
use crate::record::{BlockId, MEMBERS};

/// Blocks that go back when a frame is given: the block that the frame has made spare, and one of those that are left
/// from before, where fewer are to stay now. So giving a frame takes bounded time.
const SHED_BLOCKS: u32 = 2;

/// A block that is off the lists.
#[derive(Clone, Copy, Debug)]
enum Popped {
    /// A block of 2 MiB, and the account that it was of.
    Spare(BlockId, Owner),
    /// A gigabyte, and the account that it is of.
    Group(BlockId, Owner),
}

impl<H: Home> UnmappedPool<H> {
    /// Gives all wholly free blocks back but `keep` of 2 MiB, and says how many frames.
    ///
    /// Cost: for each block one change of the map and at most one flush. One block at a time:
    /// [`UnmappedPool::shrink_by_one`].
    pub fn shrink(&self, pinned: Pinned<'_>, keep: u64) -> u64 {
        core::iter::from_fn(|| self.shrink_by_one(pinned, keep)).sum()
    }

    /// Gives one wholly free block back, a gigabyte if there is one, and says how many frames; `None` where no more
    /// than `keep` of 2 MiB are left. For callers that do not want to stay on their CPU for all that
    /// [`UnmappedPool::shrink`] does.
    ///
    /// Cost: one change of the map and at most one flush.
    pub fn shrink_by_one(&self, pinned: Pinned<'_>, keep: u64) -> Option<u64> {
        let popped = self.pop_group().or_else(|| self.pop_spare(keep))?;
        Some(self.put_back(pinned, popped, Wait::Allowed).unwrap_or(0))
    }

    /// Gives back what is more than stays, [`SHED_BLOCKS`] at most.
    pub(crate) fn shed(&self, pinned: Pinned<'_>) {
        for _ in 0..SHED_BLOCKS {
            let Some(spare) = self.pop_spare(u64::MAX) else { return };
            let _ = self.put_back(pinned, spare, Wait::Allowed);
        }
    }

    fn pop_spare(&self, keep: u64) -> Option<Popped> {
        self.home
            .with_lists(|lists| lists.pop_spare(self.home.frames(), keep))
            .map(|(id, owner)| Popped::Spare(id, owner))
    }

    /// Takes a wholly free gigabyte off the lists, member by member; puts them back where one of them is wanted
    /// meanwhile.
    fn pop_group(&self) -> Option<Popped> {
        let group = self.home.with_lists(|lists| lists.free_groups)?;
        self.pop_members(group).map(|owner| Popped::Group(group, owner))
    }

    fn pop_members(&self, group: BlockId) -> Option<Owner> {
        let (frames, mut owner, mut popped) = (self.home.frames(), Owner::NONE, 0);
        // The first is the last to go: it has the group's count.
        for member in group.members().rev() {
            match self.home.with_lists(|lists| lists.pop_member(frames, member)) {
                Some(of) => (owner, popped) = (of, popped + 1),
                None => {
                    self.reinsert(group, owner, popped);
                    return None;
                }
            }
        }
        Some(owner)
    }

    /// Puts the last `count` members of a gigabyte on the lists again.
    fn reinsert(&self, group: BlockId, owner: Owner, count: usize) {
        let frames = self.home.frames();
        for member in group.members().skip(MEMBERS as usize - count) {
            self.home.with_lists(|lists| lists.insert_member(frames, member, owner));
        }
    }

    /// Brings a block that is off the lists back into the map; back on the lists where the map's lock cannot be had.
    fn put_back(&self, pinned: Pinned<'_>, popped: Popped, wait: Wait) -> Option<u64> {
        let (Popped::Spare(_, owner) | Popped::Group(_, owner)) = popped;
        let (id, order, blocks) = match popped {
            Popped::Spare(id, _) => (id, Order::LARGE, 1),
            Popped::Group(id, _) => (id, Order::HUGE, MEMBERS),
        };
        let back = presence::back(&self.home, pinned, (id.start(), order), wait);
        if let (Err(Stays::Busy), Popped::Group(..)) = (&back, popped) {
            self.reinsert(id, owner, MEMBERS as usize);
            return None;
        }
        self.home.with_lists(|lists| {
            if let Popped::Group(..) = popped {
                lists.uncharge_group(owner);
            }
            match back {
                Ok(flushes) => {
                    lists.counters.flushes += flushes;
                    lists.counters.blocks_given_back += blocks;
                    Some(order.frames())
                }
                Err(Stays::Busy) => {
                    lists.insert_spare(self.home.frames(), id, owner);
                    None
                }
                Err(Stays::Unknown) => {
                    lists.counters.lost_blocks += blocks;
                    None
                }
            }
        })
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
            let found = self.home.try_with_lists(|lists| (lists.pop_spare(frames, 0), lists.free_groups));
            let popped = match found {
                Some((Some((spare, owner)), _)) => Some(Popped::Spare(spare, owner)),
                Some((None, Some(group))) => self.pop_members(group).map(|owner| Popped::Group(group, owner)),
                Some((None, None)) | None => None,
            };
            let Some(popped) = popped else { break };
            match self.put_back(pinned, popped, Wait::Forbidden) {
                Some(frames) => freed += frames,
                None => break,
            }
        }
        freed
    }
}
