//! `frame-alloc`: its depot (per-CPU magazines, a shared depot) over its lock-free buddy, as its README composes them.

use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use frame_alloc::{
    CpuId, DepotAllocator, NoInterruptControl, PageSize as BasePage, PhysicalAllocator, Provenance,
    RegionInit, SummaryBuddyAllocator,
};
use rhumb_machine::{Machine, Order, Pfn, PhysAddr, Pinned, VirtAddr};

use crate::driver::Unfit;
use crate::frames::subject::{FrameSubject, Region};
use crate::team;

/// Orders 0 to 10, as its README has it.
const ORDERS: usize = 11;
/// CPUs that its magazines are made for.
const SLOTS: usize = 64;
const BASE: BasePage = BasePage::from_log2(12);

/// Where the direct map begins: the crate asks for it through a type, not through a value.
static DIRECT_MAP_BASE: AtomicU64 = AtomicU64::new(0);

struct DirectMap;

// SAFETY: the direct map shows all of the machine's RAM, permanently, and the mapping was made by a system call, which
// the compiler does not see through: its provenance is exposed.
unsafe impl Provenance for DirectMap {
    unsafe fn create(phys: usize) -> NonNull<u8> {
        let address = DIRECT_MAP_BASE.load(Ordering::Relaxed) + phys as u64;
        NonNull::new(VirtAddr::new(address).as_mut_ptr()).unwrap_or(NonNull::dangling())
    }

    unsafe fn destroy<T>(pointer: NonNull<T>) -> usize {
        (pointer.addr().get() as u64 - DIRECT_MAP_BASE.load(Ordering::Relaxed)) as usize
    }
}

struct TeamCpu;

impl CpuId for TeamCpu {
    #[inline]
    fn current_cpu() -> usize {
        team::cpu_index()
    }
}

type Depot =
    DepotAllocator<SummaryBuddyAllocator<ORDERS, DirectMap>, TeamCpu, SLOTS, 128, 512, NoInterruptControl>;

/// It hands out physical addresses. Its bitmaps are in the region itself: the first block is not whole.
pub(super) struct FrameAlloc {
    depot: Depot,
    metadata_bytes: u64,
}

/// Bits for each order, each in words of 64, and a summary bit per word where an order has 128 words or more: what its
/// source reserves.
fn metadata_bytes(frames: u64) -> u64 {
    let words = (0..ORDERS as u32).map(|order| {
        let words = frames.div_ceil(1 << order).div_ceil(64);
        words + if words >= 128 { words.div_ceil(64) } else { 0 }
    });
    words.sum::<u64>() * 8
}

fn one_or_more(frames: u64) -> NonZeroUsize {
    NonZeroUsize::new(frames as usize).unwrap_or(NonZeroUsize::MIN)
}

impl FrameSubject for FrameAlloc {
    const NAME: &'static str = "frame-alloc";
    type Held = usize;
    type Storage = ();

    /// It carves its bitmaps out of the region; they are touched here.
    fn storage(region: &Region) -> Result<(), Unfit> {
        DIRECT_MAP_BASE.store(region.machine().direct_map_base().get(), Ordering::Relaxed);
        let start = region.machine().direct(region.memory.start()).as_mut_ptr::<u8>();
        // SAFETY: RAM of the region, which belongs to the subject of the moment alone.
        unsafe { start.write_bytes(0, metadata_bytes(region.frames().frames()) as usize) };
        Ok(())
    }

    fn new(region: &Region, (): ()) -> Result<Self, Unfit> {
        let depot = Depot::new(BASE, SummaryBuddyAllocator::new(BASE));
        // SAFETY: the region is RAM, mapped, and belongs to the subject of the moment alone.
        let begun = unsafe {
            depot.try_init_region(region.memory.start().get() as usize, region.memory.bytes() as usize)
        };
        begun.map_err(|error| Unfit(error.to_string()))?;
        Ok(Self { depot, metadata_bytes: metadata_bytes(region.frames().frames()) })
    }

    fn metadata_bytes(&self) -> Option<u64> {
        Some(self.metadata_bytes)
    }

    #[inline]
    fn get(&self, _pinned: Pinned<'_>, order: Order) -> Option<usize> {
        self.depot.allocate_physical(BASE, one_or_more(order.frames())).ok()
    }

    #[inline]
    fn put(&self, _pinned: Pinned<'_>, address: usize, order: Order) {
        // SAFETY: `get` gave it out with this order, and its number was moved in here.
        unsafe { self.depot.deallocate_physical(BASE, one_or_more(order.frames()), address) };
    }

    #[inline]
    fn first(&self, address: &usize) -> Pfn {
        PhysAddr::new(*address as u64).pfn()
    }

    /// It flushes the magazines of all CPUs: called by one of them, while the others wait.
    fn drain(&self, pinned: Pinned<'_>) {
        if pinned.cpu().index() == 0 {
            self.depot.flush();
        }
    }
}
