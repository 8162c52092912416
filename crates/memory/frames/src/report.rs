//! Counters and reports: exact when no CPU is inside the allocator, and close otherwise. Nothing is counted on the
//! common path; a report adds up what is there.

use rhumb_machine::{CpuId, MAX_NODES, Machine, NodeId, Order, Pfn};

use crate::descriptor::{DescriptorView, History};
use crate::frames::Frames;
use crate::pool::Pool;
use crate::pool::block::{Info, State};
use crate::pool::words;
use crate::pressure::Levels;
use crate::request::{Mobility, Owner, Zone};
use rhumb_sync::atomic::Relaxed;

/// The contents of one zone of one node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZoneReport {
    /// The node.
    pub node: NodeId,
    /// The zone.
    pub zone: Zone,
    /// Frames that are memory.
    pub present: u64,
    /// Free frames and watermarks.
    pub levels: Levels,
    /// Frames that ordinary requests with each zone as their ceiling leave in this one beside `levels.min`: 0 for those
    /// that reach no higher.
    pub protection: [u64; Zone::COUNT],
    /// Frames of this zone in per-CPU caches: free, but not among `levels.free`.
    pub cached: u64,
    /// Free blocks of each order, each frame counted in the largest aligned run that it is part of.
    pub free_by_order: [u64; Order::COUNT],
    /// 2-MiB blocks of each kind that are in use, wholly or partly.
    pub blocks_by_kind: [u64; Mobility::COUNT],
    /// Free frames in partial blocks of each kind.
    pub free_by_kind: [u64; Mobility::COUNT],
}

/// All frames of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Frames that are memory.
    pub present: u64,
    /// Free frames, those in per-CPU caches included.
    pub free: u64,
    /// Of these, in per-CPU caches.
    pub cached: u64,
    /// Of `present`, past the direct map.
    pub high: u64,
    /// Of `free`, past the direct map; none of them is in a cache.
    pub high_free: u64,
}

/// The facts about one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Description {
    /// The frame.
    pub pfn: Pfn,
    /// Its node.
    pub node: NodeId,
    /// Its zone.
    pub zone: Zone,
    /// The mobility of its 2-MiB block.
    pub kind: Mobility,
    /// Where it is.
    pub place: Place,
    /// The allocated block that it is part of, as first frame and order, if its request named an owner; in checked
    /// builds of every block.
    pub block: Option<(Pfn, Order)>,
    /// The owner of the block, if its holder named one.
    pub owner: Owner,
    /// Its page type, if the holder named one.
    pub page_type: u8,
    /// The holder's own word.
    pub private: u64,
    /// The history that checked builds keep.
    pub history: History,
}

/// Where a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Free; the largest free aligned run that it is part of has this order (9 standing for all above).
    Free(Order),
    /// Free, in the cache of this CPU.
    Cached(CpuId),
    /// In use within a partial block; its order is its holder's to know.
    InUse,
    /// In use, in a block of this order that begins here or, with order 0, before.
    InUseLarge(Order),
}

impl<M: Machine> Frames<M> {
    /// Returns all frames of the machine.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for pool in self.zones.pools.iter() {
            totals.present += pool.present.load(Relaxed);
            let free = pool.free_frames();
            totals.free += free;
            if pool.zone == Zone::High {
                totals.high += pool.present.load(Relaxed);
                totals.high_free += free;
            }
        }
        totals.cached = self.zones.keeping().map(|(_, cache)| cache.held()).sum();
        totals.free += totals.cached;
        totals
    }

    /// Returns how many requests were refused with [`crate::AllocError::LowExhausted`].
    pub fn refused_for_low_memory(&self) -> u64 {
        self.zones.refused_low.load(Relaxed)
    }

    /// Returns how many frames are free, those in per-CPU caches included.
    pub fn free_frames(&self) -> u64 {
        self.totals().free
    }

    /// Returns how many 2-MiB blocks are whole, those in per-CPU caches excluded.
    pub fn free_large_blocks(&self) -> u64 {
        self.zones.pools.iter().map(|pool| pool.free_blocks.load(Relaxed)).sum()
    }

    /// Returns the zone of a node, or `None` where the node has no such memory.
    pub fn zone(&self, node: NodeId, zone: Zone) -> Option<ZoneReport> {
        self.zone_without_caches(node, zone).map(|mut report| {
            let is_here = |pool: &Pool| pool.node == node && pool.zone == zone;
            self.zones.for_each_cached(|_, raw| {
                if self.zones.pool_of(raw.pfn()).is_some_and(is_here) {
                    report.cached += raw.order().frames();
                }
            });
            report
        })
    }

    /// Returns every zone of every node that has memory, ascending. Cost: as one [`Frames::zone`], and a look at each
    /// block.
    pub fn zones(&self) -> impl Iterator<Item = ZoneReport> + '_ {
        let mut cached = [[0; Zone::COUNT]; MAX_NODES];
        self.zones.for_each_cached(|_, raw| {
            if let Some(pool) = self.zones.pool_of(raw.pfn()) {
                cached[pool.node.index()][pool.zone as usize] += raw.order().frames();
            }
        });
        (0..self.zones.nodes() * Zone::COUNT).filter_map(move |at| {
            let (node, zone) = (NodeId::new(at / Zone::COUNT)?, Zone::ALL[at % Zone::COUNT]);
            let report = self.zone_without_caches(node, zone)?;
            Some(ZoneReport { cached: cached[node.index()][zone as usize], ..report })
        })
    }

    fn zone_without_caches(&self, node: NodeId, zone: Zone) -> Option<ZoneReport> {
        let mut report = ZoneReport {
            node,
            zone,
            present: 0,
            levels: self.levels(node, zone),
            protection: [0; Zone::COUNT],
            cached: 0,
            free_by_order: [0; Order::COUNT],
            blocks_by_kind: [0; Mobility::COUNT],
            free_by_kind: [0; Mobility::COUNT],
        };
        for pool in self.zones.pools_of(node, zone).filter(|pool| pool.zone == zone) {
            report.present += pool.present.load(Relaxed);
            for (sum, ceiling) in report.protection.iter_mut().zip(Zone::ALL) {
                *sum += pool.marks.protection(zone, ceiling);
            }
            report.add_pool(pool);
        }
        (report.present > 0).then_some(report)
    }

    /// Returns the zone of a frame, or `None` where it is no memory of this allocator. Cost: a search among the pools.
    #[inline]
    pub fn zone_of(&self, pfn: Pfn) -> Option<Zone> {
        self.zones.pool_of(pfn).map(|pool| pool.zone)
    }

    /// Returns the facts about `pfn`, or `None` where it is no memory of this allocator.
    pub fn describe(&self, pfn: Pfn) -> Option<Description> {
        let pool = self.zones.pool_of(pfn)?;
        let block = pool.offset(pfn) / 512;
        let info = pool.info(block);
        let mut place = match info.state() {
            State::Absent => return None,
            State::Whole => Place::Free(Order::LARGE),
            State::Large => Place::InUseLarge(info.order()),
            State::Partial => free_run(pool, pfn).map_or(Place::InUse, Place::Free),
        };
        self.zones.for_each_cached(|cpu, raw| {
            if (raw.pfn().get()..raw.pfn().get() + raw.order().frames()).contains(&pfn.get()) {
                place = Place::Cached(cpu);
            }
        });
        let descriptor = self.descriptor(pfn);
        let block = self.owned_block(pfn);
        Some(Description {
            pfn,
            node: pool.node,
            zone: pool.zone,
            kind: info.kind(),
            place,
            block: block.map(|(start, order, _)| (start, order)),
            owner: block.map_or(descriptor, |(_, _, head)| Some(head)).map_or(Owner::NONE, |d| d.owner()),
            page_type: descriptor.map_or(0, |d| d.page_type()),
            private: descriptor.map_or(0, |d| d.private()),
            history: descriptor.map_or(History::default(), |d| d.history()),
        })
    }

    /// Returns the allocated block that `pfn` is part of, with the descriptor of its first frame, which tells.
    fn owned_block(&self, pfn: Pfn) -> Option<(Pfn, Order, DescriptorView<'_>)> {
        (0..Order::COUNT as u32).find_map(|log2| {
            let start = Pfn::new(pfn.get() >> log2 << log2);
            let head = self.descriptor(start)?;
            let order = head.allocated().filter(|order| u32::from(order.get()) >= log2)?;
            Some((start, order, head))
        })
    }
}

/// Returns the order of the largest free aligned run in its block that `pfn` is part of.
fn free_run(pool: &Pool, pfn: Pfn) -> Option<Order> {
    let (block, at) = (pool.offset(pfn) / 512, pool.offset(pfn) % 512);
    let bits = pool.bits(block);
    let order = (0..=8).rev().find(|&order| {
        let start = at >> order << order;
        (start..start + (1 << order)).all(|at| bits[at / 64] & 1 << (at % 64) != 0)
    });
    order.and_then(Order::new)
}

impl ZoneReport {
    fn add_pool(&mut self, pool: &Pool) {
        for block in 0..pool.blocks.len() {
            let info = pool.info(block);
            match info.state() {
                State::Partial => self.add_partial(pool, block, info),
                State::Large => self.blocks_by_kind[info.kind() as usize] += 1,
                State::Whole | State::Absent => {}
            }
        }
        // Whole blocks, in the longest aligned runs that they are part of.
        let runs = |log2| pool.whole.count_runs(log2);
        for log2 in 0..=9 {
            let above = if log2 < 9 { 2 * runs(log2 + 1) } else { 0 };
            self.free_by_order[9 + log2 as usize] += runs(log2) - above;
        }
    }

    fn add_partial(&mut self, pool: &Pool, block: usize, info: Info) {
        let kind = info.kind() as usize;
        self.blocks_by_kind[kind] += 1;
        self.free_by_kind[kind] += u64::from(info.free());
        let bits = pool.bits(block);
        for order in 0..=8 {
            let above = if order < 8 { 2 * words::count_runs(&bits, order + 1) } else { 0 };
            self.free_by_order[order as usize] += u64::from(words::count_runs(&bits, order) - above);
        }
    }
}
