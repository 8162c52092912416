//! From a free back to the pools: the CPU's magazine, its drain, and the direct way for what no cache takes.
//!
//! All of it runs with interrupts off, in pieces of at most about 300 ns: a drain is one batch. A batch is taken from
//! the magazine's old end in the order in which the frames came, so that neighbours that were freed together go back
//! together, a word at a time; their cache lines are asked for before the lock is taken.

use rhumb_machine::{CpuId, IrqOff, Order};

use crate::cache::{AWAY, CpuCache, RUNS, Ring};
use crate::depot::Depot;
use crate::pool::{Held, Pool};
use crate::raw::Raw;
use crate::raw::Reach;
use crate::request::Mobility;
use crate::sync::{Ordering, Relaxed, fence};

/// Frames that one lock visit gives back at most, and distinct words among them: together under about 300 ns.
const BATCH_FRAMES: u32 = 128;
const BATCH_WORDS: usize = 24;

/// Frames that a magazine of orders 1 to 8 holds at most: one block of order 8. All eight of a kind together are less
/// than four 2-MiB blocks.
const RUN_FRAMES: u32 = 256;
/// Frames that a magazine of order 9 holds at most: 8 blocks.
const LARGE_FRAMES: u32 = 4096;
/// Frames that a magazine holds at most while memory is loose ([`Pool::is_loose`]). Of a burst of a thousand frees and
/// allocations, 1 in 60 is then used again in place.
const LOOSE_FRAMES: u32 = 16;

impl Depot {
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
        let (oldest, most) = (ring.oldest_first(), ring.len().min(most).min(BATCH_FRAMES));
        let mut count = 0;
        while count < most {
            let raw = oldest(count);
            let (mut bits, mut next) = (0, count + 1);
            if raw.order() == Order::BASE {
                bits = 1 << (raw.0 % 64);
                while next < most {
                    let (neighbour, bit) = (oldest(next).0, 1 << (oldest(next).0 % 64));
                    if neighbour / 64 != raw.0 / 64 || bits & bit != 0 {
                        break;
                    }
                    bits |= bit;
                    next += 1;
                }
            }
            if !batch.add(self, raw, bits) {
                break;
            }
            count = next;
        }
        batch.give(self, irq_off);
        ring.forget_oldest(count);
        count
    }

    pub(crate) fn drain_ring<const SLOTS: usize>(&self, irq_off: IrqOff<'_>, ring: &Ring<SLOTS>, count: u32) {
        let mut left = count.min(ring.len());
        while left > 0 {
            left -= self.drain_batch(irq_off, ring, left);
        }
    }

    /// Gives back all that `cpu`, on which this runs, holds. A handler that came in the middle of an operation gives
    /// back nothing, and what was asked for stays asked for.
    pub(crate) fn drain(&self, irq_off: IrqOff<'_>) {
        for reach in [Reach::Mapped, Reach::Anywhere] {
            let Some(cache) = self.cache(irq_off.cpu(), reach) else { continue };
            if cache.is_busy() {
                continue;
            }
            cache.wanted.store(false, Relaxed);
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

    /// Frames in the caches of all CPUs but `me`.
    pub(crate) fn held_by_others(&self, me: CpuId) -> u64 {
        let others = self.caches.iter().enumerate().filter(|(index, _)| index % self.cpus != me.index());
        others.map(|(_, cache)| cache.held()).sum()
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
    fn add(&mut self, depot: &Depot, raw: Raw, bits: u64) -> bool {
        let Some(entry) = self.entries.get_mut(self.count) else { return false };
        *entry = (raw.0, bits);
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
