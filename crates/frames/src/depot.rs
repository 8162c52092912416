//! The pools of a machine, the order in which a request visits them, and the CPUs' caches before them.
//!
//! The order (the *zonelist*) of a node: its own pools from the highest zone down, then those of the other nodes by
//! distance, each from the highest zone down; DMA memory, for which some devices have no alternative, comes after all
//! else. A request skips pools above its ceiling, and with a binding those of
//! other nodes. Within a zone, memory that was there at boot comes before memory that was added.

use rhumb_machine::{CpuId, MAX_NODES, Pfn};

use crate::cache::{CpuCache, SMALL};
use crate::pool::Pool;
use crate::raw::Reach;
use crate::request::Zone;
use crate::storage::Table;
use crate::sync::{AtomicU8, AtomicU32, AtomicUsize, Ordering, Relaxed};

/// The most pools: each node has up to four, plus one for each memory block added at run time.
pub(crate) const MAX_POOLS: usize = 64;

/// How far an attempt goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effort {
    /// Leaves the low watermark in each pool, so that another zone is taken before a reserve is touched.
    Easy,
    /// Down to what the request's class may take.
    Hard,
}

pub(crate) struct Depot {
    pub(crate) pools: Table<Pool, MAX_POOLS>,
    pub(crate) pool_count: AtomicUsize,
    /// A row of `MAX_POOLS` pool numbers plus one for each node.
    pub(crate) zonelists: &'static [AtomicU8],
    /// `cpus` caches for mapped frames, then `cpus` for frames from anywhere if there is high memory.
    pub(crate) caches: &'static [CpuCache],
    pub(crate) cpus: usize,
    /// What the caches for frames from anywhere are offset by: 0 where there is no high memory.
    pub(crate) anywhere: usize,
    /// Bounds of a CPU's hoard: frames in a magazine, and frames in a bite.
    pub(crate) small_limit: AtomicU32,
    pub(crate) bite_limit: AtomicU32,
    pub(crate) direct_limit: Pfn,
    /// A row of `MAX_NODES` for each node.
    pub(crate) distances: &'static [AtomicU8],
}

impl Depot {
    #[inline(always)]
    pub(crate) fn cache(&self, cpu: CpuId, reach: Reach) -> Option<&CpuCache> {
        let offset = match reach {
            Reach::Mapped => 0,
            Reach::Anywhere => self.anywhere,
        };
        self.caches.get(cpu.index() + offset)
    }

    /// Sets the bounds of what a CPU may keep: a 64th of memory among all CPUs in each magazine.
    pub(crate) fn set_limits(&self) {
        let present: u64 = self.pools.iter().map(|pool| pool.present.load(Relaxed)).sum();
        let share = present / (64 * self.cpus as u64);
        self.small_limit.store(share.clamp(8, SMALL as u64) as u32, Relaxed);
        self.bite_limit.store(share.clamp(8, 512) as u32, Relaxed);
    }

    /// The pools that a request may use, in their order.
    pub(crate) fn zonelist(&self, near: usize, ceiling: Zone) -> impl Iterator<Item = &'static Pool> + '_ {
        let row = self.zonelists.get(near * MAX_POOLS..(near + 1) * MAX_POOLS).unwrap_or(&[]);
        row.iter()
            .map_while(|entry| self.pools.get((entry.load(Relaxed) as usize).checked_sub(1)?))
            .filter(move |pool| pool.zone <= ceiling)
    }

    /// Puts a new pool into the zonelists. Entries move up one by one from the end, so that a reader meanwhile may see
    /// a pool twice, but misses none.
    pub(crate) fn add_to_zonelists(&self, new: usize) {
        let Some(pool) = self.pools.get(new) else { return };
        for (node, row) in self.zonelists.chunks(MAX_POOLS).enumerate() {
            let rank = |pool: &Pool| {
                let (zone, other) = (Zone::COUNT - pool.zone as usize, pool.node.index());
                (pool.zone == Zone::Dma, self.distance(node, other), other != node, other, zone)
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
    }

    fn distance(&self, from: usize, to: usize) -> u8 {
        self.distances.get(from * MAX_NODES + to).map_or(u8::MAX, |distance| distance.load(Relaxed))
    }

    /// How many nodes there can be.
    pub(crate) fn nodes(&self) -> usize {
        self.zonelists.len() / MAX_POOLS
    }

    /// The pool that holds `pfn`.
    pub(crate) fn pool_of(&self, pfn: Pfn) -> Option<&'static Pool> {
        self.pools.iter().find(|pool| pool.span.contains(pfn))
    }
}
