//! Taking blocks from the allocator and out of the map.

use rhumb_directmap::Cause;
use rhumb_frames::{AllocError, Frame, Mapped, Owner};
use rhumb_machine::{Order, PageSize, Pfn, Pinned};

use crate::pool::UnmappedPool;
use crate::pool::crossing;
use crate::pool::error::PoolError;
use crate::pool::home::Home;
use crate::pool::record::{BlockId, Kind, MEMBERS, Records};
use crate::pool::shelf::Served;

impl<H: Home> UnmappedPool<H> {
    /// Takes a block that has been charged to `owner`, and serves its request from it.
    pub(crate) fn grow_and_take(
        &self,
        pinned: Pinned<'_>,
        owner: Owner,
        order: Order,
    ) -> Result<Pfn, PoolError> {
        // Others may take what was put on the shelf before it is asked again; each turn takes another block, up to the
        // limit.
        loop {
            self.add_charged(pinned, owner, PageSize::Size2M)?;
            let served = self.home.with_shelf(|shelf| shelf.take(self.home.frames(), owner, order))?;
            if let Served::Frame(pfn) = served {
                return Ok(pfn);
            }
        }
    }

    /// Takes a block of `size` in advance.
    pub(crate) fn grow_by(&self, pinned: Pinned<'_>, owner: Owner, size: PageSize) -> Result<(), PoolError> {
        let blocks = blocks_of(size).ok_or(PoolError::NotABlockSize { size })?;
        self.home.with_shelf(|shelf| shelf.charge(owner, blocks))?;
        self.add_charged(pinned, owner, size)
    }

    /// Puts a block on the shelf that is charged already; takes the charge back where there is none.
    fn add_charged(&self, pinned: Pinned<'_>, owner: Owner, size: PageSize) -> Result<(), PoolError> {
        let added = self.add(pinned, owner, size);
        if let Err(error) = added {
            self.home.with_shelf(|shelf| {
                shelf.uncharge(owner, blocks_of(size).unwrap_or(0));
                shelf.counters.refusals += 1;
            });
            return Err(error);
        }
        Ok(())
    }

    fn add(&self, pinned: Pinned<'_>, owner: Owner, size: PageSize) -> Result<(), PoolError> {
        let account = self.home.with_shelf(|shelf| shelf.account(owner).copied());
        let map_owner =
            account.and_then(|account| account.map_owner).ok_or(PoolError::NoAccount { owner })?;
        let frames = self.home.frames();
        let block = self.allocate(pinned, owner, size.order()).map_err(PoolError::NoBlock)?;
        let first = BlockId::around(block.pfn());
        if !Records(frames).has_room(first) {
            let pfn = block.pfn();
            frames.free(pinned, block);
            return Err(PoolError::NotABlock { pfn });
        }
        let cause = Cause::new(map_owner, "a block of unmapped frames");
        let out = match crossing::out(&self.home, pinned, block, cause) {
            Ok(out) => out,
            Err((block, error)) => {
                frames.free(pinned, block);
                return Err(PoolError::Change(error));
            }
        };
        self.home.with_shelf(|shelf| shelf.counters.flushes += out.flushes);
        let first = BlockId::around(out.start);
        if size == PageSize::Size1G {
            // One at a time: each is a short hold of the lock, the first use of its descriptors included.
            for member in first.members() {
                let _ = Records(frames).has_room(member);
                self.home.with_shelf(|shelf| shelf.insert(frames, member, Kind::Member, owner));
            }
        } else {
            self.home.with_shelf(|shelf| shelf.insert(frames, first, Kind::Alone, owner));
        }
        Ok(())
    }

    /// A whole block, zeroed, after a compaction if need be.
    fn allocate(&self, pinned: Pinned<'_>, owner: Owner, order: Order) -> Result<Frame<Mapped>, AllocError> {
        let (frames, request) = (self.home.frames(), crossing::request(order, owner));
        match frames.alloc(pinned, request) {
            Err(AllocError::Exhausted(_)) if self.home.compact(pinned) > 0 => {
                self.home.with_shelf(|shelf| shelf.counters.compactions += 1);
                frames.alloc(pinned, request)
            }
            answer => answer,
        }
    }
}

/// How many 2-MiB blocks a block of `size` is.
pub(crate) const fn blocks_of(size: PageSize) -> Option<u64> {
    match size {
        PageSize::Size4K => None,
        PageSize::Size2M => Some(1),
        PageSize::Size1G => Some(MEMBERS),
    }
}
