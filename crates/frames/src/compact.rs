//! Moving what can be moved, so that whole blocks come together: compaction, and allocation of any contiguous range.
//!
//! The allocator knows which frames are in use, not what is in them. Their owner does: it implements [`Relocate`], says
//! how far the block at a frame reaches, and moves content and mappings to another block when asked.
//!
//! A 2-MiB block is emptied like this: it is *isolated* first (its free frames stay where they are, but nobody is given
//! one); then each block of frames in it is moved to one that is allocated elsewhere; at the end the whole block is
//! either allocated ([`Frames::alloc_range`]) or given back as one. If a frame cannot be moved, what was moved stays
//! moved, and no frame is lost. No lock is held while an owner works.
//!
//! One compaction or contiguous allocation runs at a time: isolation belongs to it.

use rhumb_machine::{Machine, NodeId, Order, Pfn, PfnRange, Pinned};

use crate::block::State;
use crate::descriptor::DescriptorView;
use crate::error::AllocError;
use crate::frame::{Anywhere, Frame, FrameRange};
use crate::frames::Frames;
use crate::isolation::Target;
use crate::pool::Pool;
use crate::raw::Raw;
use crate::request::{AllocClass, Mobility, Owner, Request, Zone};
use crate::words::FRAMES;

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
    /// The block that `pfn` is part of, if it is in use, is this owner's, and can be moved now.
    fn extent(&self, pfn: Pfn) -> Option<Extent>;

    /// Moves content and mappings from `from` to `to`, which is of the same order and the owner's from then on; `from`
    /// is the allocator's again, and nothing may lead to it any more on any CPU (invariant I6). The descriptor of `to`
    /// names the owner whom that of `from` names; its other words are for the owner to carry over.
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

/// What a compaction did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Compaction {
    /// 2-MiB blocks that became whole.
    pub blocks: u64,
    /// Frames that were moved.
    pub moved: u64,
    /// Blocks that could not be emptied, at the last try.
    pub stuck: u64,
}

/// What whole blocks are wanted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Goal {
    /// For anybody: all memory.
    Anything,
    /// For normal requests up to this zone. Zones that are at their watermark, or guarded from such requests, would not
    /// give them a block if they had one: they are left alone.
    Requests(Zone),
}

impl Goal {
    const fn ceiling(self) -> Zone {
        match self {
            Self::Anything => Zone::High,
            Self::Requests(ceiling) => ceiling,
        }
    }

    fn is_served_by(self, pool: &Pool) -> bool {
        match self {
            Self::Anything => true,
            Self::Requests(ceiling) => {
                let floor = pool.marks.floor(pool.zone, AllocClass::Normal, ceiling);
                pool.free_frames() >= floor + Order::LARGE.frames()
            }
        }
    }
}

/// A block is worth emptying while at most this many of its frames are in use: moving costs a copy of each.
const MOST_USED: u32 = FRAMES * 7 / 8;

impl<M: Machine> Frames<M> {
    /// Empties broken movable blocks of `node`, emptiest first, into fuller ones, until `budget_frames` frames were
    /// moved or nothing is left that is worth it. Zones are taken in the order in which requests are served from them.
    /// Runs to its end on this CPU: the budget is the bound on its time. Does nothing while another compaction runs.
    pub fn compact(
        &self,
        pinned: Pinned<'_>,
        node: NodeId,
        goal: Goal,
        relocate: &dyn Relocate,
        budget_frames: u64,
    ) -> Compaction {
        let mut done = Compaction::default();
        let Some(_turn) = self.isolation.take() else { return done };
        self.drain(pinned);
        self.request_drain(pinned);
        let here = self.depot.zonelist(node.index(), goal.ceiling()).filter(|pool| pool.node == node);
        for pool in here.filter(|pool| goal.is_served_by(pool)) {
            // What one pass could not move may find room in what its last blocks left.
            loop {
                let (emptied, stuck) =
                    self.compact_once(pinned, pool, relocate, budget_frames, &mut done.moved);
                done.blocks += emptied;
                if emptied == 0 || stuck == 0 {
                    done.stuck += stuck;
                    break;
                }
            }
        }
        done
    }

    /// Tries each block of `pool` that is worth it once: how many became whole, and how many did not.
    fn compact_once(
        &self,
        pinned: Pinned<'_>,
        pool: &Pool,
        relocate: &dyn Relocate,
        budget_frames: u64,
        moved: &mut u64,
    ) -> (u64, u64) {
        let (mut emptied, mut stuck) = (0, 0);
        while *moved < budget_frames
            && let Some(block) = self.isolate_emptiest(pool)
        {
            let start = pool.block_start(block);
            let range = PfnRange::of_length(start, u64::from(FRAMES)).unwrap_or_default();
            if self.empty(pinned, pool, range, relocate, moved, Target::Broken).is_ok() {
                emptied += 1;
                self.release_block(pool, block);
            } else {
                // It stays isolated until the end, so that each block is tried once.
                stuck += 1;
            }
        }
        (0..pool.blocks.len()).for_each(|block| self.release_block(pool, block));
        (emptied, stuck)
    }

    /// Isolates the movable block that has the fewest frames in use, if few enough.
    fn isolate_emptiest(&self, pool: &Pool) -> Option<usize> {
        let guard = self.machine.irq_off();
        let mut held = pool.lock(guard.irq_off());
        let bin = held.emptiest(Mobility::Movable, 0)?;
        let block = held.head(Mobility::Movable, bin)?;
        if FRAMES - pool.blocks[block].info().free() > MOST_USED {
            return None;
        }
        held.isolate(block);
        Some(block)
    }

    fn release_block(&self, pool: &Pool, block: usize) {
        if pool.blocks[block].info().is_isolated() {
            let guard = self.machine.irq_off();
            pool.lock(guard.irq_off()).release(block);
        }
    }

    /// Moves everything that is in use in `range`, whose blocks are isolated. First looks whether all of it can be
    /// moved.
    fn empty(
        &self,
        pinned: Pinned<'_>,
        pool: &Pool,
        range: PfnRange,
        relocate: &dyn Relocate,
        moved: &mut u64,
        target: Target,
    ) -> Result<(), AllocError> {
        let mut at = range.start();
        while let Some(pfn) = next_in_use(pool, at, range.end()) {
            at = movable_extent(pool, relocate, pfn)?.end();
        }
        let mut at = range.start();
        while let Some(pfn) = next_in_use(pool, at, range.end()) {
            let from = movable_extent(pool, relocate, pfn)?;
            self.move_extent(pinned, pool, from, relocate, (target, range))?;
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
        (target, range): (Target, PfnRange),
    ) -> Result<(), AllocError> {
        let to = {
            let guard = self.machine.irq_off();
            self.depot.take_target(guard.irq_off(), pool, from.order, target)
        };
        let to = self.attribute(from, to.ok_or(AllocError::Exhausted(from.order))?);
        self.note_alloc_of(pinned, &to);
        self.allow(to.peek());
        if let Err(back) = relocate.relocate(pinned, from, to) {
            self.free(pinned, back);
            return Err(AllocError::Unmovable(from.start));
        }
        self.note_moved(pinned, from.start);
        self.forbid_range(PfnRange::of_length(from.start, from.order.frames()).unwrap_or_default());
        let guard = self.machine.irq_off();
        let mut held = pool.lock(guard.irq_off());
        if from.order < Order::LARGE {
            held.give_run(from.start, from.order);
        } else {
            held.give_isolated(from.start, from.order, range);
        }
        Ok(())
    }

    /// The handle of what is moved to: held by whom the block was held by that is moved.
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

    /// Exactly the frames of `range`, which lie in one zone of one node; what is in the way is moved.
    ///
    /// # Errors
    /// The range is no memory or not in one zone; a frame in it cannot be moved (it is named); there is no room for
    /// what would be moved; or a compaction is running.
    pub fn alloc_range(
        &self,
        pinned: Pinned<'_>,
        range: PfnRange,
        relocate: &dyn Relocate,
    ) -> Result<FrameRange, AllocError> {
        let Some(_turn) = self.isolation.take() else { return Err(AllocError::Busy) };
        let pool =
            self.depot.pool_of(range.start()).filter(|pool| pool.span.covers(range) && !range.is_empty());
        let pool = pool.ok_or(AllocError::BadRange(range))?;
        self.drain(pinned);
        self.request_drain(pinned);
        self.claim_range(pinned, pool, range, relocate)
    }

    fn claim_range(
        &self,
        pinned: Pinned<'_>,
        pool: &Pool,
        range: PfnRange,
        relocate: &dyn Relocate,
    ) -> Result<FrameRange, AllocError> {
        let blocks = pool.offset(range.start()) / 512..pool.offset(range.end()).div_ceil(512);
        let isolate = |block: usize| {
            let guard = self.machine.irq_off();
            let mut held = pool.lock(guard.irq_off());
            match pool.blocks[block].info().state() {
                State::Absent => return Err(AllocError::BadRange(range)),
                State::Large => {}
                State::Whole | State::Split => held.isolate(block),
            }
            Ok(())
        };
        let emptied = blocks
            .clone()
            .try_for_each(isolate)
            .and_then(|()| self.empty(pinned, pool, range, relocate, &mut 0, Target::Any));
        if emptied.is_ok() {
            let guard = self.machine.irq_off();
            pool.lock(guard.irq_off()).claim_range(range);
            self.allow_range(range);
        }
        blocks.for_each(|block| self.release_block(pool, block));
        emptied.map(|()| FrameRange::new(range))
    }

    /// `frames` frames in a row, starting at a multiple of 2^`align` frames, in the direct map: from free memory if
    /// there is such a run, else by moving what is in the way.
    ///
    /// # Errors
    /// There is no such run and none can be made; or `frames` is 0.
    pub fn alloc_contig(
        &self,
        pinned: Pinned<'_>,
        frames: u64,
        align: Order,
        relocate: &dyn Relocate,
    ) -> Result<FrameRange, AllocError> {
        let wanted = PfnRange::of_length(Pfn::new(0), frames).filter(|range| !range.is_empty());
        let wanted = wanted.ok_or(AllocError::BadRange(PfnRange::default()))?;
        if let Some(order) = Order::holding(frames)
            && let Ok(block) = self.alloc(pinned, Request::new(order.max(align)))
        {
            return Ok(self.trim(block, frames));
        }
        let Some(_turn) = self.isolation.take() else { return Err(AllocError::Busy) };
        self.drain(pinned);
        self.request_drain(pinned);
        let pools = self.depot.pools.iter().filter(|pool| pool.zone <= Zone::Direct);
        for pool in pools {
            let mut at = pool.span.start().get().next_multiple_of(align.frames());
            while let Some(range) =
                PfnRange::of_length(Pfn::new(at), frames).filter(|&range| pool.span.covers(range))
            {
                match self.claim_range(pinned, pool, range, relocate) {
                    Ok(range) => return Ok(range),
                    // The next window begins behind what is in the way.
                    Err(AllocError::Unmovable(pfn)) => at = (pfn.get() + 1).next_multiple_of(align.frames()),
                    Err(AllocError::Exhausted(order)) => return Err(AllocError::Exhausted(order)),
                    Err(_) => at += align.frames().max(u64::from(FRAMES)),
                }
            }
        }
        Err(AllocError::NoRun(wanted.frames()))
    }

    /// Keeps the first `frames` frames of a block and frees the others.
    fn trim(&self, block: Frame, frames: u64) -> FrameRange {
        let (raw, all) = (block.into_raw(), PfnRange::of_length);
        let range = all(raw.pfn(), frames).unwrap_or_default();
        let rest = all(range.end(), raw.order().frames() - frames).unwrap_or_default();
        if let Some(pool) = self.depot.pools.get(raw.pool()) {
            let guard = self.machine.irq_off();
            let mut held = pool.lock(guard.irq_off());
            if raw.order() >= Order::LARGE {
                held.break_blocks(raw.pfn(), raw.order());
            }
            self.forbid_range(rest);
            held.give_range(rest);
        }
        FrameRange::new(range)
    }
}

impl Extent {
    fn end(&self) -> Pfn {
        self.start.plus(self.order.frames())
    }
}

/// The first frame in `from..end` that is not free.
fn next_in_use(pool: &Pool, from: Pfn, end: Pfn) -> Option<Pfn> {
    (from.get()..end.get()).map(Pfn::new).find(|&pfn| !pool.is_free(pfn))
}

/// The extent of a frame in use, if its owner can move it and it is what it can be.
fn movable_extent(pool: &Pool, relocate: &dyn Relocate, pfn: Pfn) -> Result<Extent, AllocError> {
    let extent = relocate.extent(pfn).ok_or(AllocError::Unmovable(pfn))?;
    let range = PfnRange::of_length(extent.start, extent.order.frames()).unwrap_or_default();
    let info = pool.blocks[pool.offset(pfn) / 512].info();
    let sound = range.contains(pfn)
        && pool.span.covers(range)
        && extent.start.get().is_multiple_of(extent.order.frames())
        && (extent.order >= Order::LARGE) == (info.state() == State::Large);
    if sound { Ok(extent) } else { Err(AllocError::Unmovable(pfn)) }
}
