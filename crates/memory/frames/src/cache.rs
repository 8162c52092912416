//! A CPU's own caches: magazines of blocks of 4 KiB to 2 MiB, and one open block for each mobility kind.
//!
//! Only the CPU itself touches its cache, as the [`rhumb_machine::Pinned`] token of the caller proves. The accesses are
//! relaxed atomics, which are plain instructions: no locked operation, no shared line. A [`CpuGate`] keeps
//! interrupt handlers out of an operation's middle: a handler that finds the gate busy goes to the pools, whose locks
//! are taken with interrupts off only. Other CPUs ask for what the cache holds through the same gate.
//!
//! ```text
//!   alloc <- magazine (newest first)  <- open block, a word at a time <- pool, up to a whole block's free frames
//!   free  -> magazine                 -> pool, oldest first, in batches sorted by word as they come
//! ```
//! A frame of another node goes to the queue of frames on their way home instead. While free memory is scattered
//! ([`crate::pool::Pool::is_loose`]), so does each single frame: no allocation takes from the queue, so that each takes
//! a frame of the fullest block and not the frame that was just freed, and blocks become whole.
//! Runs come and go in exchanges ([`crate::zones::exchange`]).
//!
//! The open block is 512 bits: a private copy of the free bits of one block, which the pool counts as allocated
//! meanwhile. So one visit to the pool's lock pays for up to 512 frames, and two CPUs that allocate in bulk share no
//! line in between.

mod ring;

use rhumb_machine::Order;

pub(crate) use crate::cache::ring::Ring;
use crate::handle::raw::Raw;
use crate::pool::take::Batch;
use crate::pool::words::WORDS;
use crate::request::Mobility;
use rhumb_sync::CpuGate;
use rhumb_sync::atomic::{AtomicBool, AtomicU32, AtomicU64, IS_MODELLED, Relaxed};

/// Slots of a magazine of 4-KiB frames. A burst of a thousand frees and allocations stays within it.
pub(crate) const SMALL: usize = if IS_MODELLED { 16 } else { 1024 };
/// Slots of a magazine of blocks of each order from 1 to 9.
pub(crate) const RUNS: usize = if IS_MODELLED { 8 } else { 64 };
/// The orders that are cached: 0 to 9.
const CACHED_ORDERS: usize = Order::LARGE.get() as usize + 1;
/// The most common handles of a CPU's own node, from their kind upwards.
const BASE_UNMOVABLE: u64 = Mobility::Unmovable as u64;
const BASE_MOVABLE: u64 = Mobility::Movable as u64;
/// Frames that a magazine of orders 1 to 8 holds at most: two blocks of order 8. All eight of a kind together are less
/// than eight 2-MiB blocks.
pub(crate) const RUN_FRAMES: u64 = 512;
/// The least order of long runs. A freed long run goes to its pool and not to the magazine, because one that is used again
/// where it happens to lie keeps its block from becoming whole.
const LONG: u8 = 6;
/// Slots for long runs on their way home.
const AWAY_RUNS: usize = if IS_MODELLED { 4 } else { 32 };
/// Of 64 frames that a magazine of runs may hold, as many long runs may be on their way home: 24 at most, which are 3,000
/// frames in a mix of orders.
const AWAY_OF_64: i32 = 3;
/// Blocks that a magazine of order 9 holds at most.
const LARGE_BLOCKS: i32 = 8;
const LARGE_UNMOVABLE: u64 = (Order::LARGE.get() as u64) << 2 | Mobility::Unmovable as u64;
/// While memory is loose, the limits of the magazines of orders 1 to 8 are as if this were the gate's cap: four runs of
/// order 1, two of order 2, one of order 3.
const LOOSE_RUN_CAP: i32 = 16;
/// Slots for single frames on their way home: those of other nodes, and of loose memory all.
pub(crate) const AWAY: usize = if IS_MODELLED { 16 } else { 128 };

/// Free frames of one block, private to a CPU.
#[derive(Default)]
pub(crate) struct OpenBlock {
    /// The number of a handle to the block's first frame.
    first: AtomicU64,
    frames: AtomicU32,
    bits: [AtomicU64; WORDS],
}

impl OpenBlock {
    pub(crate) fn frames(&self) -> u32 {
        self.frames.load(Relaxed)
    }

    /// Opens `batch`; nothing is left of the block that was open before.
    pub(crate) fn open(&self, first: Raw, batch: &Batch) {
        self.first.store(first.0, Relaxed);
        self.frames.store(batch.frames as u32, Relaxed);
        for (word, &bits) in self.bits.iter().zip(&batch.bits) {
            word.store(bits, Relaxed);
        }
    }

    /// Calls `each` with the handle number of every frame.
    pub(crate) fn for_each(&self, each: &mut impl FnMut(Raw)) {
        for (at, word) in self.bits.iter().enumerate() {
            let bits = word.load(Relaxed);
            let first = self.first().0 + at as u64 * 64;
            (0..64).filter(|bit| bits & 1 << bit != 0).for_each(|bit| each(Raw(first + bit)));
        }
    }

    /// Returns a handle to the block's first frame.
    pub(crate) fn first(&self) -> Raw {
        Raw(self.first.load(Relaxed))
    }

    /// Takes all frames of the first word that has any: the handle number of bit 0, and the bits.
    pub(crate) fn take_word(&self) -> Option<(Raw, u64)> {
        (0..WORDS).find_map(|at| self.take(at))
    }

    /// Takes all frames, a word at a time, as [`OpenBlock::take_word`] does.
    pub(crate) fn take_all(&self, mut each: impl FnMut(Raw, u64)) {
        (0..WORDS).filter_map(|at| self.take(at)).for_each(|(first, word)| each(first, word));
    }

    #[inline(always)]
    fn take(&self, at: usize) -> Option<(Raw, u64)> {
        let word = &self.bits[at];
        let bits = word.load(Relaxed);
        if bits == 0 {
            return None;
        }
        word.store(0, Relaxed);
        self.frames.store(self.frames() - bits.count_ones(), Relaxed);
        Some((Raw(self.first().0 + at as u64 * 64), bits))
    }
}

/// All that one CPU keeps.
#[repr(align(64))]
#[derive(Default)]
pub(crate) struct CpuCache {
    /// Its cap is how many frames a magazine of single frames may hold; the other limits follow from it.
    pub(crate) gate: CpuGate,
    /// Set while a reclaimer runs on this CPU, because its allocations must not call reclaimers again.
    pub(crate) reclaiming: AtomicBool,
    /// While memory is loose, how many single frames may be on their way home; else 0. The gate's cap is 0 meanwhile,
    /// so that frees leave the common path.
    pub(crate) loose_cap: AtomicU32,
    /// How many frames a magazine of orders 1 to 8 may hold in this machine.
    pub(crate) run_frames: AtomicU32,
    /// The orders of runs, of each kind, that this CPU has asked its pools for since the last tick: bit 9 · kind + order
    /// - 1.
    missed: AtomicU32,
    /// How many frames and runs had ever joined those on their way home at the last tick, counted without end, less
    /// those that were taken again.
    away_at_tick: AtomicU32,
    /// The common bits of handles to blocks of this CPU's own node; 0 until the CPU has first come here.
    pub(crate) home: AtomicU64,
    pub(crate) small: [Ring<SMALL>; Mobility::COUNT],
    /// Orders 1 to 9 of each kind.
    runs: [[Ring<RUNS>; CACHED_ORDERS - 1]; Mobility::COUNT],
    /// Single frames on their way home, of any node.
    pub(crate) away: Ring<AWAY>,
    /// Runs of orders 6 to 8 on their way home, of this CPU's own node and any kind.
    pub(crate) away_runs: Ring<AWAY_RUNS>,
    pub(crate) open: [OpenBlock; Mobility::COUNT],
}

impl CpuCache {
    /// Takes a block of one of the most common orders, 0 and 9, if its magazine has one.
    #[inline(always)]
    pub(crate) fn pop(&self, order: Order, kind: Mobility) -> Option<Raw> {
        let popped = self.gate.alone(|| {
            if order == Order::BASE {
                self.small[kind as usize].pop()
            } else if order == Order::LARGE {
                self.runs[kind as usize][CACHED_ORDERS - 2].pop()
            } else {
                None
            }
        });
        popped.flatten()
    }

    /// Keeps a block of this CPU's own node, if it is one of the most common and there is room.
    #[inline(always)]
    pub(crate) fn push(&self, raw: Raw) -> bool {
        // Branches where an index would do, because the CPU predicts them and need not wait for the handle.
        let differs = self.differs(raw);
        let kept = self.gate.alone(|| {
            let cap = self.gate.cap();
            if differs == BASE_MOVABLE {
                self.small[1].push(raw, cap)
            } else if differs == BASE_UNMOVABLE {
                self.small[0].push(raw, cap)
            } else if differs & !1 == LARGE_UNMOVABLE {
                self.runs[(differs & 1) as usize][CACHED_ORDERS - 2].push(raw, large_limit(cap))
            } else {
                false
            }
        });
        kept == Some(true)
    }

    /// Keeps any block of this CPU's own node, if it is of a cached order and there is room.
    #[inline(always)]
    pub(crate) fn push_any(&self, raw: Raw) -> bool {
        // A block of another allocator, of another node, or of an order that is not cached has no such magazine.
        let differs = self.differs(raw);
        let (order, kind) = ((differs >> 2) as usize, (differs & 3) as usize);
        let kept = self.gate.alone(|| {
            let cap = self.gate.cap();
            Some(if order == 0 && cap == 0 {
                kind < Mobility::COUNT && self.away.push(raw, self.loose_cap.load(Relaxed) as i32)
            } else if order == 0 {
                self.small.get(kind)?.push(raw, cap)
            } else if u8::try_from(order).is_ok_and(is_long) {
                kind < Mobility::COUNT && self.away_runs.push(raw, self.away_runs_limit())
            } else {
                self.runs.get(kind)?.get(order - 1)?.push(raw, self.run_limit(order as u8))
            })
        });
        kept.flatten() == Some(true)
    }

    /// Returns kind and order, and above them the bits in which the handle and `home` differ.
    #[inline(always)]
    fn differs(&self, raw: Raw) -> u64 {
        (raw.0 ^ self.home.load(Relaxed)) >> Raw::KIND_SHIFT
    }

    /// Takes a block of orders 1 to 9 from its magazine. Where no long run is there, one that is on its way home comes
    /// back, which saves a visit to the pool: the one whose `rank` is least.
    #[inline]
    pub(crate) fn pop_run(&self, order: Order, kind: usize, rank: impl Fn(Raw) -> u32) -> Option<Raw> {
        let popped = self.runs(order, kind)?.pop();
        if popped.is_some() || !is_long(order.get()) {
            return popped;
        }
        self.away_runs.take(|raw| (raw.order() == order && raw.kind_index() == kind).then(|| rank(raw)))
    }

    /// Takes note that this CPU asks its pools for a block of orders 1 to 9. On this CPU, with interrupts off.
    pub(crate) fn note_miss(&self, order: Order, kind: Mobility) {
        self.missed.store(self.missed.load(Relaxed) | miss_bit(order, kind), Relaxed);
    }

    /// Tells whether this CPU has asked its pools for such a block since the last tick.
    pub(crate) fn has_missed(&self, order: Order, kind: Mobility) -> bool {
        self.missed.load(Relaxed) & miss_bit(order, kind) != 0
    }

    /// Lets frees leave nothing with the CPU until one of them has looked how much may be left there, and exchanges take
    /// no block for later of an order that is not asked for again. On this CPU, with interrupts off.
    pub(crate) fn forget_caps(&self) {
        self.missed.store(0, Relaxed);
        self.loose_cap.store(0, Relaxed);
        self.gate.bound(0);
    }

    /// Tells whether those on their way home are as many as at the last call, or fewer because some have arrived.
    pub(crate) fn is_away_quiet(&self) -> bool {
        let joined = self.away.newer_end().wrapping_add(self.away_runs.newer_end());
        let before = self.away_at_tick.load(Relaxed);
        self.away_at_tick.store(joined, Relaxed);
        joined == before
    }

    /// Returns how many blocks a magazine of `order`, from 1 to 9, may hold.
    #[inline]
    pub(crate) fn run_limit(&self, order: u8) -> i32 {
        let cap = self.gate.cap();
        if order == Order::LARGE.get() {
            return large_limit(cap);
        }
        let cap = if cap == 0 { LOOSE_RUN_CAP.min(self.loose_cap.load(Relaxed) as i32) } else { cap };
        (self.frames_of_runs(cap) >> order).min(RUNS as i32)
    }

    /// Returns how many long runs may be on their way home.
    pub(crate) fn away_runs_limit(&self) -> i32 {
        (self.frames_of_runs(self.gate.cap()) * AWAY_OF_64 / 64).min(AWAY_RUNS as i32)
    }

    /// Returns how many frames a magazine of orders 1 to 8 may hold with this cap.
    #[inline]
    fn frames_of_runs(&self, cap: i32) -> i32 {
        (cap >> 1).min(self.run_frames.load(Relaxed) as i32)
    }

    /// Returns the magazine for orders 1 to 9.
    #[inline(always)]
    pub(crate) fn runs(&self, order: Order, kind: usize) -> Option<&Ring<RUNS>> {
        self.runs.get(kind)?.get(usize::from(order.get()).wrapping_sub(1))
    }

    /// Returns all magazines for orders 1 to 9.
    pub(crate) const fn run_rings(&self) -> &[Ring<RUNS>] {
        self.runs.as_flattened()
    }

    /// Returns all magazines for orders 1 to 9, with their order.
    pub(crate) fn all_runs(&self) -> impl Iterator<Item = (u8, &Ring<RUNS>)> {
        self.runs.iter().flat_map(|rings| (1..).zip(rings))
    }

    /// Tells whether the next frees may leave anything here.
    pub(crate) fn may_keep(&self) -> bool {
        self.gate.cap() > 0 || self.loose_cap.load(Relaxed) > 0
    }

    /// Returns how many frames it holds, open blocks included. From any CPU: exact while the cache is quiet.
    pub(crate) fn held(&self) -> u64 {
        let small: u64 = self.small.iter().map(Ring::glimpse).sum();
        let open: u64 = self.open.iter().map(|open| u64::from(open.frames())).sum();
        let runs: u64 = self.all_runs().map(|(order, ring)| ring.glimpse() << order).sum();
        small + open + runs + self.away.glimpse() + self.away_runs.glimpse_frames()
    }
}

/// Returns how many blocks a magazine of order 9 may hold: eight times the frames of one of order 0.
#[inline(always)]
fn large_limit(cap: i32) -> i32 {
    (cap >> 6).min(LARGE_BLOCKS)
}

/// Returns the bit of an order and a kind among those that were missed.
const fn miss_bit(order: Order, kind: Mobility) -> u32 {
    const { assert!((CACHED_ORDERS - 1) * Mobility::COUNT <= 32) };
    1 << ((CACHED_ORDERS - 1) * kind as usize + order.get() as usize - 1)
}

/// Tells whether freed runs of this order go to their pool instead of a magazine.
#[inline(always)]
pub(crate) fn is_long(order: u8) -> bool {
    (LONG..Order::LARGE.get()).contains(&order)
}
