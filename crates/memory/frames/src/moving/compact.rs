//! Compaction: empties partial blocks into fuller ones, so that blocks become whole.

use core::iter::successors;

use rhumb_machine::{Machine, NodeId, Order, PfnRange, Pinned};

use crate::frames::Frames;
use crate::handle::frame::frames_from;
use crate::moving::relocate::Relocate;
use crate::pool::block::bin;
use crate::pool::words::FRAMES;
use crate::pool::{Pool, PoolGuard};
use crate::request::{AllocClass, Mobility, Zone};
use crate::zones::refill::Target;
use rhumb_sync::atomic::Relaxed;

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
    /// For any request: all memory.
    Anything,
    /// For ordinary requests up to this zone. Zones that are at their watermark, or guarded from such requests, would not
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

/// Blocks of a pool that may lie at its edges.
const EDGES: usize = 2;

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
    /// while another compaction runs; where nothing is worth it, looks at the node's own pools, asks no CPU to drain and
    /// takes no lock.
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
        let here = || self.zones.pools_of(node, goal.ceiling()).filter(|pool| goal.is_served_by(pool));
        if !here().any(may_be_emptied) {
            return done;
        }
        self.request_drain(pinned);
        let mut budget = budget_frames;
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
            if is_stuck {
                stuck += 1;
            } else {
                emptied += 1;
                pool.turn.store(bin::END, Relaxed);
                chain.release_newest();
            }
            *budget = budget.saturating_sub((*moved - before).max(Compaction::LEAST_COST));
        }
        (emptied, stuck)
    }

    /// Isolates the movable block that has the fewest frames in use, if few enough. After one that could not be
    /// emptied, it is one of the next bin, and after the last bin one of the first: otherwise the emptiest blocks, where
    /// each holds a frame that stays, would use up every budget, and no other block would ever be tried. The turn is
    /// kept from call to call, because a call's budget may be for one block alone.
    fn isolate_next(&self, pool: &Pool) -> Option<usize> {
        let guard = self.machine.irq_off();
        let mut held = pool.lock(guard.irq_off());
        let turn = pool.turn.load(Relaxed);
        let (block, place) = candidate(&held, turn).or_else(|| candidate(&held, bin::END))?;
        pool.turn.store(place, Relaxed);
        held.isolate(block);
        Some(block)
    }
}

/// Returns the first block to be emptied of the bins before `place`, and the place of its bin.
fn candidate(held: &PoolGuard<'_>, mut place: u32) -> Option<(usize, u32)> {
    // Each bin that has blocks at the edges alone sends the search on.
    for _ in 0..=EDGES {
        let bin = held.bins(Mobility::Movable).emptiest_before(0, place)?;
        place = bin.place();
        let blocks = successors(held.head(Mobility::Movable, bin), |&block| held.next(block));
        if let Some(block) = blocks.take(EDGES + 1).find(|&block| lies_within(held.pool, block)) {
            return is_worth_it(held.pool, block).then_some((block, place));
        }
    }
    None
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

/// Tells whether a pool may have a block that is worth emptying. Cost: a load for each of its bins' rows, no lock.
fn may_be_emptied(pool: &Pool) -> bool {
    let emptiest = pool.bins(Mobility::Movable).emptiest(0);
    emptiest.is_some_and(|bin| bin.most_free() >= FRAMES - MOST_USED)
}

/// Tells whether emptying the block, which is in a bin, is worth what it costs.
fn is_worth_it(pool: &Pool, block: usize) -> bool {
    FRAMES - pool.blocks[block].info().free() <= MOST_USED
}

/// Tells whether all of the block is the pool's: one of which a part lies outside can never be whole.
fn lies_within(pool: &Pool, block: usize) -> bool {
    PfnRange::of_length(pool.block_start(block), u64::from(FRAMES))
        .is_some_and(|range| pool.span.covers(range))
}
