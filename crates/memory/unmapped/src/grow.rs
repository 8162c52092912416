//! Taking blocks from the allocator and out of the map.

use rhumb_frames::{AllocError, Anywhere, Frame, Owner};
use rhumb_machine::{Machine, Order, Pfn, Pinned};

use crate::UnmappedPool;
use crate::block_lists::Request;
use crate::error::PoolError;
use crate::home::Home;
use crate::presence;
use crate::record::{BlockId, MEMBERS, Records};

impl<H: Home> UnmappedPool<H> {
    /// Takes a block that has been charged to the owner, with its frames, and serves the request from it. One CPU at a
    /// time does so for an owner.
    pub(crate) fn grow_and_take(&self, pinned: Pinned<'_>, request: Request) -> Result<Pfn, PoolError> {
        let frames = self.home.frames();
        match self.take_out(pinned, request.owner, Order::LARGE) {
            Ok(id) => {
                let taken = self.home.with_lists(|lists| lists.insert_and_take(frames, id, request));
                taken.ok_or(PoolError::NotABlock { pfn: id.start() })
            }
            Err(error) => {
                let wanted = request.order.frames();
                self.home.with_lists(|lists| lists.end_growing(request.owner, 1, wanted));
                Err(error)
            }
        }
    }

    /// Takes 1 GiB in advance, charged to `owner`: it goes out by a single change and a single flush.
    ///
    /// # Errors
    /// [`PoolError`]; nothing has changed then.
    ///
    /// Cost: all of it is cleared.
    pub fn grow(&self, pinned: Pinned<'_>, owner: Owner) -> Result<(), PoolError> {
        let frames = self.home.frames();
        self.home.with_lists(|lists| lists.begin_group(frames, owner, frames.machine().cpu_of(pinned)))?;
        match self.take_out(pinned, owner, Order::HUGE) {
            Ok(first) => {
                // One at a time: each is a short hold of the lock, the first use of its descriptors included.
                for member in first.members() {
                    let _ = Records(frames).has_room(member);
                    self.home.with_lists(|lists| lists.insert_member(frames, member, owner));
                }
                self.home.with_lists(|lists| lists.end_group(owner));
                Ok(())
            }
            Err(error) => {
                self.home.with_lists(|lists| lists.end_growing(owner, MEMBERS, 0));
                Err(error)
            }
        }
    }

    /// Takes a block from the allocator and out of the map.
    fn take_out(&self, pinned: Pinned<'_>, owner: Owner, order: Order) -> Result<BlockId, PoolError> {
        let frames = self.home.frames();
        let block = self.allocate(pinned, owner, order).map_err(PoolError::NoBlock)?;
        let id = BlockId::around(block.pfn());
        if !Records(frames).has_room(id) {
            let pfn = block.pfn();
            frames.free(pinned, block);
            return Err(PoolError::NotABlock { pfn });
        }
        match presence::out(&self.home, pinned, block, "a block of unmapped frames") {
            Ok(flushes) => {
                self.home.with_lists(|lists| lists.counters.flushes += flushes);
                Ok(id)
            }
            Err((block, error)) => {
                frames.free(pinned, block);
                Err(error)
            }
        }
    }

    /// Returns a whole block, after a compaction if need be: past the end of the map, if there is one, because that costs
    /// the map nothing.
    fn allocate(
        &self,
        pinned: Pinned<'_>,
        owner: Owner,
        order: Order,
    ) -> Result<Frame<Anywhere>, AllocError> {
        let (frames, request) = (self.home.frames(), presence::request(order, owner));
        match frames.alloc_anywhere(pinned, request) {
            Err(error) if error.is_exhaustion() && self.home.compact(pinned) > 0 => {
                self.home.with_lists(|lists| lists.counters.compactions += 1);
                frames.alloc_anywhere(pinned, request)
            }
            answer => answer,
        }
    }
}
