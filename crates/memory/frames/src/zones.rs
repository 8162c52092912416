//! The pools of a machine, the order in which a request visits them, and the CPUs' caches before them.
//!
//! The order (the *zonelist*) of a node: memory past the direct map, of all nodes by distance; then the node's own pools
//! in the direct map from the highest zone down, and those of the other nodes by distance, each from the highest zone
//! down; DMA memory, for which some devices have no alternative, comes after all else. A request skips pools above its
//! ceiling, and with a binding those of other nodes. Within a zone, memory that was there at boot comes before memory
//! that was added.
//!
//! Memory past the direct map comes before memory that is near, because the direct map alone serves kernel objects and
//! page tables: a node whose memory is all in the map would otherwise give it to requests that any frame serves, while
//! frames that serve nothing else are free elsewhere.

pub(crate) mod build;
pub(crate) mod caches;
pub(crate) mod drain;
pub(crate) mod exchange;
pub(crate) mod layout;
pub(crate) mod refill;
pub(crate) mod storage;

use rhumb_machine::{CpuId, MAX_NODES, NodeId, Pfn};

use crate::cache::{CpuCache, RUN_FRAMES, SMALL};
use crate::handle::raw::Brand;
use crate::pool::Pool;
use crate::request::Zone;
use crate::zones::caches::Caches;
use crate::zones::storage::Table;
use rhumb_sync::Keepers;
use rhumb_sync::atomic::{Acquire, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, Relaxed};

/// The most pools: their numbers plus one fit a byte.
pub(crate) const MAX_POOLS: usize = 255;
/// The most pools at first: 64 nodes of three zones each. The others are for memory that is added at run time.
pub(crate) const FIRST_POOLS: usize = 192;

/// How far an attempt goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effort {
    /// Leaves the low watermark in each pool, so that another zone is taken before a reserve is touched.
    Easy,
    /// Leaves only the frames that the request's class may not take, and takes no frame more than is asked for, because
    /// a cache would give the others to requests of any class.
    Hard,
}

pub(crate) struct Zones {
    pub(crate) brand: Brand,
    pub(crate) pools: &'static Table<Pool, MAX_POOLS>,
    pub(crate) pool_count: AtomicUsize,
    /// The first frame of each pool times 256 plus the pool's number, ascending.
    pub(crate) starts: &'static [AtomicU64],
    /// The number of the largest pool: most frames are in it, so it is looked at first.
    pub(crate) largest: AtomicU8,
    /// A row of `MAX_POOLS` pool numbers plus one for each node: all pools, in the order in which a request visits them.
    pub(crate) zonelists: &'static [AtomicU8],
    /// The same, of the node's own pools alone.
    pub(crate) own_lists: &'static [AtomicU8],
    pub(crate) caches: Caches,
    /// The CPUs whose caches may hold something.
    pub(crate) keepers: Keepers,
    pub(crate) has_high: bool,
    /// Requests that were refused for want of memory in the direct map while memory past it was free.
    pub(crate) refused_low: AtomicU64,
    /// Bounds of a CPU's hoard: frames in a magazine, and frames in a batch.
    pub(crate) small_limit: AtomicU32,
    pub(crate) batch_limit: AtomicU32,
    pub(crate) direct_limit: Pfn,
    /// A row of `MAX_NODES` for each node.
    pub(crate) distances: &'static [AtomicU8],
}

impl Zones {
    #[inline(always)]
    pub(crate) fn cache(&self, cpu: CpuId) -> Option<&CpuCache> {
        self.caches.of(cpu)
    }

    /// Sets the bounds of what a CPU may keep: a 64th of memory among all CPUs in a magazine of single frames, and a
    /// 256th in one of runs.
    pub(crate) fn set_limits(&self) {
        let present: u64 = self.pools.iter().map(|pool| pool.present.load(Relaxed)).sum();
        let share = present / (64 * self.caches.all().len() as u64);
        self.small_limit.store(share.clamp(8, SMALL as u64) as u32, Relaxed);
        // Long runs that a CPU keeps are pieces of many blocks. With more of them than a 256th of its memory in each
        // magazine, fewer blocks would become whole.
        let run_frames = (share / 4).clamp(2, RUN_FRAMES) as u32;
        self.caches.all().iter().for_each(|cache| cache.run_frames.store(run_frames, Relaxed));
        self.batch_limit.store(share.clamp(8, 512) as u32, Relaxed);
    }

    /// Returns the pools that a request may use, in their order.
    pub(crate) fn zonelist(&self, near: usize, ceiling: Zone) -> impl Iterator<Item = &'static Pool> + '_ {
        self.listed(self.zonelists, near, ceiling)
    }

    /// Returns the pools of one node up to a zone, in the same order. Cost: the node's own pools, of any number in all.
    pub(crate) fn pools_of(
        &self,
        node: NodeId,
        ceiling: Zone,
    ) -> impl Iterator<Item = &'static Pool> + use<'_> {
        self.listed(self.own_lists, node.index(), ceiling)
    }

    /// Returns the pools up to a zone in a row of `lists`.
    pub(crate) fn listed(
        &self,
        lists: &'static [AtomicU8],
        row: usize,
        ceiling: Zone,
    ) -> impl Iterator<Item = &'static Pool> + use<'_> {
        let row = lists.get(row * MAX_POOLS..(row + 1) * MAX_POOLS).unwrap_or(&[]);
        row.iter()
            .map_while(|entry| self.pools.get((entry.load(Acquire) as usize).checked_sub(1)?))
            .filter(move |pool| pool.zone <= ceiling)
    }

    /// Puts a new pool into the zonelists, and into its node's own list.
    pub(crate) fn add_to_zonelists(&self, new: usize) {
        let Some(pool) = self.pools.get(new) else { return };
        for (node, row) in self.zonelists.chunks(MAX_POOLS).enumerate() {
            self.add_to_row(row, node, new, pool);
        }
        if let Some(row) = self.own_lists.chunks(MAX_POOLS).nth(pool.node.index()) {
            self.add_to_row(row, pool.node.index(), new, pool);
        }
    }

    /// Puts a new pool into a row, in the order of requests that `node` makes. Entries move up one by one from the end,
    /// so that a reader meanwhile may see a pool twice, but misses none.
    fn add_to_row(&self, row: &[AtomicU8], node: usize, new: usize, pool: &Pool) {
        let rank = |pool: &Pool| {
            let (zone, other) = (Zone::COUNT - pool.zone as usize, pool.node.index());
            let is_mapped = pool.zone != Zone::High;
            (pool.zone == Zone::Dma, is_mapped, self.distance(node, other), other != node, other, zone)
        };
        let count = row.iter().position(|entry| entry.load(Relaxed) == 0).unwrap_or(MAX_POOLS);
        let mut at = count.min(MAX_POOLS - 1);
        while at > 0 {
            let before = row[at - 1].load(Relaxed);
            if self.pools.get(before as usize - 1).is_some_and(|other| rank(other) <= rank(pool)) {
                break;
            }
            row[at].store(before, Ordering::Release);
            at -= 1;
        }
        row[at].store(new as u8 + 1, Ordering::Release);
    }

    fn distance(&self, from: usize, to: usize) -> u8 {
        self.distances.get(from * MAX_NODES + to).map_or(u8::MAX, |distance| distance.load(Relaxed))
    }

    /// Returns how many nodes there can be.
    pub(crate) fn nodes(&self) -> usize {
        self.zonelists.len() / MAX_POOLS
    }

    /// Puts a new pool into the list by address. As in the zonelists, entries move up one by one from the end.
    pub(crate) fn add_to_starts(&self, new: usize, count: usize) {
        let Some(pool) = self.pools.get(new) else { return };
        let entry = pool.span.start().get() << 8 | new as u64;
        let mut at = count;
        while at > 0 {
            let before = self.starts[at - 1].load(Relaxed);
            if before < entry {
                break;
            }
            self.starts[at].store(before, Ordering::Release);
            at -= 1;
        }
        self.starts[at].store(entry, Ordering::Release);
        let largest = self.pools.get(self.largest.load(Relaxed).into());
        if largest.is_none_or(|largest| largest.span.frames() < pool.span.frames()) {
            self.largest.store(new as u8, Relaxed);
        }
    }

    /// Returns the pool that holds `pfn`. Cost: a look at the largest pool, or a search by halves in a list of eight
    /// pools a cache line.
    #[inline]
    pub(crate) fn pool_of(&self, pfn: Pfn) -> Option<&'static Pool> {
        let largest = self.pools.get(self.largest.load(Relaxed).into());
        if let Some(pool) = largest.filter(|pool| pool.span.contains(pfn)) {
            return Some(pool);
        }
        self.listed_pool_of(pfn).or_else(|| self.search(pfn))
    }

    /// Finds the pool that holds `pfn` by halves. A pool that is being added may be missed.
    #[inline]
    pub(crate) fn listed_pool_of(&self, pfn: Pfn) -> Option<&'static Pool> {
        let last = pfn.get() << 8 | 0xff;
        let (mut low, mut high) = (0, self.pool_count.load(Acquire).min(self.starts.len()));
        let mut found = 0;
        while low < high {
            let middle = usize::midpoint(low, high);
            let entry = self.starts[middle].load(Acquire);
            if entry <= last {
                (found, low) = (entry, middle + 1);
            } else {
                high = middle;
            }
        }
        self.pools.get((found & 0xff) as usize).filter(|pool| pool.span.contains(pfn))
    }

    /// Returns the pool that holds `pfn`, one by one: it may have been added while the list was searched.
    #[cold]
    fn search(&self, pfn: Pfn) -> Option<&'static Pool> {
        self.pools.iter().find(|pool| pool.span.contains(pfn))
    }
}
