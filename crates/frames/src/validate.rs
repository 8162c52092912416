//! The exact check: does all that is kept agree? For tests and for `frames stress`; it reads every word of every pool.

use core::fmt;

use rhumb_machine::{IrqOff, Machine, Pfn};

use crate::block::State;
use crate::block::bin::{self, Bin};
use crate::depot::Depot;
use crate::frames::Frames;
use crate::pool::{Held, Pool};
use crate::raw::Raw;
use crate::request::Mobility;
use crate::sync::Relaxed;
use crate::words::{self, FRAMES};

/// What does not agree, and where.
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
        }
    }
}

impl core::error::Error for Inconsistency {}

impl<M: Machine> Frames<M> {
    /// Checks every structure. No other CPU may be inside the allocator meanwhile.
    ///
    /// # Errors
    /// The first thing that does not agree.
    pub fn validate(&self) -> Result<(), Inconsistency> {
        let guard = self.machine.irq_off();
        self.depot.pools.iter().try_for_each(|pool| check_pool(pool, guard.irq_off()))?;
        self.depot.check_caches()
    }
}

impl Depot {
    fn check_caches(&self) -> Result<(), Inconsistency> {
        let mut result = Ok(());
        self.for_each_cached(|_, raw| {
            let Some(pool) = self.pools.get(raw.pool()) else { return };
            let frames = raw.pfn().get()..raw.pfn().get() + raw.order().frames();
            if let Some(pfn) = frames.map(Pfn::new).find(|&pfn| pool.is_free(pfn)) {
                result = Err(Inconsistency::CachedTwice(pfn));
            }
        });
        result
    }

    /// Calls `each` with every block in every CPU's cache.
    pub(crate) fn for_each_cached(&self, mut each: impl FnMut(usize, Raw)) {
        for (index, cache) in self.caches.iter().enumerate() {
            let mut each = |raw| each(index % self.cpus, raw);
            for kind in 0..Mobility::COUNT {
                (0..cache.small[kind].len()).map(cache.small[kind].oldest_first()).for_each(&mut each);
                cache.open[kind].for_each(&mut each);
            }
            for (_, ring) in cache.all_runs() {
                (0..ring.len()).map(ring.oldest_first()).for_each(&mut each);
            }
            (0..cache.away.len()).map(cache.away.oldest_first()).for_each(&mut each);
        }
    }
}

fn check_pool(pool: &Pool, irq_off: IrqOff<'_>) -> Result<(), Inconsistency> {
    let held = pool.lock(irq_off);
    let (mut free, mut whole, mut binned) = (0, 0, 0);
    for (block, record) in pool.blocks.iter().enumerate() {
        let (info, start) = (record.info(), pool.block_start(block));
        let in_tree = pool.whole.contains(block + pool.skew);
        if in_tree != (info.state() == State::Whole) {
            return Err(Inconsistency::Tree(start));
        }
        let bits = pool.bits(block);
        let found: u32 = bits.iter().map(|word| word.count_ones()).sum();
        free += u64::from(found);
        whole += u64::from(in_tree);
        if info.state() != State::Absent && found != info.free() {
            return Err(Inconsistency::FreeCount(start));
        }
        if info.state() == State::Split {
            if info.rank() != words::block_rank(&bits) || found == FRAMES {
                return Err(Inconsistency::Rank(start));
            }
            binned += u64::from(found > 0);
        }
    }
    for kind in Mobility::ALL {
        for index in 0..bin::GRAINS * bin::ORDERS * bin::CLASSES {
            let (row, class) = (index / bin::CLASSES, index % bin::CLASSES);
            let bin = Bin { grain: row / bin::ORDERS, order: row % bin::ORDERS, class };
            binned -= check_bin(&held, kind, bin, binned)?;
        }
    }
    if binned != 0 {
        return Err(Inconsistency::Bin(pool.base));
    }
    if !pool.whole.is_consistent() {
        return Err(Inconsistency::Summary(pool.base));
    }
    if free != pool.free_frames() {
        return Err(Inconsistency::PoolFree(pool.base, pool.free_frames(), free));
    }
    let said = pool.free_blocks.load(Relaxed);
    if whole != said {
        return Err(Inconsistency::PoolBlocks(pool.base, said, whole));
    }
    Ok(())
}

/// Walks a bin and returns how many blocks it has, at most `most`.
fn check_bin(held: &Held<'_>, kind: Mobility, bin: Bin, most: u64) -> Result<u64, Inconsistency> {
    let pool = held.pool;
    let (mut at, mut before, mut count) = (held.head(kind, bin), 0, 0);
    if at.is_some() != held.is_filled(kind, bin) {
        return Err(Inconsistency::Bin(pool.base));
    }
    while let Some(block) = at {
        let record = &pool.blocks[block];
        let info = record.info();
        count += 1;
        let belongs = info.state() == State::Split && info.kind() == kind && bin::of(info) == Some(bin);
        if !belongs || record.prev.load(Relaxed) != before || count > most {
            return Err(Inconsistency::Bin(pool.block_start(block)));
        }
        before = block as u32 + 1;
        at = held.next(block);
    }
    Ok(count)
}
