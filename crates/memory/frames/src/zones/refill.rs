//! From the pools to a request: the CPU's magazine, its refill, and the direct way for blocks that no cache holds.
//!
//! All of it runs with interrupts off, in pieces. A refill is one batch of one block, some 300 ns with warm lines.
//! Where the best blocks are nearly full, it is one batch from each of up to 16 blocks, so that a lock visit yields
//! more than a frame or two.

use rhumb_machine::{IrqOff, NodeId, Order};

use crate::cache::CpuCache;
use crate::handle::raw::Raw;
use crate::pool::{Pool, PoolGuard};
use crate::request::{AllocClass, Mobility, Preference, Request, Zone};
use crate::zones::{Effort, Zones, exchange};
use rhumb_sync::atomic::{IS_MODELLED, Relaxed};

/// Frames that a refill puts into a magazine at least, if the open block has them, so that fewer than one allocation in
/// a hundred waits for a refill.
const REFILL_FRAMES: u32 = if IS_MODELLED { 8 } else { 104 };

/// Frames that a refill leaves in a magazine at most: one short of the least, and a word.
pub(crate) const REFILL_MOST: u32 = REFILL_FRAMES - 1 + 64;
/// Blocks of which a refill takes frames at most.
const REFILL_BLOCKS: u32 = 16;
/// Frames from which on a refill goes to no further block.
const REFILL_ENOUGH: u32 = if IS_MODELLED { 8 } else { 24 };

/// The blocks to which frames may be moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// Partial blocks only: a compaction that takes a whole block gains nothing.
    Partial,
    /// Anywhere.
    Any,
}

impl Zones {
    /// Makes one attempt to serve `request` on a CPU of node `here`, without calling for help.
    pub(crate) fn attempt(
        &self,
        irq_off: IrqOff<'_>,
        here: NodeId,
        request: &Request,
        effort: Effort,
    ) -> Option<Raw> {
        let cache = self.cache(irq_off.cpu())?;
        let near = match request.node() {
            Preference::Any => here,
            Preference::Prefer(node) | Preference::Bind(node) => node,
        };
        // Frames past the direct map come first where they will do: they are in no cache.
        let cached = near == here && request.ceiling == Zone::Normal && !cache.gate.is_busy();
        if cached && let Some(raw) = self.serve_cached(irq_off, cache, near, request, effort) {
            return Some(raw);
        }
        if effort == Effort::Hard {
            cache.forget_caps();
        }
        self.pools_for(request, near).find_map(|pool| {
            let floor = floor(pool, request, effort);
            if !pool.may_have(request.order, floor) {
                return None;
            }
            let is_near = pool.node == here && pool.tag.0 & Raw::BYPASS == 0;
            let more = cached && is_near && effort == Effort::Easy;
            if more {
                self.keepers.join(irq_off.cpu());
            }
            take_with_more(&mut pool.lock(irq_off), request, floor, more.then_some(cache))
        })
    }

    /// Takes a movable block as the target of a move out of `pool`: from partial blocks of this pool, or from anywhere.
    pub(crate) fn take_target(
        &self,
        irq_off: IrqOff<'_>,
        pool: &Pool,
        order: Order,
        target: Target,
    ) -> Option<Raw> {
        let kind = Mobility::Movable;
        if let Some(pfn) = pool.lock(irq_off).take_partial(order, kind) {
            return Some(pool.tag.at(pfn, order, kind));
        }
        if target == Target::Partial {
            return None;
        }
        self.zonelist(pool.node.index(), pool.zone).find_map(|pool| {
            let floor = pool.marks.floor(pool.zone, AllocClass::Ordinary, pool.zone);
            if !pool.may_have(order, floor) {
                return None;
            }
            take(&mut pool.lock(irq_off), order, kind, floor)
        })
    }

    fn pools_for(&self, request: &Request, near: NodeId) -> impl Iterator<Item = &'static Pool> + use<'_> {
        let is_bound = matches!(request.node(), Preference::Bind(_));
        let lists = if is_bound { self.own_lists } else { self.zonelists };
        self.listed(lists, near.index(), request.ceiling)
    }

    /// Serves from the CPU's cache, which is refilled for order 0.
    fn serve_cached(
        &self,
        irq_off: IrqOff<'_>,
        cache: &CpuCache,
        near: NodeId,
        request: &Request,
        effort: Effort,
    ) -> Option<Raw> {
        let kind = request.kind as usize;
        // A magazine may hold frames of other nodes: a request that names a node looks first.
        let fits = |newest: Raw| request.node() == Preference::Any || newest.node_index() == near.index();
        if request.order != Order::BASE {
            return match cache.runs(request.order, kind)?.peek() {
                Some(newest) if !fits(newest) => None,
                // Runs on their way home are of this node.
                _ => cache.pop_run(request.order, kind, |raw| self.free_around(raw)),
            };
        }
        let ring = &cache.small[kind];
        if ring.len() == 0 && (effort == Effort::Easy || cache.open[kind].frames() > 0) {
            self.refill(irq_off, cache, near, request);
        }
        if fits(ring.peek()?) { ring.pop() } else { None }
    }

    /// Returns how many frames are free in the block of a run, as far as the pool knows: a hint.
    pub(crate) fn free_around(&self, raw: Raw) -> u32 {
        let pool = self.pool_of(raw.pfn());
        pool.map_or(0, |pool| pool.info(pool.offset(raw.pfn()) / 512).free())
    }

    /// Fills an empty magazine from the open block, and where that is empty, from the best blocks in reach.
    fn refill(&self, irq_off: IrqOff<'_>, cache: &CpuCache, near: NodeId, request: &Request) {
        let (kind, open) = (request.kind, &cache.open[request.kind as usize]);
        if open.frames() == 0 {
            for pool in self.pools_for(request, near) {
                let floor = pool.cache_floor();
                if pool.tag.0 & Raw::BYPASS != 0 || !pool.may_have(Order::BASE, floor) {
                    continue;
                }
                let most = self.batch_frames(pool);
                if open_best(&mut pool.lock(irq_off), cache, kind, most, floor) {
                    break;
                }
            }
        }
        let ring = &cache.small[kind as usize];
        if ring.len() > 0 || open.frames() > 0 {
            self.keepers.join(irq_off.cpu());
        }
        while ring.len() < REFILL_FRAMES
            && let Some((first, word)) = open.take_word()
        {
            ring.push_word(first, word);
        }
    }

    /// Returns how many frames a CPU may take from `pool` at once: fewer where the pool is short.
    fn batch_frames(&self, pool: &Pool) -> u32 {
        let most = self.batch_limit.load(Relaxed);
        if pool.free_frames() < pool.marks.high() { (most / 16).max(1) } else { most }
    }
}

/// Takes up to `most` frames of the best block into the open block. Frames of blocks that are nearly full go straight
/// into the magazine, which is empty, and the next block is taken, as long as there is another partial one. Says
/// whether there were any.
fn open_best(held: &mut PoolGuard<'_>, cache: &CpuCache, kind: Mobility, most: u32, floor: u64) -> bool {
    let (ring, open) = (&cache.small[kind as usize], &cache.open[kind as usize]);
    for blocks in 1..=REFILL_BLOCKS {
        let Some(batch) = held.take_batch(kind, most - ring.len(), floor) else { break };
        let first = held.pool.tag.at(batch.start, Order::BASE, kind);
        let is_enough = ring.len() + batch.frames as u32 >= REFILL_ENOUGH.min(most);
        if is_enough || blocks == REFILL_BLOCKS || !held.has_partial(kind) {
            open.open(first, &batch);
            return true;
        }
        batch.for_each_word(first, |first, word| ring.push_word(first, word));
    }
    ring.len() > 0
}

fn floor(pool: &Pool, request: &Request, effort: Effort) -> u64 {
    let floor = pool.marks.floor(pool.zone, request.class, request.ceiling);
    match effort {
        Effort::Easy => floor.max(pool.marks.low()),
        Effort::Hard => floor,
    }
}

/// Takes a block of any order from the pool.
fn take(held: &mut PoolGuard<'_>, order: Order, kind: Mobility, floor: u64) -> Option<Raw> {
    if order >= Order::LARGE {
        let pfn = held.take_blocks(order, kind, floor)?;
        return Some(held.pool.tag.at(pfn, order, kind));
    }
    let mut run = None;
    held.take_runs(order, kind, floor, 1, |pfn| run = Some(pfn))?;
    Some(held.pool.tag.at(run?, order, kind))
}

/// Takes a block as [`take`] does. With orders 1 to 9, the visit is an [exchange](crate::zones::exchange) with `cache`.
fn take_with_more(
    held: &mut PoolGuard<'_>,
    request: &Request,
    floor: u64,
    cache: Option<&CpuCache>,
) -> Option<Raw> {
    let (order, kind) = (request.order, request.kind);
    let is_exchanged = order > Order::BASE && order <= Order::LARGE;
    match cache.filter(|_| is_exchanged) {
        Some(cache) => {
            cache.note_miss(order, kind);
            exchange::exchange(held, cache, kind, |held| take(held, order, kind, floor))
        }
        None => take(held, order, kind, floor),
    }
}
