//! Allocation of exactly the frames of a range, after moving the frames in use there.

use core::ops::Range;

use rhumb_machine::{Machine, MemoryEvent, PfnRange, Pinned, impossible};

use crate::error::AllocError;
use crate::frames::Frames;
use crate::handle::frame::FrameRange;
use crate::moving::relocate::Relocate;
use crate::pool::Pool;
use crate::pool::block::State;
use crate::request::Owner;
use crate::zones::refill::Target;

impl<M: Machine> Frames<M> {
    /// Allocates exactly the frames of `range`, which lie in one zone of one node, after moving the frames in use
    /// there.
    ///
    /// # Errors
    /// The range is no memory or not in one zone; a frame in it cannot be moved (the error names it); there is no room
    /// for the frames that would be moved; or a compaction is running.
    pub fn alloc_range(
        &self,
        pinned: Pinned<'_>,
        range: PfnRange,
        relocate: &dyn Relocate,
    ) -> Result<FrameRange, AllocError> {
        let Some(_turn) = self.isolation.take() else { return Err(AllocError::Busy) };
        let pool =
            self.zones.pool_of(range.start()).filter(|pool| pool.span.covers(range) && !range.is_empty());
        let pool = pool.ok_or(AllocError::BadRange(range))?;
        self.drain(pinned);
        self.request_drain(pinned);
        let window = self.isolate_range(pool, range)?;
        self.empty(pinned, pool, range, relocate, &mut 0, Target::Any)?;
        self.claim_range(pool, range)?;
        self.allow_range(range);
        drop(window);
        if self.zones.caches.is_traced() {
            let (first, frames) = (range.start(), range.frames());
            self.machine.trace(&MemoryEvent::FramesAllocated { first, frames, owner: Owner::NONE.0 });
        }
        Ok(FrameRange::new(range, self.zones.brand))
    }

    /// Isolates the blocks of `range`, one lock visit for each.
    pub(crate) fn isolate_range(
        &self,
        pool: &'static Pool,
        range: PfnRange,
    ) -> Result<Window<'_, M>, AllocError> {
        let (first, end) = (pool.offset(range.start()) / 512, pool.offset(range.end()).div_ceil(512));
        let mut window = Window { frames: self, pool, blocks: first..first };
        for block in first..end {
            let guard = self.machine.irq_off();
            let mut held = pool.lock(guard.irq_off());
            if pool.info(block).state() == State::Absent {
                return Err(AllocError::BadRange(range));
            }
            held.isolate(block);
            window.blocks.end = block + 1;
        }
        Ok(window)
    }

    /// Takes the frames of `range`, one lock visit for each block: the blocks are isolated, so no CPU is given any of
    /// them in between. If a frame is not free after all, nothing has changed.
    pub(crate) fn claim_range(&self, pool: &Pool, range: PfnRange) -> Result<(), AllocError> {
        for part in pool.blocks_in(range) {
            let guard = self.machine.irq_off();
            let claimed = pool.lock(guard.irq_off()).claim(part);
            drop(guard);
            if let Err(in_use) = claimed {
                let before = PfnRange::new(range.start(), part.start())
                    .unwrap_or_else(|| impossible!("a part before its range" => PfnRange::default()));
                for part in pool.blocks_in(before) {
                    let guard = self.machine.irq_off();
                    pool.lock(guard.irq_off()).give_range(part);
                }
                return Err(AllocError::Unmovable(in_use));
            }
        }
        Ok(())
    }
}

/// The isolated blocks of a range. All are released in the end.
pub(crate) struct Window<'frames, M: Machine> {
    frames: &'frames Frames<M>,
    pool: &'static Pool,
    blocks: Range<usize>,
}

impl<M: Machine> Drop for Window<'_, M> {
    fn drop(&mut self) {
        self.blocks.clone().for_each(|block| self.frames.release_block(self.pool, block));
    }
}
