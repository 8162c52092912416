//! The kernel map: memory that is contiguous only here, and devices. See docs/kernel-map.md.
//!
//! ```text
//!   alloc(owner, request) ─> Area ─> area.start(), mapped on every CPU ─> free
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`home`] | the allocator, the tables and the flushes below the map |
//! | [`space`] | objects at addresses of the map |
//!
//! Its tables above areas are made at boot down to level 3, so that no entry of the root changes afterwards. Frames of
//! areas come back from their wait for a flush when the allocator is short: the map is one of its reclaimers.
//!
//! Locking: each CPU's areas that wait have a lock, and so have ranges of addresses; both are leaves. No lock is held
//! while CPUs are flushed.

mod home;
pub mod space;

use core::fmt;

use rhumb_frames::{Frames, Reclaimer, Request, Shortage};
use rhumb_kernelmap::map::{ForeignArea, MapInconsistency};
use rhumb_kernelmap::{
    Area, AreaError, AreaKind, AreaRequest, FlushPolicy, KernelMap, MapAddresses, MapLayout, MapLayoutError,
    Moved, Tag,
};
use rhumb_machine::{Machine, NodeId, Order, PageSize, PhysRange, Pinned, VirtAddr, impossible};
use rhumb_pagetable::CacheMode;
use rhumb_slab::{Cache, CacheSpec, SpecError};
use spin::Once;
use x86_64::instructions::interrupts;

use super::objects;
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::{area, once};
use crate::facts::Boot;
use crate::layout::{self, Stack};
use crate::mm::owners::{self, Owner};

pub use home::KernelHome;

/// The addresses for areas of one size of unit: so many times the RAM, in steps.
const TIMES_RAM: u64 = 8;
const STEP_BYTES: u64 = 512 << 30;

static MAP: Once<KernelMap<KernelHome>> = Once::new();
static TAGS: Once<Cache<Tag, KernelMachine>> = Once::new();

/// Why there is no map.
#[derive(Debug)]
pub enum StartError {
    /// There are no object caches.
    NoObjects,
    /// The cache of records cannot be made.
    Records(SpecError),
    /// No frames for the map's own tables.
    Frames(rhumb_frames::AllocError),
    /// No table can be had for these addresses.
    NoTable(VirtAddr),
    /// The map refuses what it was given.
    Map(MapLayoutError),
    /// The map cannot take over an area of boot's.
    Boot(AreaError),
    /// The allocator has no place for another reclaimer.
    TooManyReclaimers,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoObjects => f.write_str("there are no object caches"),
            Self::Records(error) => error.fmt(f),
            Self::Frames(error) => error.fmt(f),
            Self::NoTable(at) => write!(f, "no frame for a table above {at}"),
            Self::Map(error) => error.fmt(f),
            Self::Boot(error) => error.fmt(f),
            Self::TooManyReclaimers => f.write_str("the allocator has too many reclaimers"),
        }
    }
}

/// Makes the map. Once, at boot, before other CPUs run.
///
/// # Errors
/// [`StartError`]: there is no map then.
pub fn start(boot: &'static Boot, frames: &'static Frames<KernelMachine>) -> Result<(), StartError> {
    let slabs = objects::direct_slabs().ok_or(StartError::NoObjects)?;
    let addresses = addresses(boot);
    for range in [addresses.small, addresses.large, addresses.huge] {
        home::make_root_tables(range).map_err(StartError::NoTable)?;
    }
    let guard = MACHINE.pin();
    let spec = CacheSpec::of::<Tag>("kmap_range");
    let tags = once::fill(&TAGS, Cache::new(slabs, guard.pinned(), spec).map_err(StartError::Records)?);
    let layout = MapLayout::new(boot.cpus).map_err(StartError::Map)?;
    let memory = own_memory(frames, guard.pinned(), layout.storage_bytes())?;
    let home = KernelHome::new(boot, frames);
    // SAFETY: the plan of the address space has these addresses for nothing else.
    let map = unsafe { KernelMap::new(home, layout, addresses, tags, guard.pinned(), memory) };
    let map = map.map_err(StartError::Map)?;
    take_over(&map, guard.pinned(), boot).map_err(StartError::Boot)?;
    let map = once::fill(&MAP, map);
    if let Some(policy) = boot.options.kmap_flush.and_then(FlushPolicy::of_name) {
        map.set_policy(guard.pinned(), policy);
    }
    frames.register_reclaimer(&WaitingAreas).map_err(|_| StartError::TooManyReclaimers)
}

/// Takes over what boot has mapped at addresses of the map: this CPU's stacks, and devices. Permanently: what boot took
/// never comes back.
fn take_over(map: &KernelMap<KernelHome>, pinned: Pinned<'_>, boot: &Boot) -> Result<(), AreaError> {
    let stacks = &area::boot().stacks;
    let stacks = Stack::ALL.into_iter().filter_map(|stack| stacks.range(stack));
    let stacks = stacks.map(|stack| (stack, AreaKind::Memory, owners::STACKS));
    let devices = boot.devices.iter().map(|device| (device.addresses(), AreaKind::Device, owners::DEVICES));
    for (range, kind, owner) in stacks.chain(devices) {
        // SAFETY: boot has mapped these for the kernel, none executable, devices in their own mode; the area is never
        // given back.
        let _area: Area = unsafe { map.adopt(pinned, range, kind, owner.in_frames()) }?;
    }
    Ok(())
}

/// Returns the addresses of each region: [`TIMES_RAM`] times the RAM, which is more than any use of them can fragment.
fn addresses(boot: &Boot) -> MapAddresses {
    let ram = boot.memory.lock().ram_bytes();
    let bytes = ram.saturating_mul(TIMES_RAM).next_multiple_of(STEP_BYTES).min(layout::MOST_AREAS_BYTES);
    let region = |unit| layout::range(layout::areas(unit).start(), bytes);
    MapAddresses {
        small: region(PageSize::Size4K),
        large: region(PageSize::Size2M),
        huge: region(PageSize::Size1G),
    }
}

/// Returns memory for the map's own tables, permanently.
#[expect(
    clippy::mut_from_ref,
    reason = "the memory is the allocator's to give, and no part of the allocator"
)]
fn own_memory(
    frames: &'static Frames<KernelMachine>,
    pinned: Pinned<'_>,
    bytes: usize,
) -> Result<&'static mut [u64], StartError> {
    let order = Order::holding((bytes as u64).div_ceil(4096)).unwrap_or(Order::HUGE);
    let request = Request::new(order).zeroed().owner(owners::OBJECTS.in_frames());
    let frame = frames.alloc(pinned, request).map_err(StartError::Frames)?;
    let start = MACHINE.direct(frame.into_pfn().addr()).as_mut_ptr::<u64>();
    // SAFETY: the frames are the caller's alone from here on, permanently; they are in the direct map (I1), aligned and
    // zero.
    Ok(unsafe { core::slice::from_raw_parts_mut(start, bytes / size_of::<u64>()) })
}

/// Returns the map; `None` before [`start`].
pub fn map() -> Option<&'static KernelMap<KernelHome>> {
    MAP.get()
}

/// Maps memory for an owner. See [`KernelMap::alloc`].
///
/// # Errors
/// [`AreaError`]; [`AreaError::NoTable`] before [`start`].
pub fn alloc(owner: Owner, request: AreaRequest) -> Result<Area, AreaError> {
    let map = map().ok_or(AreaError::NoTable)?;
    let guard = MACHINE.pin();
    map.alloc(guard.pinned(), request.owner(owner.in_frames()))
}

/// Maps the memory of a device. See [`KernelMap::map_device`].
///
/// # Errors
/// [`AreaError`]; [`AreaError::NoTable`] before [`start`].
///
/// # Safety
/// As for [`KernelMap::map_device`].
#[cfg_attr(not(feature = "lab"), expect(dead_code, reason = "boot maps the devices that the kernel uses"))]
pub unsafe fn map_device(owner: Owner, device: PhysRange, cache: CacheMode) -> Result<Area, AreaError> {
    let map = map().ok_or(AreaError::NoTable)?;
    let guard = MACHINE.pin();
    // SAFETY: passed on.
    unsafe { map.map_device(guard.pinned(), device, cache, owner.in_frames()) }
}

/// Moves the frames of the movable area that has an address to a node. See [`KernelMap::move_at`].
///
/// # Errors
/// [`AreaError`]; [`AreaError::NoArea`] before [`start`].
pub fn move_at(address: VirtAddr, node: NodeId) -> Result<Moved, AreaError> {
    let map = map().ok_or(AreaError::NoArea(address))?;
    let guard = MACHINE.pin();
    map.move_at(guard.pinned(), address, node)
}

/// Finishes the move of a page to another node, where the fault of a write to it came from the move, and tells whether
/// the write can be made again. See [`KernelMap::resolve_write`]. For the handler of page faults, with interrupts off.
pub fn resolve_write(address: VirtAddr) -> bool {
    let guard = MACHINE.pin();
    map().is_some_and(|map| map.resolve_write(guard.pinned(), address))
}

/// Gives an area back. See [`KernelMap::free`].
pub fn free(area: Area) {
    let Some(map) = map() else { return impossible!("the area came from the map") };
    let guard = MACHINE.pin();
    if let Err(ForeignArea(area)) = map.free(guard.pinned(), area) {
        impossible!("there is one map: {area:?}");
    }
}

/// Flushes, and gives back all areas that wait. Returns how many frames they were.
pub fn reclaim() -> u64 {
    map().map_or(0, |map| map.reclaim(MACHINE.pin().pinned()))
}

/// Gives back the addresses that other CPUs asked this one for ([`KernelMap::tick`]).
pub fn tick(pinned: Pinned<'_>) {
    if let Some(map) = map() {
        map.tick(pinned);
    }
}

/// Has CPUs let go of addresses that they have not needed for a while ([`KernelMap::trim`]).
pub fn trim() {
    if let Some(map) = map() {
        map.trim(MACHINE.pin().pinned());
    }
}

/// Checks the map's structures and each entry of its tables. No other CPU may use the map meanwhile.
///
/// # Errors
/// The first inconsistency.
pub fn validate() -> Result<(), MapInconsistency> {
    map().map_or(Ok(()), |map| map.validate(MACHINE.pin().pinned()))
}

/// The reclaimer that the allocator is told of at boot.
struct WaitingAreas;

impl Reclaimer for WaitingAreas {
    fn name(&self) -> &str {
        "kernel map"
    }

    /// Does nothing with interrupts off, because it flushes other CPUs, and the caller may hold a lock for which one of
    /// them waits that cannot be interrupted.
    fn reclaim(&self, pinned: Pinned<'_>, _: &Shortage) -> u64 {
        map().filter(|_| interrupts::are_enabled()).map_or(0, |map| map.reclaim(pinned))
    }
}
