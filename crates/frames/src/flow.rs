//! Between a CPU's cache and the pools: refill, drain, and the direct way for what no cache holds.
//!
//! All of it runs with interrupts off, in pieces of at most about 300 ns: a refill is one bite of one block, a drain one
//! batch. A batch is taken from the magazine's old end in the order in which the frames came, so that neighbours that
//! were freed together go back together, a word at a time; their cache lines are asked for before the lock is taken.

use rhumb_machine::{CpuId, IrqOff, Order};

use crate::cache::{AWAY, CpuCache, RUNS, Ring};
use crate::compact::Target;
use crate::depot::{Depot, Effort, Reach};
use crate::frame::Raw;
use crate::pool::{Held, Pool};
use crate::request::{AllocClass, Mobility, Preference, Request, Zone};
use crate::sync::{Ordering, Relaxed, fence};

/// Frames that one lock visit gives back at most, and distinct words among them: together under about 300 ns.
const BATCH_FRAMES: u32 = 128;
const BATCH_WORDS: usize = 24;

/// Frames that a magazine of orders 1 to 8 holds at most. All of them together are less than two blocks.
const RUN_FRAMES: u32 = 128;
/// Frames that a magazine of order 9 holds at most: 8 blocks.
const LARGE_FRAMES: u32 = 4096;
/// Frames that a magazine holds at most while memory is loose ([`Pool::is_loose`]). Of a burst of a thousand frees and
/// allocations, 1 in 60 is then used again in place.
const LOOSE_FRAMES: u32 = 16;

/// Frames that a refill puts into a magazine at least, if the open block has them.
const REFILL_FRAMES: u32 = 32;

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
        let near = match request.node {
            Preference::Any => home,
            Preference::Prefer(node) | Preference::Bind(node) => node.index(),
        };
        let cached = near == home && request.ceiling >= Zone::Direct && !cache.is_busy();
        if cached && let Some(raw) = self.serve_cached(irq_off, cache, request, effort) {
            return Some(raw);
        }
        self.pools_for(request, near).find_map(|pool| {
            let floor = floor(pool, request, effort);
            if cached && self.breaks_block(pool, request) {
                self.drain_longer_runs(irq_off, cache, request);
            }
            let ring = cache.runs(request.order, request.kind as usize);
            let ring = ring.filter(|_| cached && pool.node.index() == home && pool.zone != Zone::Dma);
            take_with_more(&mut pool.lock(irq_off), request, floor, ring)
        })
    }

    /// Whether the request would break a whole block of `pool`. No lock: a wrong guess costs or saves little.
    fn breaks_block(&self, pool: &Pool, request: &Request) -> bool {
        request.order < Order::LARGE && !pool.has_broken(request.kind, request.order)
    }

    /// Gives back the longer runs of this kind that this CPU keeps, so that one of them is broken and not a whole block.
    fn drain_longer_runs(&self, irq_off: IrqOff<'_>, cache: &CpuCache, request: &Request) {
        let longer = (request.order.get() + 1..Order::LARGE.get()).filter_map(Order::new);
        for ring in longer.filter_map(|order| cache.runs(order, request.kind as usize)) {
            self.drain_ring(irq_off, ring, u32::MAX);
        }
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
        let bound = match request.node {
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
        let fits = request.node == Preference::Any || (newest.0 ^ cache.home.load(Relaxed)) & Raw::NODE == 0;
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
                if self.breaks_block(pool, request) {
                    self.drain_longer_runs(irq_off, cache, request);
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

    /// Gives a block back by the slower way: a full magazine makes room first, and what no magazine takes goes to its
    /// pool.
    pub(crate) fn free(&self, irq_off: IrqOff<'_>, raw: Raw, reach: Reach) {
        let Some(pool) = self.pools.get(raw.pool()) else { return };
        if let Some(cache) = self.cache(irq_off.cpu(), reach)
            && !cache.is_busy()
        {
            self.bound_rings(cache, pool);
            let kind = raw.kind_index().min(Mobility::COUNT - 1);
            let away = (raw.0 ^ cache.home.load(Relaxed)) & Raw::NODE != 0;
            let kept = match raw.order() {
                _ if raw.0 & Raw::BYPASS != 0 => false,
                Order::BASE if away => self.push_or_drain(irq_off, &cache.away, raw),
                Order::BASE => self.push_or_drain(irq_off, &cache.small[kind], raw),
                order => {
                    !away
                        && cache.runs(order, kind).is_some_and(|ring| self.push_or_drain(irq_off, ring, raw))
                }
            };
            if kept {
                return;
            }
        }
        give(&mut pool.lock(irq_off), raw);
    }

    /// Keeps `raw` in `ring`, where there is room or can be made. A magazine that is full gives back its older half; of
    /// loose memory, all.
    fn push_or_drain<const SLOTS: usize>(&self, irq_off: IrqOff<'_>, ring: &Ring<SLOTS>, raw: Raw) -> bool {
        let limit = ring.limit.load(Relaxed);
        if limit == 0 {
            return false;
        }
        if ring.len() >= limit {
            let most = if limit <= LOOSE_FRAMES { limit } else { limit / 2 };
            self.drain_batch(irq_off, ring, most);
        }
        ring.push(raw)
    }

    /// Sets what the magazines may hold now. Another CPU that wants this one to drain sets all limits to 0 after it has
    /// said so in `wanted`; here it is the other way round, so that the request cannot be missed.
    fn bound_rings(&self, cache: &CpuCache, pool: &Pool) {
        let most = self.small_limit.load(Relaxed);
        let small = if pool.free_frames() < pool.marks.high() {
            (most / 16).max(1)
        } else if pool.is_loose() {
            most.min(LOOSE_FRAMES)
        } else {
            most
        };
        if cache.small[0].limit.load(Relaxed) != small {
            bound(cache, small);
        }
    }

    /// Gives back a batch of the oldest blocks, `most` at most, and says how many.
    fn drain_batch<const SLOTS: usize>(&self, irq_off: IrqOff<'_>, ring: &Ring<SLOTS>, most: u32) -> u32 {
        let mut batch = Batch::default();
        let most = ring.len().min(most).min(BATCH_FRAMES);
        let count = (0..most).find(|&index| !batch.add(self, ring.oldest(index))).unwrap_or(most);
        batch.give(self, irq_off);
        ring.forget_oldest(count);
        count
    }

    fn drain_ring<const SLOTS: usize>(&self, irq_off: IrqOff<'_>, ring: &Ring<SLOTS>, count: u32) {
        let mut left = count.min(ring.len());
        while left > 0 {
            left -= self.drain_batch(irq_off, ring, left);
        }
    }

    /// Gives back all that `cpu`, on which this runs, holds.
    pub(crate) fn drain(&self, irq_off: IrqOff<'_>) {
        for reach in [Reach::Mapped, Reach::Anywhere] {
            let Some(cache) = self.cache(irq_off.cpu(), reach) else { continue };
            cache.wanted.store(false, Relaxed);
            if cache.is_busy() {
                continue;
            }
            for kind in 0..Mobility::COUNT {
                self.drain_ring(irq_off, &cache.small[kind], u32::MAX);
                self.drain_open(irq_off, cache, kind);
            }
            cache.all_runs().for_each(|(_, ring)| self.drain_ring(irq_off, ring, u32::MAX));
            self.drain_ring(irq_off, &cache.away, u32::MAX);
        }
    }

    fn drain_open(&self, irq_off: IrqOff<'_>, cache: &CpuCache, kind: usize) {
        while let Some((first, word)) = cache.open[kind].take_word() {
            if let Some(pool) = self.pools.get(first.pool()) {
                pool.lock(irq_off).give_word(pool.offset(first.pfn()) / 64, word);
            }
        }
    }

    /// Whether another CPU asked this one to drain.
    pub(crate) fn is_wanted(&self, cpu: CpuId) -> bool {
        let wanted = |reach| self.cache(cpu, reach).is_some_and(|cache| cache.wanted.load(Relaxed));
        wanted(Reach::Mapped) || wanted(Reach::Anywhere)
    }

    /// Asks every CPU but `me` to drain.
    pub(crate) fn request_drain(&self, me: CpuId) {
        for (index, cache) in self.caches.iter().enumerate() {
            if index % self.cpus == me.index() || cache.held() == 0 {
                continue;
            }
            ask_to_drain(cache);
        }
    }
}

/// Lets the magazines of this CPU hold `small` frames each.
pub(crate) fn bound(cache: &CpuCache, small: u32) {
    cache.small.iter().for_each(|ring| ring.limit.store(small, Relaxed));
    for (order, ring) in cache.all_runs() {
        let frames = if order == Order::LARGE.get() {
            (small * 8).min(LARGE_FRAMES)
        } else {
            (small / 2).min(RUN_FRAMES)
        };
        ring.limit.store((frames >> order).min(RUNS as u32), Relaxed);
    }
    cache.away.limit.store(small.min(AWAY as u32), Relaxed);
    fence(Ordering::SeqCst);
}

/// Says to another CPU that it should drain, and stops what it would keep without looking.
pub(crate) fn ask_to_drain(cache: &CpuCache) {
    cache.wanted.store(true, Relaxed);
    fence(Ordering::SeqCst);
    cache.small.iter().for_each(|ring| ring.limit.store(0, Relaxed));
    cache.all_runs().for_each(|(_, ring)| ring.limit.store(0, Relaxed));
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
    let more = ring.limit.load(Relaxed).min(RUNS as u32) / 4;
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

/// Gives a block of any order back to its pool.
pub(crate) fn give(held: &mut Held<'_>, raw: Raw) {
    if raw.order() < Order::LARGE {
        held.give_run(raw.pfn(), raw.order());
    } else {
        held.give_blocks(raw.pfn(), raw.order());
    }
}

/// Blocks on their way to their pools, neighbours together: a word of frames is one entry, a larger block another.
#[derive(Default)]
struct Batch {
    count: usize,
    /// The handle number of any frame of the word, and its frames' bits; or of a larger block, and 0.
    entries: [(u64, u64); BATCH_WORDS],
}

impl Batch {
    /// Adds a block and asks for the lines that its free will write; or says that the batch is full.
    #[inline(always)]
    fn add(&mut self, depot: &Depot, raw: Raw) -> bool {
        let bit = if raw.order() == Order::BASE { 1 << (raw.0 % 64) } else { 0 };
        if let Some((word, bits)) = self.count.checked_sub(1).and_then(|last| self.entries.get_mut(last))
            && *word / 64 == raw.0 / 64
            && *bits & bit == 0
            && *bits != 0
            && bit != 0
        {
            *bits |= bit;
            return true;
        }
        let Some(entry) = self.entries.get_mut(self.count) else { return false };
        *entry = (raw.0, bit);
        self.count += 1;
        if let Some(pool) = depot.pools.get(raw.pool()) {
            pool.prefetch(raw.pfn());
        }
        true
    }

    /// Gives all of it back: one lock while the pool stays the same.
    fn give(&self, depot: &Depot, irq_off: IrqOff<'_>) {
        let mut last: Option<Held<'static>> = None;
        for &(raw, bits) in &self.entries[..self.count] {
            let raw = Raw(raw);
            let Some(pool) = depot.pools.get(raw.pool()) else { continue };
            if last.as_ref().is_none_or(|held| !core::ptr::eq(held.pool, pool)) {
                // The one lock is let go before the next is taken: no CPU ever holds two.
                drop(last.take());
                last = Some(pool.lock(irq_off));
            }
            let Some(held) = &mut last else { continue };
            if bits == 0 {
                give(held, raw);
            } else {
                held.give_word(pool.offset(raw.pfn()) / 64, bits);
            }
        }
    }
}
