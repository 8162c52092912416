//! [`Relocate`]: the interface of owners of movable frames, and the emptying of isolated blocks with their help.
//!
//! The allocator knows which frames are in use, not what is in them. Their owner does: it implements [`Relocate`], says
//! how far the block at a frame reaches, and moves content and mappings to another block when asked. No lock is held
//! while an owner works.

use rhumb_machine::{Machine, Order, Pfn, PfnRange, Pinned};

use crate::descriptor::DescriptorView;
use crate::error::AllocError;
use crate::frames::Frames;
use crate::handle::frame::{Anywhere, Frame, frames_from};
use crate::handle::raw::Raw;
use crate::pool::Pool;
use crate::pool::block::State;
use crate::pool::words;
use crate::request::Owner;
use crate::zones::refill::Target;

/// A block of frames as its owner allocated it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Its first frame.
    pub start: Pfn,
    /// Its order.
    pub order: Order,
}

/// The owner of movable memory.
///
/// # Safety
/// The allocator gives out again what an implementation says it has moved away. So [`Relocate::extent`] names only
/// blocks that this owner allocated and has not freed, with the order that they were allocated with; and after
/// [`Relocate::relocate`] has returned `Ok`, nothing uses `from`: no handle, no mapping, no device.
///
/// Safe code cannot promise that:
/// ```compile_fail,E0200
/// # use rhumb_frames::{Anywhere, Extent, Frame, Relocate};
/// # use rhumb_machine::{Pfn, Pinned};
/// struct Liar;
/// impl Relocate for Liar {
///     fn extent(&self, pfn: Pfn) -> Option<Extent> {
///         Some(Extent { start: pfn, order: rhumb_machine::Order::BASE })
///     }
///     fn relocate(&self, _: Pinned<'_>, _: Extent, _: Frame<Anywhere>) -> Result<(), Frame<Anywhere>> {
///         Ok(())
///     }
/// }
/// ```
pub unsafe trait Relocate {
    /// Returns the block that `pfn` is part of, if it is in use, is this owner's, and can be moved now.
    fn extent(&self, pfn: Pfn) -> Option<Extent>;

    /// Moves content and mappings from `from` to `to`, which is of the same order and the owner's from then on; `from`
    /// is the allocator's again, and nothing may lead to it any more on any CPU (invariant I6). The descriptor of `to`
    /// names the owner that the one of `from` names; its other words are for the owner to carry over.
    ///
    /// # Errors
    /// `to`, where `from` could not be moved; it stays the owner's.
    fn relocate(&self, pinned: Pinned<'_>, from: Extent, to: Frame<Anywhere>) -> Result<(), Frame<Anywhere>>;
}

/// For requests that may move nothing: each frame in use is in the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NothingMoves;

// SAFETY: it names no block.
unsafe impl Relocate for NothingMoves {
    fn extent(&self, _pfn: Pfn) -> Option<Extent> {
        None
    }

    fn relocate(&self, _: Pinned<'_>, _: Extent, to: Frame<Anywhere>) -> Result<(), Frame<Anywhere>> {
        Err(to)
    }
}

impl Extent {
    fn end(&self) -> Pfn {
        self.start.plus(self.order.frames())
    }

    fn frames(&self) -> PfnRange {
        frames_from(self.start, self.order)
    }
}

impl<M: Machine> Frames<M> {
    /// Moves everything that is in use in `range`, whose blocks are isolated. First looks whether all of it can be
    /// moved.
    pub(super) fn empty(
        &self,
        pinned: Pinned<'_>,
        pool: &Pool,
        range: PfnRange,
        relocate: &dyn Relocate,
        moved: &mut u64,
        target: Target,
    ) -> Result<(), AllocError> {
        let mut at = range.start();
        while let Some(pfn) = pool.next_in_use(at, range.end()) {
            at = movable_extent(pool, relocate, pfn)?.end();
        }
        let mut at = range.start();
        while let Some(pfn) = pool.next_in_use(at, range.end()) {
            let from = movable_extent(pool, relocate, pfn)?;
            self.move_extent(pinned, pool, from, relocate, target)?;
            *moved += from.order.frames();
            at = from.end();
        }
        Ok(())
    }

    fn move_extent(
        &self,
        pinned: Pinned<'_>,
        pool: &Pool,
        from: Extent,
        relocate: &dyn Relocate,
        target: Target,
    ) -> Result<(), AllocError> {
        let to = {
            let guard = self.machine.irq_off();
            self.zones.take_target(guard.irq_off(), pool, from.order, target)
        };
        let to = self.attribute(from, to.ok_or(AllocError::Exhausted(from.order))?);
        self.note_alloc_of(pinned, &to);
        self.allow(to.peek());
        if let Err(back) = relocate.relocate(pinned, from, to) {
            self.free(pinned, back);
            return Err(AllocError::Unmovable(from.start));
        }
        self.note_moved(pinned, from.start);
        self.forbid_range(from.frames());
        let guard = self.machine.irq_off();
        pool.lock(guard.irq_off()).give_block(from.start, from.order);
        Ok(())
    }

    /// Returns a handle to the destination, stamped with the owner of the source block.
    fn attribute(&self, from: Extent, to: Raw) -> Frame<Anywhere> {
        let owner = self.descriptor(from.start).map_or(Owner::NONE, DescriptorView::owner);
        if owner != Owner::NONE
            && let Some(descriptor) = self.described(to.pfn())
        {
            descriptor.stamp(owner, from.order);
            return Frame::from_raw(Raw(to.0 | Raw::OWNED));
        }
        Frame::from_raw(to)
    }

    pub(super) fn release_block(&self, pool: &Pool, block: usize) {
        let guard = self.machine.irq_off();
        pool.lock(guard.irq_off()).release(block);
    }
}

/// Returns the extent of a frame in use, if its owner can move it and it is what it can be.
fn movable_extent(pool: &Pool, relocate: &dyn Relocate, pfn: Pfn) -> Result<Extent, AllocError> {
    let extent = relocate.extent(pfn).ok_or(AllocError::Unmovable(pfn))?;
    let range = PfnRange::of_length(extent.start, extent.order.frames()).unwrap_or_default();
    let is_possible = range.contains(pfn)
        && pool.span.covers(range)
        && extent.start.get().is_multiple_of(extent.order.frames())
        && is_allocated(pool, extent);
    if is_possible { Ok(extent) } else { Err(AllocError::Unmovable(pfn)) }
}

/// Tells whether the pool knows of nothing that speaks against a block of this order being allocated here.
fn is_allocated(pool: &Pool, extent: Extent) -> bool {
    let head = pool.info(pool.offset(extent.start) / 512);
    if extent.order >= Order::LARGE {
        return head.state() == State::Large && head.order() == extent.order;
    }
    let at = pool.offset(extent.start) % 512;
    let wanted = words::mask_of(at, at + extent.order.frames() as usize);
    let bits = pool.bits(pool.offset(extent.start) / 512);
    head.state() == State::Partial && bits.iter().zip(wanted).all(|(bits, wanted)| bits & wanted == 0)
}
