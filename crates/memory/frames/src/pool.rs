//! A pool: the memory of one node in one zone, in one piece. It has one lock, and everything in it is under that lock.
//!
//! A block that is partly free sits in a bin of its kind by how full it is ([`bin`]); wholly free blocks are bits in a
//! [`WholeBlocks`]. Frames leave in large batches (a whole block's free frames at once for order 0), so that the lock
//! is taken once for hundreds of frames; see `take.rs` and `give.rs`.

pub(crate) mod bins;
pub(crate) mod block;
pub(crate) mod described;
pub(crate) mod give;
mod prefetch;
pub(crate) mod take;
pub(crate) mod tree;
pub mod words;

use rhumb_machine::{CpuId, IrqOff, NodeId, Order, Pfn, PfnRange};

use crate::handle::raw::{Brand, Raw};
use crate::pool::bins::{Bins, LargestRuns, Place};
use crate::pool::block::bin::{self, Bin};
use crate::pool::block::{Block, Info, State};
use crate::pool::prefetch::prefetch_write;
use crate::pool::tree::WholeBlocks;
use crate::pool::words::{Bits, FRAMES, WORDS};
use crate::request::{AllocClass, Mobility, Zone};
use rhumb_sync::atomic::{Acquire, AtomicU32, AtomicU64, Relaxed, Release};
use rhumb_sync::{Guard, Lock};

/// Blocks whose records are cleared together: 1 KiB of records, for 128 MiB of memory.
const GROUP: usize = 64;

/// Lets the next field begin a cache line.
#[derive(Default)]
#[repr(align(64))]
struct NextLine;

/// The memory of one node in one zone, in one piece. Words that each CPU reads and none writes lie apart from those
/// that each holder of the lock writes.
#[repr(C)]
pub(crate) struct Pool {
    /// First to last frame, exactly.
    pub(crate) span: PfnRange,
    /// The first frame of block 0.
    pub(crate) base: Pfn,
    pub(crate) node: NodeId,
    pub(crate) zone: Zone,
    /// Frames that are memory.
    pub(crate) present: AtomicU64,
    /// The bits of a handle's number that name this pool.
    pub(crate) tag: Raw,
    pub(crate) words: &'static [AtomicU64],
    /// The records of the blocks, of which those of a group mean nothing until they are cleared: see [`Pool::info`].
    pub(crate) blocks: &'static [Block],
    /// A bit for each group of blocks whose records are cleared.
    cleared: &'static [AtomicU64],
    /// Wholly free blocks: number of the block plus `skew`, so that the bits of a 1-GiB region are aligned.
    pub(crate) whole: WholeBlocks,
    pub(crate) skew: usize,
    pub(crate) marks: Watermarks,
    bins: &'static [Bins],
    _next_line: NextLine,
    lock: Lock<()>,
    /// Free frames. Written under the lock, read by anyone.
    pub(crate) free: AtomicU64,
    pub(crate) free_blocks: AtomicU64,
    /// The largest runs of the partial blocks that are in bins, likewise.
    largest_runs: LargestRuns,
    /// Frees that were refused since the frame was free already.
    pub(crate) refused: AtomicU64,
    /// The place of the bin of the last block that could not be emptied: the next one is of a bin before it.
    pub(crate) turn: AtomicU32,
}

/// The levels of free memory at which a pool asks for more, in frames.
#[derive(Default)]
pub(crate) struct Watermarks {
    /// Ordinary requests stop here.
    pub(crate) min: AtomicU64,
    /// Requests whose ceiling is higher, and in the direct map, leave this much more.
    pub(crate) guard: AtomicU64,
    /// Requests that reach past the direct map leave this much more.
    pub(crate) high_guard: AtomicU64,
}

impl Watermarks {
    pub(crate) fn low(&self) -> u64 {
        let min = self.min.load(Relaxed);
        min + min / 4
    }

    pub(crate) fn high(&self) -> u64 {
        let min = self.min.load(Relaxed);
        min + min / 2
    }

    /// Frames that a pool of `zone` keeps, beside its reserve, from an ordinary request with this ceiling.
    pub(crate) fn protection(&self, zone: Zone, ceiling: Zone) -> u64 {
        match ceiling {
            _ if ceiling <= zone => 0,
            Zone::High => self.high_guard.load(Relaxed),
            _ => self.guard.load(Relaxed),
        }
    }

    /// Frames that a request of `class` with this ceiling leaves in a pool of `zone`.
    pub(crate) fn floor(&self, zone: Zone, class: AllocClass, ceiling: Zone) -> u64 {
        let min = self.min.load(Relaxed);
        match class {
            AllocClass::Ordinary | AllocClass::Spare => min + self.protection(zone, ceiling),
            AllocClass::Atomic => min / 2,
            AllocClass::PageTables => min / 4,
            AllocClass::Emergency => 0,
        }
    }
}

/// The arrays of a pool of `blocks` blocks.
pub(crate) struct Arrays {
    pub(crate) words: &'static [AtomicU64],
    pub(crate) blocks: &'static [Block],
    pub(crate) cleared: &'static [AtomicU64],
    pub(crate) whole: WholeBlocks,
    pub(crate) bins: &'static [Bins],
}

impl Pool {
    pub(crate) fn new(brand: Brand, span: PfnRange, node: NodeId, zone: Zone, arrays: Arrays) -> Self {
        let base = Self::base_of(span);
        let flags = match zone {
            Zone::Dma => Raw::BYPASS,
            Zone::High => Raw::HIGH | Raw::BYPASS,
            _ => 0,
        };
        Self {
            span,
            base,
            node,
            zone,
            present: AtomicU64::new(0),
            tag: Raw::pool_tag(brand, node, flags),
            words: arrays.words,
            blocks: arrays.blocks,
            cleared: arrays.cleared,
            whole: arrays.whole,
            skew: Self::skew_of(span),
            marks: Watermarks::default(),
            bins: arrays.bins,
            _next_line: NextLine,
            lock: Lock::new(()),
            free: AtomicU64::new(0),
            free_blocks: AtomicU64::new(0),
            largest_runs: LargestRuns::default(),
            refused: AtomicU64::new(0),
            turn: AtomicU32::new(bin::END),
        }
    }

    pub(crate) const fn base_of(span: PfnRange) -> Pfn {
        Pfn::new(span.start().get() & !(FRAMES as u64 - 1))
    }

    /// Returns how many blocks a pool over `span` has.
    pub(crate) const fn blocks_of(span: PfnRange) -> usize {
        (span.end().get() - Self::base_of(span).get()).div_ceil(FRAMES as u64) as usize
    }

    /// Returns the place of block 0 in its 1-GiB region.
    pub(crate) const fn skew_of(span: PfnRange) -> usize {
        (span.start().get() >> Order::LARGE.get()) as usize % 512
    }

    /// Takes the lock. Interrupts stay off until the guard is gone, so no handler can wait for its own CPU.
    #[inline]
    pub(crate) fn lock<'a>(&'a self, irq_off: IrqOff<'a>) -> PoolGuard<'a> {
        #[cfg(all(test, not(any(loom, shuttle))))]
        crate::tests::note_lock_visit();
        PoolGuard { pool: self, _guard: self.lock.lock(irq_off) }
    }

    /// Takes the lock of a pool that is in no table yet.
    pub(crate) fn lock_unpublished(&self) -> PoolGuard<'_> {
        // SAFETY: no table leads an interrupt handler to the pool, so that none can wait for its lock; and the token
        // proves nothing else, because it leaves this function in the lock's guard alone.
        self.lock(unsafe { IrqOff::assume(CpuId::BOOT) })
    }

    /// Tells whether much of what is free lies scattered in partial blocks: more than a quarter of the free frames, and
    /// as many as a quarter of the blocks have that are not whole, those in use altogether included. Blocks can become
    /// whole then, if frames go home soon instead of being used again where they happen to lie.
    pub(crate) fn is_loose(&self) -> bool {
        let frames = u64::from(FRAMES);
        let (free, whole) = (self.free_frames(), self.free_blocks.load(Relaxed));
        let others = (self.blocks.len() as u64).saturating_sub(whole);
        let scattered = free.saturating_sub(whole * frames);
        scattered * 4 > others * frames && scattered * 4 > free
    }

    /// Returns how many free frames the pool has at least while CPUs keep any of it: the reserve, and the frames that are
    /// guarded from a request of the class and the ceiling that the magazines serve, because a cache would pass them on
    /// to such requests.
    pub(crate) fn cache_floor(&self) -> u64 {
        let floor = self.marks.floor(self.zone, AllocClass::Ordinary, Zone::Normal);
        floor.max(self.marks.low())
    }

    /// Tells whether it is worth taking the lock for a block of `order` that leaves `floor` frames: a request that no
    /// pool can serve takes no lock, in a machine of any number of pools. Cost: loads of one line.
    pub(crate) fn may_have(&self, order: Order, floor: u64) -> bool {
        let blocks = order.frames().div_ceil(u64::from(FRAMES));
        self.free_frames() >= floor + order.frames()
            && (self.free_blocks.load(Relaxed) >= blocks || self.has_run(order))
    }

    /// Tells whether a partial block has a run of `order`: a hint, where the lock is not held.
    fn has_run(&self, order: Order) -> bool {
        order < Order::LARGE && self.largest_runs.has(order)
    }

    /// Tells whether the word of the largest runs says what the bins say. With the lock held.
    pub(crate) fn knows_its_runs(&self) -> bool {
        (0..Order::LARGE.get()).filter_map(Order::new).all(|order| {
            let is_there = self.bins.iter().any(|bins| bins.emptiest(order.get().into()).is_some());
            self.largest_runs.has(order) == is_there
        })
    }

    pub(crate) fn free_frames(&self) -> u64 {
        self.free.load(Relaxed)
    }

    /// Returns the bins of `kind`: a hint only, where the lock is not held.
    #[inline]
    pub(crate) fn bins(&self, kind: Mobility) -> &Bins {
        &self.bins[kind as usize]
    }

    /// Returns how many words the bits of the groups of a pool over `span` take.
    pub(crate) const fn cleared_words(span: PfnRange) -> usize {
        (Self::blocks_of(span) + Self::skew_of(span)).div_ceil(GROUP).div_ceil(u64::BITS as usize)
    }

    /// Tells whether the records of a block's group are cleared: no block of it has been taken before.
    #[inline]
    pub(crate) fn is_cleared(&self, block: usize) -> bool {
        let group = (block + self.skew) / GROUP;
        self.cleared[group / 64].load(Acquire) & 1 << (group % 64) != 0
    }

    /// Returns the record of a block, if one of its group was taken before.
    #[inline]
    pub(crate) fn record(&self, block: usize) -> Option<&'static Block> {
        if self.is_cleared(block) { self.blocks.get(block) } else { None }
    }

    /// Returns what is known of a block: of one that was taken before, its record; of any other, that it is whole. The
    /// holder of a frame may look at the record itself.
    #[inline]
    pub(crate) fn info(&self, block: usize) -> Info {
        self.record(block).map_or(Info::WHOLE, Block::info)
    }

    /// Returns the frame's number within the pool.
    #[inline]
    pub(crate) const fn offset(&self, pfn: Pfn) -> usize {
        pfn.get().wrapping_sub(self.base.get()) as usize
    }

    pub(crate) const fn block_start(&self, block: usize) -> Pfn {
        self.base.plus((block * FRAMES as usize) as u64)
    }

    /// Asks for the lines that a free of the frame writes.
    #[inline]
    pub(crate) fn prefetch(&self, pfn: Pfn) {
        let offset = self.offset(pfn);
        if let (Some(word), Some(block)) = (self.words.get(offset / 64), self.blocks.get(offset / 512)) {
            prefetch_write(word);
            prefetch_write(block);
        }
    }

    /// Returns the free bits of a block as they are now; all ones for a whole block.
    pub(crate) fn bits(&self, block: usize) -> Bits {
        match self.info(block).state() {
            State::Whole => [u64::MAX; WORDS],
            State::Partial => core::array::from_fn(|at| self.words[block * WORDS + at].load(Relaxed)),
            State::Large | State::Absent => [0; WORDS],
        }
    }

    /// `range`, cut at the ends of blocks.
    pub(crate) fn blocks_in(&self, range: PfnRange) -> impl Iterator<Item = PfnRange> + use<> {
        let frames = u64::from(FRAMES);
        let first = range.start().get() / frames;
        (first..range.end().get().div_ceil(frames).max(first)).filter_map(move |block| {
            let block = PfnRange::of_length(Pfn::new(block * frames), frames)?;
            Some(block.intersection(range)).filter(|part| !part.is_empty())
        })
    }

    /// Returns the first frame in `from..end` that is not free.
    pub(crate) fn next_in_use(&self, from: Pfn, end: Pfn) -> Option<Pfn> {
        let (mut at, end) = (self.offset(from), self.offset(end));
        while at < end {
            let (block, stop) = (at / 512, end.min((at / 512 + 1) * 512));
            let wanted = words::mask_of(at % 512, stop - block * 512);
            if let Some(first) = words::first_missing(&self.bits(block), &wanted) {
                return Some(self.block_start(block).plus(u64::from(first)));
            }
            at = stop;
        }
        None
    }

    /// Tells whether the frame is free, as far as the pool knows: frames in per-CPU caches are not free here.
    pub(crate) fn is_free(&self, pfn: Pfn) -> bool {
        let offset = self.offset(pfn);
        match self.info(offset / 512).state() {
            State::Whole => true,
            State::Partial => self.is_set(offset),
            State::Large | State::Absent => false,
        }
    }

    /// Tells whether the bit of a frame of a partial block says that it is free.
    #[inline]
    pub(crate) fn is_set(&self, offset: usize) -> bool {
        self.words[offset / 64].load(Relaxed) & 1 << (offset % 64) != 0
    }
}

/// A pool whose lock is held.
pub(crate) struct PoolGuard<'a> {
    pub(crate) pool: &'a Pool,
    _guard: Guard<'a, (), IrqOff<'a>>,
}

impl PoolGuard<'_> {
    /// Returns the bins of `kind`, which nothing changes while the guard lives.
    #[inline]
    pub(crate) fn bins(&self, kind: Mobility) -> &Bins {
        self.pool.bins(kind)
    }

    /// Returns the first block of a bin.
    #[inline]
    pub(crate) fn head(&self, kind: Mobility, bin: Bin) -> Option<usize> {
        self.bins(kind).head(bin)
    }

    /// Returns the block after `block` in its bin.
    pub(crate) fn next(&self, block: usize) -> Option<usize> {
        Bins::next(self.pool.blocks, block)
    }

    /// Clears the records of a block's group, unless they are. For blocks that leave the tree of whole ones, before
    /// their records are written. Cost: a load; once for each group, 1 KiB of stores.
    #[inline]
    pub(crate) fn clear_records(&mut self, block: usize) {
        if !self.pool.is_cleared(block) {
            self.clear_group((block + self.pool.skew) / GROUP);
        }
    }

    #[cold]
    fn clear_group(&mut self, group: usize) {
        let pool = self.pool;
        let block_of = |bit: usize| bit.saturating_sub(pool.skew).min(pool.blocks.len());
        pool.blocks[block_of(group * GROUP)..block_of((group + 1) * GROUP)].iter().for_each(Block::clear);
        let word = &pool.cleared[group / 64];
        // Readers without the lock see the records cleared, or do not look at them.
        word.store(word.load(Relaxed) | 1 << (group % 64), Release);
    }

    /// Changes a block's record, and its place in the tree and the bins with it.
    #[inline]
    pub(crate) fn rebin(&mut self, block: usize, new: Info) {
        let record = &self.pool.blocks[block];
        let old = record.info();
        record.set(new);
        let place = |info: Info| match info.state() {
            State::Partial if !info.is_isolated() => bin::of(info),
            _ => None,
        };
        let (was, is) = (place(old), place(new));
        if was != is || old.kind() != new.kind() {
            if let Some(bin) = was {
                self.bins(old.kind()).unlink(self.pool.blocks, block, bin, &self.pool.largest_runs);
            }
            if let Some(bin) = is {
                // Compactions try the first block of a bin: one that they have given up on goes last.
                let at = if old.is_isolated() { Place::Last } else { Place::First };
                self.bins(new.kind()).link(self.pool.blocks, block, bin, at, &self.pool.largest_runs);
            }
        }
        let (was, is) = (old.state() == State::Whole, new.state() == State::Whole);
        if was != is {
            self.set_whole(block, is);
        }
    }

    fn set_whole(&mut self, block: usize, whole: bool) {
        let pool = self.pool;
        let count = pool.free_blocks.load(Relaxed);
        if whole {
            pool.whole.insert(block + pool.skew);
            pool.free_blocks.store(count + 1, Relaxed);
        } else {
            pool.whole.remove(block + pool.skew);
            pool.free_blocks.store(count - 1, Relaxed);
        }
    }

    /// Makes allocated blocks of whole pages whole and free.
    pub(crate) fn make_whole(&mut self, first: usize, count: usize) {
        let pool = self.pool;
        (first..first + count).for_each(|block| pool.blocks[block].set(Info::WHOLE));
        if count == 1 {
            return self.set_whole(first, true);
        }
        pool.whole.insert_range(first + pool.skew, first + count + pool.skew);
        pool.free_blocks.store(pool.free_blocks.load(Relaxed) + count as u64, Relaxed);
    }

    /// Takes whole blocks out of the tree, and gives each the record that `record` says.
    pub(crate) fn take_whole(&mut self, first: usize, count: usize, record: impl Fn(usize) -> Info) {
        let pool = self.pool;
        (first..first + count).step_by(GROUP).for_each(|block| self.clear_records(block));
        self.clear_records(first + count - 1);
        (first..first + count).for_each(|block| pool.blocks[block].set(record(block)));
        if count == 1 {
            return self.set_whole(first, false);
        }
        pool.whole.remove_range(first + pool.skew, first + count + pool.skew);
        pool.free_blocks.store(pool.free_blocks.load(Relaxed) - count as u64, Relaxed);
    }

    #[inline]
    pub(crate) fn add_free(&mut self, frames: u64) {
        self.pool.free.store(self.pool.free.load(Relaxed) + frames, Relaxed);
    }

    #[inline]
    pub(crate) fn sub_free(&mut self, frames: u64) {
        self.pool.free.store(self.pool.free.load(Relaxed) - frames, Relaxed);
    }
}
