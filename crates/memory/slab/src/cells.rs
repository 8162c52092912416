//! Memory for this crate's own records: frames cut into cells of 64 bytes to 2 KiB. A leaf where `unsafe` lives.
//!
//! Slab headers, magazines and caches' records live here, so that no path of an object cache allocates from an object
//! cache (I10). A frame's free cells are the bits of its descriptor's private word. Frames with a free cell are in a
//! list whose links are in the frame's lowest free cell; a frame with none costs nothing but its descriptor. One wholly
//! free frame is kept for each size of a store; others go back at once.
//!
//! The CPUs of a neighbourhood ([`NEIGHBOURS`]) share a store, because all caches take their magazines and headers
//! here: with one store, 16 CPUs whose magazines grew spent a millisecond each waiting for its locks. There are eight
//! stores at most ([`MOST_STORES`]), so on more than 32 CPUs several neighbourhoods share one. A cell goes back to the
//! store that it came from, whichever CPU frees it; the frame's page type names the store.

use core::ptr::NonNull;

use rhumb_frames::{AllocClass, DescriptorView, Request};
use rhumb_machine::{CpuId, Machine, Order, Pinned, impossible};

use crate::depot::NEIGHBOURS;
use crate::memory::{FRAME_BYTES, Memory, PageType};
use rhumb_sync::Lock;
use rhumb_sync::atomic::{AtomicU64, Relaxed};

const SMALLEST: usize = 64;
/// Cells of 64, 128, 256, 512, 1,024 and 2,048 bytes.
const SIZES: usize = 6;
const FRAME: usize = FRAME_BYTES as usize;
/// The most stores. Each keeps a frame of each size, so more stores keep more memory.
const MOST_STORES: usize = 8;

/// The frames of one cell size that have a free cell: the newest first. 0 is none.
#[derive(Default)]
struct Pool {
    first: usize,
    frames: u64,
    /// A frame of which no cell is used.
    spare: usize,
}

/// In the lowest free cell of a frame: the frames beside it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Links {
    next: usize,
    previous: usize,
}

/// The cells of one neighbourhood of CPUs, or of several, by size.
#[derive(Default)]
#[repr(align(64))]
struct Store([Lock<Pool>; SIZES]);

pub(crate) struct Cells {
    stores: [Store; MOST_STORES],
    /// How many of the stores are used.
    used: usize,
    /// Frames of memory that is larger than a cell: the lines of all caches, records of machines with many nodes.
    block_frames: AtomicU64,
}

/// Returns the bits of a frame whose cells are all free.
const fn all(size: usize) -> u64 {
    u64::MAX >> (64 - FRAME / size)
}

impl Cells {
    /// Makes the cells of a machine with so many CPUs.
    pub(crate) fn new(cpus: usize) -> Self {
        let used = cpus.div_ceil(NEIGHBOURS).clamp(1, MOST_STORES);
        Self { stores: Default::default(), used, block_frames: AtomicU64::new(0) }
    }

    /// Returns the index of the pool of cells of `bytes`, and their size; none where no cell is so large.
    fn pool_for(bytes: usize) -> Option<(usize, usize)> {
        let size = bytes.max(SMALLEST).next_power_of_two();
        let index = (size / SMALLEST).trailing_zeros() as usize;
        (index < SIZES).then_some((index, size))
    }

    /// Returns the number of the store from which a CPU takes cells.
    const fn store_of(&self, cpu: CpuId) -> usize {
        cpu.index() / NEIGHBOURS % self.used
    }

    /// Returns memory of at least `bytes`, aligned to its size; its contents are stale.
    pub(crate) fn alloc<M: Machine>(
        &self,
        memory: &Memory<M>,
        pinned: Pinned<'_>,
        bytes: usize,
        class: AllocClass,
    ) -> Option<NonNull<u8>> {
        let store = self.store_of(memory.machine().cpu_of(pinned));
        let Some((index, size)) = Self::pool_for(bytes) else {
            let order = Order::holding((bytes as u64).div_ceil(FRAME_BYTES))?;
            let block = memory.take(pinned, Request::new(order).class(class))?;
            // SAFETY: the block was taken just now, and no other code knows it.
            unsafe { memory.stamp(block, 1, PageType::cells(store), 0) };
            self.block_frames.fetch_add(order.frames(), Relaxed);
            return Some(block);
        };
        let pool = &self.stores[store].0[index];
        let take = |new: Option<NonNull<u8>>| {
            let mut pool = pool.lock(memory.machine().irq_off());
            if let Some(frame) = new {
                // SAFETY: the frame was taken just now, and no other code knows it.
                unsafe { memory.stamp(frame, 1, PageType::cells(store), all(size)) };
                pool.frames += 1;
                pool.link(memory, frame.addr().get(), size);
            }
            pool.take(memory, size)
        };
        let cell = take(None);
        cell.or_else(|| {
            // Not under the lock, because a reclaimer may run and give cells back.
            let frame = memory.take(pinned, Request::FRAME.class(class))?;
            take(Some(frame))
        })
    }

    /// Takes memory back.
    ///
    /// # Safety
    /// It came from [`Cells::alloc`] with this size, and no code uses it any more.
    pub(crate) unsafe fn free<M: Machine>(
        &self,
        memory: &Memory<M>,
        pinned: Pinned<'_>,
        cell: NonNull<u8>,
        bytes: usize,
    ) {
        let Some((index, size)) = Self::pool_for(bytes) else {
            if let Some(order) = Order::holding((bytes as u64).div_ceil(FRAME_BYTES)) {
                self.block_frames.fetch_sub(order.frames(), Relaxed);
                // SAFETY: `alloc` took the block with this order, and the caller promises that no code uses it any
                // more.
                unsafe { memory.give(pinned, cell, order, 1) };
            }
            return;
        };
        let store = memory.descriptor(cell.addr().get()).and_then(PageType::store);
        let Some(store) = store.and_then(|store| self.stores.get(store)) else {
            return impossible!("the frame of the cell at {cell:p} names no store of cells");
        };
        let empty = store.0[index].lock(memory.machine().irq_off()).give(memory, cell.addr().get(), size);
        if let Some(frame) = empty {
            // SAFETY: `alloc` took it as one frame, and all its cells are free.
            unsafe { memory.give(pinned, frame, Order::BASE, 1) };
        }
    }

    /// Gives back the frames that are kept though none of their cells is used, and says how many.
    pub(crate) fn trim<M: Machine>(&self, memory: &Memory<M>, pinned: Pinned<'_>) -> u64 {
        let mut trimmed = 0;
        let pools = self.stores[..self.used].iter().flat_map(|store| store.0.iter().enumerate());
        for (index, pool) in pools {
            let spare = {
                let mut pool = pool.lock(memory.machine().irq_off());
                let spare = core::mem::take(&mut pool.spare);
                if spare != 0 {
                    pool.unlink(memory, spare, SMALLEST << index);
                    pool.frames -= 1;
                }
                NonNull::new(core::ptr::with_exposed_provenance_mut::<u8>(spare))
            };
            if let Some(frame) = spare {
                // SAFETY: `alloc` took it as one frame, all its cells are free, and it is in no list any more.
                unsafe { memory.give(pinned, frame, Order::BASE, 1) };
                trimmed += 1;
            }
        }
        trimmed
    }

    /// Returns how many frames it holds: of cells, and of memory that is larger than a cell.
    pub(crate) fn frames<M: Machine>(&self, memory: &Memory<M>) -> u64 {
        let count = |pool: &Lock<Pool>| pool.lock(memory.machine().irq_off()).frames;
        let pools = self.stores[..self.used].iter().flat_map(|store| &store.0);
        pools.map(count).sum::<u64>() + self.block_frames.load(Relaxed)
    }
}

impl Pool {
    fn mask<M: Machine>(memory: &Memory<M>, frame: usize) -> u64 {
        // A frame in the list has a descriptor: `Memory::take` gives no other.
        let none = || impossible!("frame {frame:#x} of cells has a descriptor" => 1);
        memory.descriptor(frame).map_or_else(none, DescriptorView::private)
    }

    /// Returns the links of a frame that is in the list.
    fn links<M: Machine>(memory: &Memory<M>, frame: usize, size: usize) -> *mut Links {
        let lowest = Self::mask(memory, frame).trailing_zeros() as usize;
        core::ptr::with_exposed_provenance_mut(frame + lowest * size)
    }

    fn link<M: Machine>(&mut self, memory: &Memory<M>, frame: usize, size: usize) {
        // SAFETY: the links are in a free cell of a frame of ours, which only the holder of the lock touches.
        unsafe {
            Self::links(memory, frame, size).write(Links { next: self.first, previous: 0 });
            if self.first != 0 {
                (*Self::links(memory, self.first, size)).previous = frame;
            }
        }
        self.first = frame;
    }

    fn unlink<M: Machine>(&mut self, memory: &Memory<M>, frame: usize, size: usize) {
        // SAFETY: the links are in a free cell of a frame of ours, which only the holder of the lock touches.
        unsafe {
            let Links { next, previous } = Self::links(memory, frame, size).read();
            if next != 0 {
                (*Self::links(memory, next, size)).previous = previous;
            }
            if previous != 0 {
                (*Self::links(memory, previous, size)).next = next;
            } else {
                self.first = next;
            }
        }
    }

    fn take<M: Machine>(&mut self, memory: &Memory<M>, size: usize) -> Option<NonNull<u8>> {
        let frame = self.first;
        if frame == 0 {
            return None;
        }
        if frame == self.spare {
            self.spare = 0;
        }
        // SAFETY: a frame in the list came from `Memory::take` and leaves the list before it goes back.
        let descriptor = unsafe { memory.descriptor_to_write(frame) }?;
        let mask = descriptor.private();
        // The highest cell, because the links are in the lowest one: they need not move while another cell is free.
        let cell = 63 - mask.leading_zeros();
        let left = mask & !(1 << cell);
        if left == 0 {
            self.unlink(memory, frame, size);
        }
        descriptor.set_private(left);
        NonNull::new(core::ptr::with_exposed_provenance_mut(frame + cell as usize * size))
    }

    /// Takes a cell back, and returns its frame if the caller is to give the frame back.
    fn give<M: Machine>(&mut self, memory: &Memory<M>, cell: usize, size: usize) -> Option<NonNull<u8>> {
        let frame = cell & !(FRAME - 1);
        let bit = (cell - frame) / size;
        // SAFETY: a frame of which a cell is out came from `Memory::take`, and goes back only when all its cells are
        // free.
        let descriptor = unsafe { memory.descriptor_to_write(frame) }?;
        let mask = descriptor.private();
        let more = mask | 1 << bit;
        if mask == 0 {
            descriptor.set_private(more);
            self.link(memory, frame, size);
        } else {
            let old = Self::links(memory, frame, size);
            descriptor.set_private(more);
            let new = Self::links(memory, frame, size);
            // SAFETY: both are in free cells of a frame of ours, which only the holder of the lock touches.
            unsafe { new.write(old.read()) };
        }
        if more != all(size) {
            return None;
        }
        if self.spare == 0 {
            self.spare = frame;
            return None;
        }
        self.unlink(memory, frame, size);
        self.frames -= 1;
        NonNull::new(core::ptr::with_exposed_provenance_mut(frame))
    }
}
