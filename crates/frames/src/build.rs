//! Building the allocator and adding memory to it: pools from ranges, and the hand-over of what is free.
//!
//! Zeroed storage already describes blocks that are wholly free, so the hand-over writes one bit for each of those, and
//! more only for blocks that are used, absent or partly free.

use rhumb_machine::{CpuId, MAX_NODES, Machine, NodeId, Pfn, PfnRange};

use crate::block::Info;
use crate::depot::{Depot, MAX_POOLS};
use crate::error::LayoutError;
use crate::layout::{Layout, MemoryRange, Piece, check_range, for_each_piece};
use crate::pool::Pool;
use crate::request::{Mobility, Zone};
use crate::storage::{Storage, Table};
use crate::sync::{AtomicU32, AtomicUsize, Ordering, Relaxed};
use crate::words::FRAMES;

impl Depot {
    pub(crate) fn build<M: Machine>(
        machine: &M,
        layout: &Layout<'_>,
        free: impl IntoIterator<Item = PfnRange>,
        storage: &'static mut [u64],
    ) -> Result<Self, LayoutError> {
        let (given, needed) = (size_of_val(storage), layout.storage_bytes());
        if given < needed && cfg!(not(feature = "model")) {
            return Err(LayoutError::StorageTooSmall(given, needed));
        }
        if machine.cpu_count() > layout.cpus {
            return Err(LayoutError::TooManyCpus(machine.cpu_count()));
        }
        let mut storage = Storage::new(storage);
        let mut has_high = false;
        for_each_piece(layout.memory, layout.direct_limit, |piece| {
            has_high |= piece.zone == Zone::High;
            Ok(())
        })?;
        let depot = Self {
            pools: Table::new(),
            pool_count: AtomicUsize::new(0),
            zonelists: storage.zeroed(layout.nodes * MAX_POOLS)?,
            caches: storage.zeroed(layout.cpus * (1 + usize::from(has_high)))?,
            cpus: layout.cpus,
            anywhere: if has_high { layout.cpus } else { 0 },
            small_limit: AtomicU32::new(0),
            bite_limit: AtomicU32::new(0),
            distances: storage.zeroed(layout.nodes * MAX_NODES)?,
            direct_limit: layout.direct_limit,
        };
        for (index, distance) in depot.distances.iter().enumerate() {
            distance.store(layout.distance(index / MAX_NODES, index % MAX_NODES), Relaxed);
        }
        for (index, cache) in depot.caches.iter().enumerate() {
            let cpu = index % layout.cpus;
            let running = CpuId::new(cpu).filter(|cpu| cpu.index() < machine.cpu_count());
            let node = running.map_or(NodeId::FIRST, |cpu| machine.node_of(cpu));
            if node.index() >= layout.nodes {
                return Err(LayoutError::NoSuchNode(node));
            }
            cache.home.store(crate::raw::Raw::pool_tag(0, node, 0).0, Relaxed);
        }
        for_each_piece(layout.memory, layout.direct_limit, |piece| {
            depot.publish(depot.make_pool(piece, layout.memory, &mut storage)?);
            Ok(())
        })?;
        depot.hand_over(layout.memory, free)?;
        depot.pools.iter().for_each(Pool::set_default_reserve);
        depot.guard_low_zones();
        depot.set_limits();
        Ok(depot)
    }

    /// Guards the DMA zone (half of it) and DMA32 (a 64th) from requests that could be served higher up: where there is
    /// memory higher up in the direct map, and unless they are guarded already.
    fn guard_low_zones(&self) {
        let highest = self.pools.iter().map(|pool| pool.zone).filter(|&zone| zone <= Zone::Direct).max();
        for pool in self.pools.iter().filter(|pool| Some(pool.zone) < highest) {
            let part = match pool.zone {
                Zone::Dma => 2,
                Zone::Dma32 => 64,
                Zone::Direct | Zone::High => continue,
            };
            let guard = pool.present.load(Relaxed) / part;
            let _ = pool.marks.guard.compare_exchange(0, guard, Relaxed, Relaxed);
        }
    }

    /// A pool for `piece`, with all its memory in use.
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
        let pool = storage.place(Pool::new(index, piece.span, piece.node, piece.zone, arrays))?;
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
        let mut pieces = 0;
        for_each_piece(&[memory], self.direct_limit, |piece| {
            pieces += 1;
            if piece.zone == Zone::High && self.anywhere == 0 {
                return Err(LayoutError::PastLimit(piece.span.end()));
            }
            Ok(())
        })?;
        let count = self.pool_count.load(Ordering::Acquire);
        if count + pieces > MAX_POOLS {
            return Err(LayoutError::TooManyPools(count + pieces));
        }
        if let Some(old) = self.pools.iter().find(|pool| pool.span.overlaps(memory.frames)) {
            return Err(LayoutError::Overlap(old.span, memory.frames));
        }
        let (given, needed) = (size_of_val(storage), crate::layout::added_bytes(memory, self.direct_limit));
        if given < needed && cfg!(not(feature = "model")) {
            return Err(LayoutError::StorageTooSmall(given, needed));
        }
        let mut storage = Storage::new(storage);
        for_each_piece(&[memory], self.direct_limit, |piece| {
            let pool = self.make_pool(piece, &[memory], &mut storage)?;
            pool.hand_over(piece.span);
            pool.set_default_reserve();
            self.publish(pool);
            Ok(())
        })?;
        self.guard_low_zones();
        self.set_limits();
        Ok(())
    }
}

/// Whether `range` lies in memory, over as many adjoining ranges as it takes.
fn is_memory(memory: &[MemoryRange], range: PfnRange) -> bool {
    let covered: u64 = memory.iter().map(|memory| memory.frames.intersection(range).frames()).sum();
    covered == range.frames()
}

impl Pool {
    /// Says that the blocks wholly within `from..to` are no memory.
    fn mark_absent(&self, from: Pfn, to: Pfn) {
        let (first, end) = (self.offset(from).div_ceil(FRAMES as usize), self.offset(to) / FRAMES as usize);
        self.blocks.get(first..end).unwrap_or(&[]).iter().for_each(|block| block.set(Info::ABSENT));
    }

    /// Says that the blocks that `from..to` touches have no free frame, except those that are described already.
    fn mark_used(&self, from: Pfn, to: Pfn) {
        if from >= to {
            return;
        }
        let (first, end) = (self.offset(from) / FRAMES as usize, self.offset(to).div_ceil(FRAMES as usize));
        for block in first..end.min(self.blocks.len()) {
            let record = &self.blocks[block];
            if record.info() == Info::WHOLE && !self.whole.contains(block + self.skew) {
                record.set(Info::full(Mobility::Unmovable));
            }
        }
    }

    /// Takes over free frames, of which nothing is known yet: a bit for each whole block, a mask for what is left over.
    fn hand_over(&self, range: PfnRange) {
        let mut held = self.lock_unpublished();
        let (start, end) = (self.offset(range.start()), self.offset(range.end()));
        let (first, last) = (start.div_ceil(FRAMES as usize), end / FRAMES as usize);
        let mut partial = |from: usize, to: usize| {
            let (from, to) = (self.base.plus(from as u64), self.base.plus(to as u64));
            self.mark_used(from, to);
            held.give_range(PfnRange::new(from, to).unwrap_or_default());
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
        held.add_free(blocks * u64::from(FRAMES));
    }

    /// Keeps back what the other classes live on: a 256th of the pool, at most 16 MiB.
    fn set_default_reserve(&self) {
        let present = self.present.load(Relaxed);
        self.marks.min.store((present / 256).min(4096), Relaxed);
    }
}
