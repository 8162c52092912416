//! From the pools to a request: the CPU's magazine, its refill, and the direct way for what no cache holds.
//!
//! All of it runs with interrupts off, in pieces of at most about 300 ns: a refill is one bite of one block.

use rhumb_machine::{IrqOff, Order};

use crate::cache::{CpuCache, RUNS, Ring};
use crate::depot::{Depot, Effort};
use crate::isolation::Target;
use crate::pool::{Held, Pool};
use crate::raw::{Raw, Reach};
use crate::request::{AllocClass, Mobility, Preference, Request, Zone};
use crate::sync::Relaxed;

/// Frames that a refill puts into a magazine at least, if the open block has them: fewer than one get in a hundred
/// waits for a refill.
const REFILL_FRAMES: u32 = if cfg!(feature = "model") { 8 } else { 104 };

impl Depot {
    /// One attempt to serve `request`, without calling anybody for help.
    pub(crate) fn attempt(
        &self,
        irq_off: IrqOff<'_>,
        request: &Request,
        reach: Reach,
        effort: Effort,
    ) -> Option<Raw> {
        let cpu = irq_off.cpu();
        let cache = self.cache(cpu, reach)?;
        let home = Raw(cache.home.load(Relaxed)).node_index();
        let near = match request.node() {
            Preference::Any => home,
            Preference::Prefer(node) | Preference::Bind(node) => node.index(),
        };
        let cached = near == home && request.ceiling >= Zone::Direct && !cache.is_busy();
        if cached && let Some(raw) = self.serve_cached(irq_off, cache, request, effort) {
            return Some(raw);
        }
        self.pools_for(request, near).find_map(|pool| {
            let floor = floor(pool, request, effort);
            let ring = cache.runs(request.order, request.kind as usize);
            let ring = ring.filter(|_| cached && pool.node.index() == home && pool.zone != Zone::Dma);
            take_with_more(&mut pool.lock(irq_off), request, floor, ring)
        })
    }

    /// A movable block for what is moved out of `pool`: from broken blocks of this pool, or from anywhere.
    pub(crate) fn take_target(
        &self,
        irq_off: IrqOff<'_>,
        pool: &Pool,
        order: Order,
        target: Target,
    ) -> Option<Raw> {
        let kind = Mobility::Movable;
        if let Some(pfn) = pool.lock(irq_off).take_broken(order, kind) {
            return Some(pool.tag.at(pfn, order, kind));
        }
        if target == Target::Broken {
            return None;
        }
        self.zonelist(pool.node.index(), pool.zone).find_map(|pool| {
            take(
                &mut pool.lock(irq_off),
                order,
                kind,
                pool.marks.floor(pool.zone, AllocClass::Normal, pool.zone),
            )
        })
    }

    fn pools_for(&self, request: &Request, near: usize) -> impl Iterator<Item = &'static Pool> + '_ {
        let bound = match request.node() {
            Preference::Bind(node) => Some(node),
            _ => None,
        };
        self.zonelist(near, request.ceiling).filter(move |pool| bound.is_none_or(|node| pool.node == node))
    }

    /// Serves from the CPU's cache, which is refilled for order 0.
    fn serve_cached(
        &self,
        irq_off: IrqOff<'_>,
        cache: &CpuCache,
        request: &Request,
        effort: Effort,
    ) -> Option<Raw> {
        let kind = request.kind as usize;
        if request.order != Order::BASE {
            return cache.runs(request.order, kind)?.pop();
        }
        let ring = &cache.small[kind];
        if ring.len() == 0 {
            self.refill(irq_off, cache, request, effort);
        }
        // This magazine may hold frames of other nodes: a request that names a node looks first.
        let newest = ring.peek()?;
        let fits =
            request.node() == Preference::Any || (newest.0 ^ cache.home.load(Relaxed)) & Raw::NODE == 0;
        if fits { ring.pop() } else { None }
    }

    /// Fills an empty magazine from the open block, which is first filled by a bite of the best block in reach.
    fn refill(&self, irq_off: IrqOff<'_>, cache: &CpuCache, request: &Request, effort: Effort) {
        let (kind, open) = (request.kind, &cache.open[request.kind as usize]);
        if open.frames() == 0 {
            let near = Raw(cache.home.load(Relaxed)).node_index();
            for pool in self.pools_for(request, near) {
                if pool.zone == Zone::Dma {
                    continue;
                }
                let floor = floor(pool, request, effort);
                let most = self.bite_frames(pool);
                let bite = pool.lock(irq_off).take_bite(kind, most, floor);
                if let Some(bite) = bite {
                    open.open(pool.tag.at(bite.start, Order::BASE, kind), &bite);
                    break;
                }
            }
        }
        let ring = &cache.small[kind as usize];
        while ring.len() < REFILL_FRAMES
            && let Some((first, word)) = open.take_word()
        {
            ring.push_word(first, word);
        }
    }

    /// Frames that a CPU may take from `pool` at once: fewer where the pool is short.
    fn bite_frames(&self, pool: &Pool) -> u32 {
        let most = self.bite_limit.load(Relaxed);
        if pool.free_frames() < pool.marks.high() { (most / 16).max(1) } else { most }
    }
}

fn floor(pool: &Pool, request: &Request, effort: Effort) -> u64 {
    let floor = pool.marks.floor(pool.zone, request.class, request.ceiling);
    match effort {
        Effort::Easy => floor.max(pool.marks.low()),
        Effort::Hard => floor,
    }
}

/// Takes a block of any order from the pool.
fn take(held: &mut Held<'_>, order: Order, kind: Mobility, floor: u64) -> Option<Raw> {
    if order >= Order::LARGE {
        let pfn = held.take_blocks(order, kind, floor)?;
        return Some(held.pool.tag.at(pfn, order, kind));
    }
    let mut run = None;
    held.take_runs(order, kind, floor, 1, |pfn| run = Some(pfn))?;
    Some(held.pool.tag.at(run?, order, kind))
}

/// As [`take`], and fills an empty magazine with a few more runs of the same block.
fn take_with_more(
    held: &mut Held<'_>,
    request: &Request,
    floor: u64,
    ring: Option<&Ring<RUNS>>,
) -> Option<Raw> {
    let (order, kind) = (request.order, request.kind);
    let Some(ring) = ring.filter(|ring| order < Order::LARGE && ring.len() == 0) else {
        return take(held, order, kind, floor);
    };
    let more = ring.limit.load(Relaxed).min(RUNS as u32) / 2;
    let (tag, mut first) = (held.pool.tag, None);
    held.take_runs(order, kind, floor, 1 + u64::from(more), |pfn| {
        let raw = tag.at(pfn, order, kind);
        match first {
            None => first = Some(raw),
            Some(_) => ring.put(raw),
        }
    })?;
    first
}
