//! From a free back to the pools: the CPU's magazine, its drain, and the direct way for blocks that no cache takes.
//!
//! All of it runs with interrupts off, in pieces of one batch each, also where a CPU gives back all that it holds. A
//! piece takes a few hundred nanoseconds where its lines are in the CPU's cache, and some microseconds where they are
//! not. A block of 1 GiB is given back in one piece, which changes the records of its 512 blocks: 3 us, and 14 to 18 us
//! where parts of the block are isolated, so that each record is written by itself (docs/irqsoff.md). A batch is taken
//! from the magazine's old end in the order in which the frames came, so that neighbours that were freed together go
//! back together, a word at a time; their cache lines are asked for before the lock is taken.

use rhumb_machine::{CpuId, IrqOff, Order, Pfn, impossible};

use crate::cache::{AWAY, CpuCache, OpenBlock, Ring, is_long};
use crate::handle::raw::Raw;
use crate::pool::Pool;
use crate::request::Mobility;
use crate::zones::refill::REFILL_MOST;
use crate::zones::{Zones, exchange};
use rhumb_sync::atomic::Relaxed;

/// Frames that one lock visit gives back at most, and distinct words among them: together some 300 ns with
/// warm lines.
const BATCH_FRAMES: u32 = 128;
const BATCH_WORDS: usize = 24;

impl Zones {
    /// Gives a block back by the slower way: a full magazine makes room first, and a block that no magazine takes goes
    /// to its pool.
    pub(crate) fn free(&self, irq_off: IrqOff<'_>, raw: Raw) {
        let Some(pool) = self.pool_of(raw.pfn()) else {
            return impossible!("a frame of this allocator is in no pool");
        };
        if raw.0 & Raw::BYPASS == 0
            && let Some(cache) = self.cache(irq_off.cpu())
            && !cache.gate.is_busy()
        {
            let is_kept = self.keep(irq_off, cache, pool, raw);
            if is_kept || cache.may_keep() {
                self.keepers.join(irq_off.cpu());
            }
            if is_kept {
                return;
            }
        }
        pool.lock(irq_off).give_block(raw.pfn(), raw.order());
    }

    /// Keeps a block in a magazine, where there is room or can be made.
    fn keep(&self, irq_off: IrqOff<'_>, cache: &CpuCache, pool: &'static Pool, raw: Raw) -> bool {
        let kind = raw.kind_index().min(Mobility::COUNT - 1);
        let is_near = (raw.0 ^ cache.home.load(Relaxed)) & Raw::NODE == 0;
        let is_frame = raw.order() == Order::BASE;
        let most = self.cap_for(pool);
        let most_away = most.min(AWAY as u32);
        if !is_near {
            // A lack in other nodes' pools says nothing of how much this CPU may keep of its own node's, nor the other
            // way round: the gate's cap stays as it is.
            let may_wait = is_frame && !cache.gate.is_wanted();
            return may_wait && self.push_or_drain(irq_off, &cache.away, raw, most_away as i32, pool);
        }
        let loose_cap = if pool.is_loose() { most_away } else { 0 };
        cache.loose_cap.store(loose_cap, Relaxed);
        cache.gate.bound(if loose_cap > 0 { 0 } else { most });
        if is_frame && loose_cap > 0 && !cache.gate.is_wanted() {
            // Frames that the magazine has from before go home, too; those of a refill are for allocations to come.
            let excess = cache.small[kind].len().saturating_sub(REFILL_MOST);
            self.drain_batch(irq_off, &cache.small[kind], excess, Some(pool));
            return self.push_or_drain(irq_off, &cache.away, raw, loose_cap as i32, pool);
        }
        if is_frame {
            return self.push_or_drain(irq_off, &cache.small[kind], raw, cache.gate.cap(), pool);
        }
        self.keep_run(irq_off, cache, pool, raw)
    }

    /// Keeps a block of orders 1 to 9 of this CPU's node, which is of `pool`, where there is room or an exchange can
    /// make room.
    fn keep_run(&self, irq_off: IrqOff<'_>, cache: &CpuCache, pool: &'static Pool, raw: Raw) -> bool {
        if is_long(raw.order().get()) {
            return self.push_or_exchange(
                irq_off,
                cache,
                pool,
                raw,
                &cache.away_runs,
                cache.away_runs_limit(),
            );
        }
        let Some(ring) = cache.runs(raw.order(), raw.kind_index()) else { return false };
        self.push_or_exchange(irq_off, cache, pool, raw, ring, cache.run_limit(raw.order().get()))
    }

    /// Keeps `raw`, which is of `pool`, in `ring`, where there is room or an exchange can make room.
    fn push_or_exchange<const SLOTS: usize>(
        &self,
        irq_off: IrqOff<'_>,
        cache: &CpuCache,
        pool: &'static Pool,
        raw: Raw,
        ring: &Ring<SLOTS>,
        limit: i32,
    ) -> bool {
        if limit > 0 && ring.len() as i32 >= limit {
            cache.away_runs.for_each(&mut |raw| pool.prefetch(raw.pfn()));
            let kind = Mobility::from_index(raw.kind_index());
            exchange::exchange(&mut pool.lock(irq_off), cache, kind, |_| Some(()));
            // The oldest may be of another pool.
            let left = if is_long(raw.order().get()) { 0 } else { limit as u32 / 2 };
            self.drain_batch(irq_off, ring, ring.len().saturating_sub(left), Some(pool));
        }
        ring.push(raw, limit)
    }

    /// Keeps `raw`, which is of `pool`, in `ring`, where there is room or can be made. A magazine that is full gives
    /// back its older half.
    fn push_or_drain<const SLOTS: usize>(
        &self,
        irq_off: IrqOff<'_>,
        ring: &Ring<SLOTS>,
        raw: Raw,
        limit: i32,
        pool: &'static Pool,
    ) -> bool {
        let Some(limit) = u32::try_from(limit).ok().filter(|&limit| limit > 0) else { return false };
        if ring.len() >= limit {
            self.drain_batch(irq_off, ring, (limit / 2).max(ring.len() - limit + 1), Some(pool));
        }
        ring.push(raw, limit as i32)
    }

    /// Returns how many frames a magazine of single frames may hold now: none where the pool has fewer than its cache
    /// floor, because a frame that a cache keeps would serve requests of any class.
    fn cap_for(&self, pool: &Pool) -> u32 {
        let (most, free) = (self.small_limit.load(Relaxed), pool.free_frames());
        if free < pool.cache_floor() {
            0
        } else if free < pool.marks.high() {
            (most / 16).max(1)
        } else {
            most
        }
    }

    /// Gives back a batch of the oldest blocks, `most` at most and mostly of the pool `near`, and says how many.
    #[inline]
    fn drain_batch<const SLOTS: usize>(
        &self,
        irq_off: IrqOff<'_>,
        ring: &Ring<SLOTS>,
        most: u32,
        near: Option<&'static Pool>,
    ) -> u32 {
        if ring.len().min(most) == 0 { 0 } else { self.drain_some_of(irq_off, ring, most, near) }
    }

    #[inline(never)]
    fn drain_some_of<const SLOTS: usize>(
        &self,
        irq_off: IrqOff<'_>,
        ring: &Ring<SLOTS>,
        most: u32,
        near: Option<&'static Pool>,
    ) -> u32 {
        let mut batch = DrainBatch { pool: near, ..DrainBatch::default() };
        let (oldest, most) = (ring.oldest_first(), ring.len().min(most).min(BATCH_FRAMES));
        let mut count = 0;
        while count < most {
            let raw = oldest(count);
            let is_frame = raw.order() == Order::BASE;
            let (bits, next) = if is_frame { ring.neighbours(count, most) } else { (0, count + 1) };
            if !batch.add(self, raw, bits) {
                break;
            }
            count = next;
        }
        batch.give(self, irq_off);
        ring.forget_oldest(count);
        count
    }

    /// Gives back one batch of the frames that this CPU holds, and says whether there was any. A request of another CPU
    /// is answered when none is left: a drain that ends early leaves the request, and until it is answered no free is
    /// kept. A handler that came in the middle of an operation gives back nothing and answers nothing.
    pub(crate) fn drain_step(&self, irq_off: IrqOff<'_>) -> bool {
        let Some(cache) = self.cache(irq_off.cpu()).filter(|cache| !cache.gate.is_busy()) else {
            return false;
        };
        for kind in 0..Mobility::COUNT {
            if self.drain_batch(irq_off, &cache.small[kind], u32::MAX, None) > 0
                || self.drain_open(irq_off, &cache.open[kind])
            {
                return true;
            }
        }
        let gave = cache.run_rings().iter().any(|ring| self.drain_batch(irq_off, ring, u32::MAX, None) > 0)
            || self.drain_batch(irq_off, &cache.away_runs, u32::MAX, None) > 0
            || self.drain_batch(irq_off, &cache.away, u32::MAX, None) > 0;
        if !gave {
            cache.forget_caps();
            cache.gate.answer();
            self.keepers.leave(irq_off.cpu());
        }
        gave
    }

    /// Has this CPU's next free look anew at how much the CPU may keep. Where no frame and no run joined those on their
    /// way home since the last call, gives a batch of these back, because allocations here do not use them.
    pub(crate) fn look_anew(&self, irq_off: IrqOff<'_>) {
        let Some(cache) = self.cache(irq_off.cpu()) else { return };
        cache.forget_caps();
        if !cache.gate.is_busy()
            && cache.is_away_quiet()
            && self.drain_batch(irq_off, &cache.away_runs, u32::MAX, None) == 0
        {
            self.drain_batch(irq_off, &cache.away, u32::MAX, None);
        }
    }

    /// Gives back an open block, and says whether it held any frame.
    #[inline]
    fn drain_open(&self, irq_off: IrqOff<'_>, open: &OpenBlock) -> bool {
        open.frames() > 0 && self.drain_words_of(irq_off, open)
    }

    #[inline(never)]
    fn drain_words_of(&self, irq_off: IrqOff<'_>, open: &OpenBlock) -> bool {
        let Some(pool) = self.pool_of(open.first().pfn()) else {
            return impossible!("an open block is in no pool" => false);
        };
        let mut held = pool.lock(irq_off);
        open.take_all(|first, word| held.give_word(pool.offset(first.pfn()) / 64, word));
        true
    }

    /// Returns the caches that may hold something, with their CPUs. Cost: a load for each 64 CPUs.
    pub(crate) fn keeping(&self) -> impl Iterator<Item = (CpuId, &CpuCache)> {
        self.keepers.iter().filter_map(|cpu| Some((cpu, self.cache(cpu)?)))
    }

    /// Returns how many frames are in the caches of all CPUs but `me`.
    pub(crate) fn held_by_others(&self, me: CpuId) -> u64 {
        self.keeping().filter(|&(cpu, _)| cpu != me).map(|(_, cache)| cache.held()).sum()
    }

    /// Asks every CPU but `me` that keeps something, and has not been asked for it yet, to drain. Cost: a load for each
    /// 64 CPUs, and a locked exchange for each CPU that is asked: no CPU is asked again before it has drained.
    pub(crate) fn request_drain(&self, me: CpuId) {
        self.keepers.ask_others(me, |cpu| {
            if let Some(cache) = self.cache(cpu) {
                cache.gate.ask();
            }
        });
    }
}

/// Blocks on their way to their pools, neighbours together: a word of frames is one entry, a larger block another.
#[derive(Default)]
struct DrainBatch {
    count: usize,
    /// For a word of frames, the handle number of any of them and a bit for each; for a larger block, its handle number
    /// and 0.
    entries: [(u64, u64); BATCH_WORDS],
    /// The pool of the newest entry.
    pool: Option<&'static Pool>,
}

impl DrainBatch {
    /// Adds a block and asks for the lines that its free will write; or says that the batch is full.
    #[inline(always)]
    fn add(&mut self, zones: &Zones, raw: Raw, bits: u64) -> bool {
        let Some(entry) = self.entries.get_mut(self.count) else { return false };
        *entry = (raw.0, bits);
        self.count += 1;
        self.pool = pool_from(zones, self.pool, raw.pfn());
        if let Some(pool) = self.pool {
            pool.prefetch(raw.pfn());
        }
        true
    }

    /// Gives all of it back: one lock for each pool, however its blocks lie among those of others. One lock is released
    /// before the next is taken, so that no CPU ever holds two.
    fn give(&self, zones: &Zones, irq_off: IrqOff<'_>) {
        const { assert!(BATCH_WORDS < 32, "a bit for each entry") };
        let mut left = (1u32 << self.count) - 1;
        while left != 0 {
            let (first, _) = self.entries[left.trailing_zeros() as usize];
            let Some(pool) = pool_from(zones, self.pool, Raw(first).pfn()) else {
                left &= left - 1;
                continue;
            };
            let mut held = pool.lock(irq_off);
            for (at, &(raw, bits)) in self.entries[..self.count].iter().enumerate() {
                let raw = Raw(raw);
                if left & 1 << at == 0 || !pool.span.contains(raw.pfn()) {
                    continue;
                }
                left &= !(1 << at);
                if bits == 0 {
                    held.give_block(raw.pfn(), raw.order());
                } else {
                    held.give_word(pool.offset(raw.pfn()) / 64, bits);
                }
            }
        }
    }
}

/// Returns the pool of `pfn`, which is mostly the one that was met last.
#[inline(always)]
fn pool_from<'a>(zones: &Zones, last: Option<&'a Pool>, pfn: Pfn) -> Option<&'a Pool> {
    last.filter(|pool| pool.span.contains(pfn)).or_else(|| zones.pool_of(pfn))
}
