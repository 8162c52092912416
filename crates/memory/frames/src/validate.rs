//! The exact check: does all that is kept agree? For tests and for `frames stress`; it reads every word of every pool.

use core::fmt;

use rhumb_machine::{CpuId, Machine, Pfn};

use crate::frames::Frames;
use crate::handle::raw::Raw;
use crate::pool::Pool;
use crate::pool::block::State;
use crate::pool::block::bin::{self, Bin};
use crate::pool::words::{self, FRAMES};
use crate::request::Mobility;
use crate::zones::Zones;
use rhumb_sync::atomic::Relaxed;

/// The things that do not agree, and their place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inconsistency {
    /// The record of this block counts other free frames than its bits have.
    FreeCount(Pfn),
    /// The record of this block names another largest run than its bits have.
    Rank(Pfn),
    /// This block is in the tree of whole blocks and should not be, or the other way round.
    Tree(Pfn),
    /// The summaries of the tree of this pool are wrong.
    Summary(Pfn),
    /// This block is not in the bin where it belongs, or is in two.
    Bin(Pfn),
    /// The free frames of the pool with this start: (said, found).
    PoolFree(Pfn, u64, u64),
    /// The whole blocks of the pool with this start: (said, found).
    PoolBlocks(Pfn, u64, u64),
    /// This frame is in a CPU's cache and free in its pool.
    CachedTwice(Pfn),
    /// The CPU with this number keeps frames, and is not listed among those that do.
    Unlisted(usize),
}

impl fmt::Display for Inconsistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FreeCount(pfn) => write!(f, "block {pfn}: its free count is wrong"),
            Self::Rank(pfn) => write!(f, "block {pfn}: its largest run is wrong"),
            Self::Tree(pfn) => write!(f, "block {pfn}: the tree of whole blocks is wrong"),
            Self::Summary(pfn) => write!(f, "pool {pfn}: a summary of the tree is wrong"),
            Self::Bin(pfn) => write!(f, "block {pfn}: it is in the wrong bin"),
            Self::PoolFree(pfn, said, found) => {
                write!(f, "pool {pfn}: {said} frames said to be free, {found} are")
            }
            Self::PoolBlocks(pfn, said, found) => {
                write!(f, "pool {pfn}: {said} blocks said to be whole, {found} are")
            }
            Self::CachedTwice(pfn) => write!(f, "frame {pfn} is in a cache and free in its pool"),
            Self::Unlisted(cpu) => write!(f, "CPU {cpu} keeps frames and is not listed"),
        }
    }
}

impl core::error::Error for Inconsistency {}

/// Blocks that one step of the check looks at: with interrupts off, under a pool's lock.
const STEP_BLOCKS: usize = 64;

impl<M: Machine> Frames<M> {
    /// Checks every structure, in steps of 64 blocks: interrupts are on in between. Exact while no CPU allocates or
    /// frees, and no interrupt handler on this one.
    ///
    /// # Errors
    /// The first thing that does not agree.
    pub fn validate(&self) -> Result<(), Inconsistency> {
        self.zones.pools.iter().try_for_each(|pool| self.check_pool(pool))?;
        self.zones.check_caches()
    }

    fn check_pool(&self, pool: &Pool) -> Result<(), Inconsistency> {
        let mut sums = Sums::default();
        for first in (0..pool.blocks.len()).step_by(STEP_BLOCKS) {
            let guard = self.machine.irq_off();
            let _held = pool.lock(guard.irq_off());
            let end = pool.blocks.len().min(first + STEP_BLOCKS);
            (first..end).try_for_each(|block| sums.add(pool, block))?;
        }
        for at in 0..pool.whole.words() {
            let guard = self.machine.irq_off();
            let _held = pool.lock(guard.irq_off());
            if !pool.whole.is_consistent_at(at) {
                return Err(Inconsistency::Summary(pool.base));
            }
        }
        let knows_its_runs = {
            let guard = self.machine.irq_off();
            let _held = pool.lock(guard.irq_off());
            pool.knows_its_runs()
        };
        if !knows_its_runs {
            return Err(Inconsistency::Bin(pool.base));
        }
        let mut left = sums.binned;
        for kind in Mobility::ALL {
            for index in 0..bin::GRAINS * bin::ORDERS * bin::CLASSES {
                let (row, class) = (index / bin::CLASSES, index % bin::CLASSES);
                let bin = Bin { grain: row / bin::ORDERS, order: row % bin::ORDERS, class };
                left -= self.check_bin(pool, kind, bin, left)?;
            }
        }
        if left != 0 {
            return Err(Inconsistency::Bin(pool.base));
        }
        if sums.free != pool.free_frames() {
            return Err(Inconsistency::PoolFree(pool.base, pool.free_frames(), sums.free));
        }
        let said = pool.free_blocks.load(Relaxed);
        if sums.whole != said {
            return Err(Inconsistency::PoolBlocks(pool.base, said, sums.whole));
        }
        Ok(())
    }

    /// Walks a bin and returns how many blocks it has, at most `most`.
    fn check_bin(&self, pool: &Pool, kind: Mobility, bin: Bin, most: u64) -> Result<u64, Inconsistency> {
        let (mut at, mut before, mut last, mut count) = (None, 0, 0, 0);
        loop {
            let guard = self.machine.irq_off();
            let held = pool.lock(guard.irq_off());
            if before == 0 {
                at = held.head(kind, bin);
                if at.is_some() != held.bins(kind).is_filled(bin) {
                    return Err(Inconsistency::Bin(pool.base));
                }
            }
            for _ in 0..STEP_BLOCKS {
                let Some(block) = at else {
                    let ends_well = before == last;
                    return if ends_well { Ok(count) } else { Err(Inconsistency::Bin(pool.base)) };
                };
                let record = &pool.blocks[block];
                let info = record.info();
                count += 1;
                let belongs =
                    info.state() == State::Partial && info.kind() == kind && bin::of(info) == Some(bin);
                let prev = record.prev.load(Relaxed);
                if before == 0 {
                    last = prev;
                }
                if !belongs || before != 0 && prev != before || count > most {
                    return Err(Inconsistency::Bin(pool.block_start(block)));
                }
                before = block as u32 + 1;
                at = held.next(block);
            }
        }
    }
}

/// The sum over the blocks of a pool.
#[derive(Default)]
struct Sums {
    free: u64,
    whole: u64,
    binned: u64,
}

impl Sums {
    fn add(&mut self, pool: &Pool, block: usize) -> Result<(), Inconsistency> {
        let (info, start) = (pool.info(block), pool.block_start(block));
        let in_tree = pool.whole.contains(block + pool.skew);
        if in_tree != (info.state() == State::Whole) {
            return Err(Inconsistency::Tree(start));
        }
        let bits = pool.bits(block);
        let found: u32 = bits.iter().map(|word| word.count_ones()).sum();
        self.free += u64::from(found);
        self.whole += u64::from(in_tree);
        if info.state() != State::Absent && found != info.free() {
            return Err(Inconsistency::FreeCount(start));
        }
        if info.state() == State::Partial {
            if info.rank() != words::block_rank(&bits) || found == FRAMES {
                return Err(Inconsistency::Rank(start));
            }
            self.binned += u64::from(found > 0);
        }
        Ok(())
    }
}

impl Zones {
    fn check_caches(&self) -> Result<(), Inconsistency> {
        let mut result = Ok(());
        for (index, cache) in self.caches.all().iter().enumerate() {
            let is_listed = CpuId::new(index).is_some_and(|cpu| self.keepers.contains(cpu));
            if !is_listed && (cache.held() > 0 || cache.may_keep()) {
                return Err(Inconsistency::Unlisted(index));
            }
        }
        self.for_each_cached(|_, raw| {
            let Some(pool) = self.pool_of(raw.pfn()) else { return };
            let frames = raw.pfn().get()..raw.pfn().get() + raw.order().frames();
            if let Some(pfn) = frames.map(Pfn::new).find(|&pfn| pool.is_free(pfn)) {
                result = Err(Inconsistency::CachedTwice(pfn));
            }
        });
        result
    }

    /// Calls `each` with every block in every CPU's cache; with what a look finds there, while the CPU works with it.
    /// Cost: a load for each 64 CPUs, and one for each block.
    pub(crate) fn for_each_cached(&self, mut each: impl FnMut(CpuId, Raw)) {
        for (cpu, cache) in self.keeping() {
            let mut each = |raw| each(cpu, raw);
            for kind in 0..Mobility::COUNT {
                cache.small[kind].for_each(&mut each);
                cache.open[kind].for_each(&mut each);
            }
            cache.all_runs().for_each(|(_, ring)| ring.for_each(&mut each));
            cache.away.for_each(&mut each);
            cache.away_runs.for_each(&mut each);
        }
    }
}
