//! Building the allocator and adding memory to it: pools from ranges, and the hand-over of what is free.
//!
//! A block that is wholly free is a bit in its pool's tree, so the hand-over writes that bit for each of those, and
//! records only of blocks that are used, absent or partly free.

use rhumb_machine::{CpuId, MAX_NODES, Machine, NodeId, Pfn, PfnRange};

use crate::error::LayoutError;
use crate::handle::raw::Brand;
use crate::pool::Pool;
use crate::pool::block::Info;
use crate::pool::words::{FRAMES, WORDS};
use crate::request::{Mobility, Zone};
use crate::zones::caches::Caches;
use crate::zones::layout::{Layout, MemoryRange, Piece, check_range};
use crate::zones::storage::{Storage, Stores, Table};
use crate::zones::{MAX_POOLS, Zones};
use rhumb_sync::Keepers;
use rhumb_sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, IS_MODELLED, Ordering, Relaxed};

impl Zones {
    pub(crate) fn build<M: Machine>(
        machine: &M,
        layout: &Layout<'_>,
        free: impl IntoIterator<Item = PfnRange>,
        lend: impl FnMut(NodeId, usize) -> Option<&'static mut [u64]>,
    ) -> Result<Self, LayoutError> {
        // There are few: an allocator that is refused costs none.
        let brand = Brand::next();
        let built = Self::build_as(brand, machine, layout, free, lend);
        if built.is_err() {
            brand.give_back();
        }
        built
    }

    fn build_as<M: Machine>(
        brand: Brand,
        machine: &M,
        layout: &Layout<'_>,
        free: impl IntoIterator<Item = PfnRange>,
        lend: impl FnMut(NodeId, usize) -> Option<&'static mut [u64]>,
    ) -> Result<Self, LayoutError> {
        if machine.cpu_count() > layout.cpus {
            return Err(LayoutError::TooManyCpus(machine.cpu_count()));
        }
        for cpu in (0..machine.cpu_count()).filter_map(CpuId::new) {
            let node = machine.node_of(cpu);
            if node.index() >= layout.nodes {
                return Err(LayoutError::NoSuchNode(node));
            }
        }
        let mut stores = Stores::NONE;
        stores.borrow(|node| layout.storage_bytes_of(node), lend)?;
        let first = layout.first_node();
        let caches = stores.zeroed_each(first, layout.cpus, |cpu| layout.node_of(cpu))?;
        let storage = stores.of(first);
        let mut has_high = false;
        layout.for_each_piece(|piece| has_high |= piece.zone == Zone::High);
        let zones = Self {
            brand,
            pools: &storage.zeroed::<Table<Pool, MAX_POOLS>>(1)?[0],
            pool_count: AtomicUsize::new(0),
            starts: storage.zeroed(MAX_POOLS)?,
            largest: AtomicU8::new(0),
            zonelists: storage.zeroed(layout.nodes * MAX_POOLS)?,
            own_lists: storage.zeroed(layout.nodes * MAX_POOLS)?,
            caches: Caches::new(caches),
            keepers: Keepers::new(
                storage.zeroed(Keepers::words(layout.cpus))?,
                storage.zeroed(Keepers::words(layout.cpus))?,
            ),
            has_high,
            refused_low: AtomicU64::new(0),
            small_limit: AtomicU32::new(0),
            batch_limit: AtomicU32::new(0),
            distances: storage.zeroed(layout.nodes * MAX_NODES)?,
            direct_limit: layout.direct_limit,
        };
        for (index, distance) in zones.distances.iter().enumerate() {
            distance.store(layout.distance(index / MAX_NODES, index % MAX_NODES), Relaxed);
        }
        let mut made = Ok(());
        layout.for_each_piece(|piece| {
            if made.is_ok() {
                let storage = stores.of(piece.node);
                made = zones.make_pool(piece, layout.memory, storage).map(|pool| zones.publish(pool));
            }
        });
        made?;
        zones.hand_over(layout.memory, free)?;
        zones.pools.iter().for_each(Pool::set_default_reserve);
        zones.guard_low_zones();
        zones.set_limits();
        Ok(zones)
    }

    /// Guards low zones from requests that could be served higher up, unless they are guarded already.
    ///
    /// From requests in the direct map: the DMA zone (half of it) and DMA32 (a 64th), where there is memory higher up in
    /// the map. From requests that reach past the map, as Linux does (`lowmem_reserve_ratio`): of all memory in the map
    /// as much as a [32nd](HIGH_PER_LOW) of the memory past it, spread over its pools by size, because memory past the
    /// map takes kernel objects and page tables in it. Where that is more than the map has, all of it is guarded.
    fn guard_low_zones(&self) {
        let present = |pool: &Pool| pool.present.load(Relaxed);
        let (low, high): (u64, u64) = self.pools.iter().fold((0, 0), |(low, high), pool| match pool.zone {
            Zone::High => (low, high + present(pool)),
            _ => (low + present(pool), high),
        });
        let highest = self.pools.iter().map(|pool| pool.zone).filter(|&zone| zone <= Zone::Normal).max();
        for pool in self.pools.iter().filter(|pool| pool.zone <= Zone::Normal) {
            let part = match pool.zone {
                Zone::Dma => present(pool) / 2,
                Zone::Dma32 => present(pool) / 64,
                Zone::Normal | Zone::High => 0,
            };
            let guard = if Some(pool.zone) < highest { part } else { 0 };
            let share = u128::from(high / HIGH_PER_LOW) * u128::from(present(pool)) / u128::from(low.max(1));
            let high_guard = (share as u64).clamp(guard, present(pool));
            let _ = pool.marks.guard.compare_exchange(0, guard, Relaxed, Relaxed);
            let _ = pool.marks.high_guard.compare_exchange(0, high_guard, Relaxed, Relaxed);
        }
    }

    /// Returns a pool for `piece`, with all its memory in use.
    fn make_pool(
        &self,
        piece: Piece,
        memory: &[MemoryRange],
        storage: &mut Storage,
    ) -> Result<&'static Pool, LayoutError> {
        let index = self.pool_count.load(Relaxed);
        if index >= MAX_POOLS {
            return Err(LayoutError::TooManyPools(index + 1));
        }
        let arrays = piece.arrays(storage)?;
        let pool = storage.place(Pool::new(self.brand, piece.span, piece.node, piece.zone, arrays))?;
        let mut at = pool.base;
        for range in memory {
            let inside = range.frames.intersection(piece.span);
            if !inside.is_empty() {
                pool.present.store(pool.present.load(Relaxed) + inside.frames(), Relaxed);
                pool.mark_absent(at, inside.start());
                at = inside.end();
            }
        }
        Ok(pool)
    }

    fn publish(&self, pool: &'static Pool) {
        let index = self.pool_count.load(Relaxed);
        self.pools.set(index, pool);
        self.add_to_starts(index, index);
        self.pool_count.store(index + 1, Ordering::Release);
        self.add_to_zonelists(index);
    }

    /// Takes the free ranges over; a range may reach over several pools.
    fn hand_over(
        &self,
        memory: &[MemoryRange],
        free: impl IntoIterator<Item = PfnRange>,
    ) -> Result<(), LayoutError> {
        let mut pools = self.pools.iter();
        let mut pool = pools.next();
        let mut described = pool.map_or(Pfn::new(0), |pool| pool.base);
        let mut before: Option<PfnRange> = None;
        for range in free {
            check_range(range)?;
            if let Some(before) = before
                && range.start() < before.end()
            {
                return Err(LayoutError::Overlap(before, range));
            }
            before = Some(range);
            // Frame 0 stays in use: where the direct map begins at 0, its address is the null pointer.
            let range = range.intersection(ALL_BUT_THE_FIRST);
            if !is_memory(memory, range) {
                return Err(LayoutError::NotMemory(range));
            }
            while let Some(current) = pool {
                let inside = range.intersection(current.span);
                if !inside.is_empty() {
                    current.mark_used(described, inside.start());
                    current.hand_over(inside);
                    described = inside.end();
                }
                if range.end() <= current.span.end() {
                    break;
                }
                current.mark_used(described, current.span.end());
                pool = pools.next();
                described = pool.map_or(described, |pool| pool.base);
            }
        }
        while let Some(current) = pool {
            current.mark_used(described, current.span.end());
            pool = pools.next();
            described = pool.map_or(described, |pool| pool.base);
        }
        Ok(())
    }

    /// Adds `memory`, all of it free, while the allocator runs. One writer at a time.
    pub(crate) fn add_memory(
        &self,
        memory: MemoryRange,
        storage: &'static mut [u64],
    ) -> Result<(), LayoutError> {
        check_range(memory.frames)?;
        if memory.node.index() * MAX_POOLS >= self.zonelists.len() {
            return Err(LayoutError::NoSuchNode(memory.node));
        }
        let memory = &[memory];
        let layout = Layout::of(memory, self.direct_limit);
        let (mut pieces, mut past_limit) = (0, None);
        layout.for_each_piece(|piece| {
            pieces += 1;
            if piece.zone == Zone::High && !self.has_high {
                past_limit = Some(piece.span.end());
            }
        });
        if let Some(end) = past_limit {
            return Err(LayoutError::PastLimit(end));
        }
        let count = self.pool_count.load(Ordering::Acquire);
        if count + pieces > MAX_POOLS {
            return Err(LayoutError::TooManyPools(count + pieces));
        }
        let [MemoryRange { frames, .. }] = *memory;
        if let Some(old) = self.pools.iter().find(|pool| pool.span.overlaps(frames)) {
            return Err(LayoutError::Overlap(old.span, frames));
        }
        let (given, needed) = (size_of_val(storage), layout.piece_bytes());
        if given < needed && !IS_MODELLED {
            return Err(LayoutError::StorageTooSmall(given, needed));
        }
        let mut storage = Storage::new(storage);
        let mut made = Ok(());
        layout.for_each_piece(|piece| {
            if made.is_ok() {
                made = self.make_pool(piece, memory, &mut storage).map(|pool| {
                    pool.hand_over(piece.span.intersection(ALL_BUT_THE_FIRST));
                    pool.set_default_reserve();
                    self.publish(pool);
                });
            }
        });
        made?;
        self.guard_low_zones();
        self.set_limits();
        Ok(())
    }
}

/// Frames past the direct map for which one in it is guarded: Linux's ratio for its zone `Normal` under `HighMem`.
const HIGH_PER_LOW: u64 = 32;

/// All frames but frame 0.
const ALL_BUT_THE_FIRST: PfnRange = match PfnRange::new(Pfn::new(1), Pfn::new(1 << 40)) {
    Some(range) => range,
    None => panic!("1 is less"),
};

/// Tells whether `range` lies in memory, over as many adjoining ranges as it takes.
fn is_memory(memory: &[MemoryRange], range: PfnRange) -> bool {
    let covered: u64 = memory.iter().map(|memory| memory.frames.intersection(range).frames()).sum();
    covered == range.frames()
}

impl Pool {
    /// Says that the blocks wholly within `from..to` are no memory.
    fn mark_absent(&self, from: Pfn, to: Pfn) {
        let (first, end) = (self.offset(from).div_ceil(FRAMES as usize), self.offset(to) / FRAMES as usize);
        let mut held = self.lock_unpublished();
        for block in first..end.min(self.blocks.len()) {
            held.clear_records(block);
            self.blocks[block].set(Info::ABSENT);
        }
    }

    /// Says that the blocks that `from..to` touches have no free frame, except those that are described already.
    fn mark_used(&self, from: Pfn, to: Pfn) {
        if from >= to {
            return;
        }
        let (first, end) = (self.offset(from) / FRAMES as usize, self.offset(to).div_ceil(FRAMES as usize));
        let mut held = self.lock_unpublished();
        for block in first..end.min(self.blocks.len()) {
            if self.info(block) == Info::WHOLE && !self.whole.contains(block + self.skew) {
                held.clear_records(block);
                held.write_bits(block, &[0; WORDS]);
                self.blocks[block].set(Info::full(Mobility::Unmovable));
            }
        }
    }

    /// Takes over free frames, of which nothing is known yet: a bit for each whole block, a mask for what is left over.
    fn hand_over(&self, range: PfnRange) {
        let (start, end) = (self.offset(range.start()), self.offset(range.end()));
        let (first, last) = (start.div_ceil(FRAMES as usize), end / FRAMES as usize);
        let partial = |from: usize, to: usize| {
            let (from, to) = (self.base.plus(from as u64), self.base.plus(to as u64));
            self.mark_used(from, to);
            self.lock_unpublished().give_range(PfnRange::new(from, to).unwrap_or_default());
        };
        if first >= last {
            // No whole block, but perhaps parts of two.
            let middle = (first * FRAMES as usize).clamp(start, end);
            partial(start, middle);
            partial(middle, end);
            return;
        }
        partial(start, first * FRAMES as usize);
        partial(last * FRAMES as usize, end);
        self.whole.insert_range(first + self.skew, last + self.skew);
        let blocks = (last - first) as u64;
        self.free_blocks.store(self.free_blocks.load(Relaxed) + blocks, Relaxed);
        self.lock_unpublished().add_free(blocks * u64::from(FRAMES));
    }

    /// Keeps back what the other classes live on: a 256th of the pool, at most 16 MiB.
    fn set_default_reserve(&self) {
        let present = self.present.load(Relaxed);
        self.marks.min.store((present / 256).min(4096), Relaxed);
    }
}
