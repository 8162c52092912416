//! Moving what can be moved, so that whole blocks come together: compaction, and allocation of any contiguous range.
//!
//! The allocator knows which frames are in use, not what is in them. Their owner does: it implements [`Relocate`], says
//! how far the block at a frame reaches, and moves content and mappings to another block when asked.
//!
//! A 2-MiB block is emptied like this: it is *isolated* first, so that no CPU is given what of it is free or becomes
//! free; that holds for parts of larger allocated blocks, too. Then each block of frames in it is moved to one that is
//! allocated elsewhere; at the end the whole block is either allocated ([`Frames::alloc_range`]) or given back as one.
//! If a frame cannot be moved, what was moved stays moved, and no frame is lost. No lock is held while an owner works,
//! and an owner that panics leaves no block isolated.
//!
//! One compaction or allocation of a range runs at a time: isolation belongs to it. Each hold of a pool's lock concerns
//! one block of 2 MiB: it is chosen and isolated, claimed, given back or released. The choice looks at 64 blocks at
//! most. So the whole takes as long as the budget or the range says, and interrupts are off for some microseconds at a
//! time.

use core::ops::Range;

use rhumb_machine::{Machine, NodeId, Order, Pfn, PfnRange, Pinned, impossible};

use crate::descriptor::DescriptorView;
use crate::error::AllocError;
use crate::frames::Frames;
use crate::handle::frame::{Anywhere, Frame, FrameRange, frames_from};
use crate::handle::raw::Raw;
use crate::pool::Pool;
use crate::pool::block::State;
use crate::pool::words::{self, FRAMES};
use crate::request::{AllocClass, Mobility, Owner, Zone};
use crate::zones::drain::give;
use crate::zones::refill::Target;
use rhumb_sync::atomic::Relaxed;

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

/// The result of a compaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Compaction {
    /// 2-MiB blocks that became whole.
    pub blocks: u64,
    /// Frames that were moved.
    pub moved: u64,
    /// Blocks that could not be emptied, at the last try.
    pub stuck: u64,
}

/// The purpose of whole blocks.
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
                let floor = pool.marks.floor(pool.zone, AllocClass::Ordinary, ceiling);
                pool.free_frames() >= floor + Order::LARGE.frames()
            }
        }
    }
}

/// A block is worth emptying while at most this many of its frames are in use: moving costs a copy of each.
const MOST_USED: u32 = FRAMES * 7 / 8;

/// Blocks that are looked at, at most, for the one whose turn it is.
const TURN_BLOCKS: usize = 64;

impl Compaction {
    /// The frames of a budget that a look at a block takes at least: the search for what is in use in it, and a
    /// question to the owner for each find.
    pub const LEAST_COST: u64 = 16;
}

impl<M: Machine> Frames<M> {
    /// Empties partial movable blocks of `node`, emptiest first, into fuller ones, until `budget_frames` frames were
    /// moved or nothing is left that is worth it. A block costs at least [`Compaction::LEAST_COST`] frames of the
    /// budget, also one that cannot be emptied: the budget bounds the time, whatever the size of memory. After one that
    /// cannot be emptied, blocks take turns, also from one call to the next, so that those which cannot be emptied do
    /// not use up each budget. Pools are taken in the order in which requests are served from them; a call that spent
    /// its budget in one of them on blocks that cannot be emptied lets the next call begin at the next. Does nothing
    /// while another compaction runs.
    pub fn compact(
        &self,
        pinned: Pinned<'_>,
        node: NodeId,
        goal: Goal,
        relocate: &dyn Relocate,
        budget_frames: u64,
    ) -> Compaction {
        let mut done = Compaction::default();
        let Some(turn) = self.isolation.take() else { return done };
        self.drain(pinned);
        self.request_drain(pinned);
        let mut budget = budget_frames;
        let here = || {
            let all = self.zones.zonelist(node.index(), goal.ceiling());
            all.filter(|pool| pool.node == node && goal.is_served_by(pool))
        };
        let first = turn.first(node) % here().count().max(1);
        for (index, pool) in here().enumerate().skip(first).chain(here().enumerate().take(first)) {
            // Frames that one pass could not move may find room in the blocks that its last moves left.
            loop {
                let (emptied, stuck) =
                    self.compact_once(pinned, pool, relocate, &mut budget, &mut done.moved);
                done.blocks += emptied;
                if emptied == 0 || stuck == 0 {
                    done.stuck += stuck;
                    break;
                }
            }
            if budget == 0 {
                // Where all of it went into blocks that cannot be emptied, the next call begins at the next pool.
                turn.set_first(node, if done.blocks == 0 { index + 1 } else { index });
                return done;
            }
        }
        turn.set_first(node, 0);
        done
    }

    /// Tries each block of `pool` that is worth it once: how many became whole, and how many did not.
    fn compact_once(
        &self,
        pinned: Pinned<'_>,
        pool: &'static Pool,
        relocate: &dyn Relocate,
        budget: &mut u64,
        moved: &mut u64,
    ) -> (u64, u64) {
        let (mut emptied, mut stuck) = (0, 0);
        // A block that cannot be emptied stays in the chain until the end, so that each is tried once.
        let mut chain = Chain { frames: self, pool, first: None };
        while *budget > 0
            && let Some(block) = self.isolate_next(pool)
        {
            chain.push(block);
            let range = frames_from(pool.block_start(block), Order::LARGE);
            let before = *moved;
            let is_stuck = self.empty(pinned, pool, range, relocate, moved, Target::Partial).is_err();
            // Kept from call to call, because a call's budget may be for one block alone.
            pool.is_stuck.store(is_stuck, Relaxed);
            if is_stuck {
                stuck += 1;
            } else {
                emptied += 1;
                chain.release_newest();
            }
            *budget = budget.saturating_sub((*moved - before).max(Compaction::LEAST_COST));
        }
        (emptied, stuck)
    }

    /// Isolates the movable block that has the fewest frames in use, if few enough. After one that could not be
    /// emptied, it is the block whose turn it is: otherwise the emptiest blocks, where each holds a frame that stays,
    /// would use up every budget, and no other block would ever be tried.
    fn isolate_next(&self, pool: &Pool) -> Option<usize> {
        let guard = self.machine.irq_off();
        let mut held = pool.lock(guard.irq_off());
        let emptiest = held.emptiest(Mobility::Movable, 0);
        let block = held.head(Mobility::Movable, emptiest?).filter(|&block| is_worth_it(pool, block))?;
        let is_edge = !lies_within(pool, block);
        let will_do = |block| is_worth_it(pool, block) && lies_within(pool, block);
        let takes_turns = is_edge || pool.is_stuck.load(Relaxed);
        let in_turn = takes_turns.then(|| held.in_turn(TURN_BLOCKS, will_do)).flatten();
        let block = in_turn.or((!is_edge).then_some(block))?;
        held.isolate(block);
        Some(block)
    }

    fn release_block(&self, pool: &Pool, block: usize) {
        let guard = self.machine.irq_off();
        pool.lock(guard.irq_off()).release(block);
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
        give(&mut pool.lock(guard.irq_off()), from.start, from.order);
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

    /// Allocates exactly the frames of `range`, which lie in one zone of one node, after moving what is in the way.
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
            self.zones.pool_of(range.start()).filter(|pool| pool.span.covers(range) && !range.is_empty());
        let pool = pool.ok_or(AllocError::BadRange(range))?;
        self.drain(pinned);
        self.request_drain(pinned);
        let window = self.isolate_range(pool, range)?;
        self.empty(pinned, pool, range, relocate, &mut 0, Target::Any)?;
        self.claim_range(pool, range)?;
        self.allow_range(range);
        drop(window);
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
            if pool.blocks[block].info().state() == State::Absent {
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

/// Isolated blocks, linked through their records, which no bin uses meanwhile. All are released in the end.
struct Chain<'frames, M: Machine> {
    frames: &'frames Frames<M>,
    pool: &'static Pool,
    first: Option<usize>,
}

impl<M: Machine> Chain<'_, M> {
    fn push(&mut self, block: usize) {
        self.pool.blocks[block].next.store(self.first.map_or(0, |first| first as u32 + 1), Relaxed);
        self.first = Some(block);
    }

    fn release_newest(&mut self) {
        if let Some(block) = self.first {
            self.first = (self.pool.blocks[block].next.load(Relaxed) as usize).checked_sub(1);
            self.frames.release_block(self.pool, block);
        }
    }
}

impl<M: Machine> Drop for Chain<'_, M> {
    fn drop(&mut self) {
        while self.first.is_some() {
            self.release_newest();
        }
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

/// Tells whether emptying the block is worth what it costs.
fn is_worth_it(pool: &Pool, block: usize) -> bool {
    let info = pool.blocks[block].info();
    let is_partial =
        info.state() == State::Partial && info.kind() == Mobility::Movable && !info.is_isolated();
    is_partial && FRAMES - info.free() <= MOST_USED
}

/// Tells whether all of the block is the pool's: one of which a part lies outside can never be whole.
fn lies_within(pool: &Pool, block: usize) -> bool {
    PfnRange::of_length(pool.block_start(block), u64::from(FRAMES))
        .is_some_and(|range| pool.span.covers(range))
}

impl Extent {
    fn end(&self) -> Pfn {
        self.start.plus(self.order.frames())
    }

    fn frames(&self) -> PfnRange {
        frames_from(self.start, self.order)
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
    let head = pool.blocks[pool.offset(extent.start) / 512].info();
    if extent.order >= Order::LARGE {
        return head.state() == State::Large && head.order() == extent.order;
    }
    let at = pool.offset(extent.start) % 512;
    let wanted = words::mask_of(at, at + extent.order.frames() as usize);
    let bits = pool.bits(pool.offset(extent.start) / 512);
    head.state() == State::Partial && bits.iter().zip(wanted).all(|(bits, wanted)| bits & wanted == 0)
}
