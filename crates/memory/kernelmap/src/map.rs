//! [`KernelMap`]: memory whose frames need not be contiguous, at contiguous addresses, and the memory of devices.
//!
//! ```text
//!   alloc ──> Region: addresses ──> tables above (stay) ──> entries: frames, or tables of frames
//!   free  ──> entries hidden ──> Ring: waits with its CPU ──flush──> frames, tables, addresses
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `map` | [`KernelMap`]: making it; allocation |
//! | `waiting` | giving back; [`FlushPolicy`]; memory that waits |
//! | `protect` | changing the rights of pages that are mapped |
//! | `by_address` | areas whose handle was given up for their address |
//! | `region`, `release` | the entries of areas, and the tables above them; giving back frames and tables |
//! | `hidden` | entries that wait |
//! | `flushes`, `ring` | numbers of flushes; the areas that wait with a CPU |
//! | `area`, `error`, `limits` | [`Area`], [`AreaRequest`]; [`AreaError`]; what owners may have |
//! | `report`, `validate` | lists and figures; the check of all structures |
//! | `home` | [`Home`]: frames, tables and flushes |
//!
//! # Theory
//! 1. **An entry has one owner.** The holder of an area writes the entries of its own units, with no lock and no
//!    counter; see [`region`]. Several areas share the tables above, which are never taken away.
//! 2. **The table is the list.** Frames that wait for a flush are remembered by their own entries ([`hidden`]), so that
//!    giving an area back needs no memory and cannot fail.
//! 3. **One flush serves many.** A full flush has a number, and so has an area that waits ([`flushes`]): whichever CPU
//!    flushes, each CPU sees which of its own areas wait no longer.
//! 4. **No recursion** (I10). Records of ranges are objects of the slab allocator, frames and tables come from the
//!    allocator of frames; neither needs this map.

mod area;
mod by_address;
mod error;
mod flushes;
mod hidden;
mod home;
mod limits;
mod protect;
mod region;
mod release;
mod report;
mod ring;
mod validate;
mod waiting;

use arrayvec::ArrayVec;
use rhumb_frames::{AllocClass, Contents, Frame, Owner, Request};
use rhumb_machine::{PageSize, Pfn, PhysRange, Pinned, VirtRange, impossible};
use rhumb_pagetable::{Access, Attributes, CacheMode, Entry, TableMemory, descend};
use rhumb_slab::Cache;
use rhumb_sync::Keepers;
use rhumb_sync::atomic::{AtomicU8, AtomicU64, Relaxed};

pub use area::{Area, AreaKind, AreaRequest, ForeignArea};
pub use error::{AreaError, MapLayoutError};
pub use home::{FlushKey, FlushNumber, Home};
pub use report::{AreaReport, KernelMapReport};
pub use validate::MapInconsistency;
pub use waiting::FlushPolicy;

use crate::arena::{Arena, ArenaError, ArenaLayout, Fit, HeldRange, Tag};
use crate::storage::{LINE_BYTES, Storage, bytes_for};
use area::MOST_PAGES;
use flushes::Flushes;
use limits::{Account, Accounts, OWNERS, UNLIMITED};
use region::{GUARD_UNITS, Region, fill, make_upper_tables};
use ring::CpuRing;

/// The sizes of the regions' units, smallest first.
const UNITS: [PageSize; 3] = [PageSize::Size4K, PageSize::Size2M, PageSize::Size1G];

/// The bytes that one entry of a level-3 table spans.
const PIECE_BYTES: u64 = 1 << 30;

/// All CPUs together have at most one in this many pages of memory waiting.
const WAITING_SHARE: u64 = 64;
/// Pages that wait with a CPU before it flushes, at most and at least.
const MOST_WAITING_PAGES: u64 = 2048;
const LEAST_WAITING_PAGES: u64 = 64;

/// How much memory a map's tables take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapLayout {
    small: ArenaLayout,
    /// Ranges of large units are not kept by CPUs: any CPU finds the cache of a first one, or none.
    large: ArenaLayout,
    cpus: usize,
}

impl MapLayout {
    /// Plans the tables for a machine of `cpus` CPUs.
    ///
    /// # Errors
    /// [`MapLayoutError::BadMachine`].
    pub const fn new(cpus: usize) -> Result<Self, MapLayoutError> {
        match (ArenaLayout::new(cpus), ArenaLayout::new(1)) {
            (Ok(small), Ok(large)) => Ok(Self { small, large, cpus }),
            _ => Err(MapLayoutError::BadMachine),
        }
    }

    /// Returns how many bytes the tables take: 42 KiB, and 9 KiB for each CPU.
    pub const fn storage_bytes(self) -> usize {
        let arenas = self.small.storage_bytes() + (UNITS.len() - 1) * self.large.storage_bytes();
        arenas.next_multiple_of(8) + UNITS.len() * 8 + self.own_bytes()
    }

    const fn arena(self, unit: PageSize) -> ArenaLayout {
        match unit {
            PageSize::Size4K => self.small,
            PageSize::Size2M | PageSize::Size1G => self.large,
        }
    }

    const fn own_bytes(self) -> usize {
        bytes_for::<CpuRing>(self.cpus)
            + bytes_for::<Account>(OWNERS)
            + 2 * bytes_for::<AtomicU64>(Keepers::words(self.cpus))
            + LINE_BYTES
    }
}

/// Addresses of a kernel map, whole GiB: a range for areas of each size of unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapAddresses {
    /// For areas of fewer than 512 pages.
    pub small: VirtRange,
    /// For areas of fewer than 2^18 pages.
    pub large: VirtRange,
    /// For larger areas; empty where the map has none.
    pub huge: VirtRange,
}

impl MapAddresses {
    const fn of(self, unit: PageSize) -> VirtRange {
        match unit {
            PageSize::Size4K => self.small,
            PageSize::Size2M => self.large,
            PageSize::Size1G => self.huge,
        }
    }
}

/// The kernel's map of what is truly virtual. See the [module](self).
pub struct KernelMap<H: Home> {
    home: H,
    regions: ArrayVec<Region<H::Machine>, 3>,
    rings: &'static [CpuRing],
    keepers: Keepers,
    flushes: Flushes,
    accounts: Accounts,
    policy: AtomicU8,
    /// Pages that may wait with a CPU before it flushes.
    most_waiting: AtomicU64,
    /// Tables above areas, which stay.
    upper_tables: AtomicU64,
}

impl<H: Home> KernelMap<H> {
    /// Makes a map of these addresses, with the lazy policy. The records of its ranges come from `tags`. `memory` is
    /// lent for the tables, and may hold anything.
    ///
    /// # Errors
    /// [`MapLayoutError`]: the tree must have the level-3 tables of all addresses, so that entries of its root, of
    /// which other address spaces have copies, never change.
    ///
    /// # Safety
    /// Nothing else maps anything at these addresses, or uses them.
    #[expect(unsafe_code, reason = "hands out addresses")]
    pub unsafe fn new(
        home: H,
        layout: MapLayout,
        addresses: MapAddresses,
        tags: &'static Cache<Tag, H::Machine>,
        pinned: Pinned<'_>,
        memory: &'static mut [u64],
    ) -> Result<Self, MapLayoutError> {
        let (given, needed) = (size_of_val(memory), layout.storage_bytes());
        let too_small = MapLayoutError::StorageTooSmall(given, needed);
        if given < needed {
            return Err(too_small);
        }
        let mut rest = memory;
        let mut regions = ArrayVec::new();
        for unit in UNITS {
            let addresses = addresses.of(unit);
            let arena = layout.arena(unit);
            let words = arena.storage_bytes().div_ceil(size_of::<u64>());
            let (tables, others) = rest.split_at_mut_checked(words).ok_or(too_small)?;
            rest = others;
            if addresses.is_empty() && unit == PageSize::Size1G {
                continue;
            }
            check_addresses(&home, addresses)?;
            if regions.iter().any(|other: &Region<H::Machine>| other.addresses.overlaps(addresses)) {
                return Err(MapLayoutError::BadAddresses(addresses));
            }
            let arena = Arena::new(arena, tags, tables).map_err(MapLayoutError::Arena)?;
            let region = Region { arena, unit, addresses };
            region.arena.add_span(pinned, region.units_of(addresses)).map_err(MapLayoutError::Arena)?;
            regions.push(region);
        }
        let mut rest = Storage::new(rest);
        let words = Keepers::words(layout.cpus);
        let rings = rest.each(layout.cpus, CpuRing::new).ok_or(too_small)?;
        let accounts = rest.each(OWNERS, Account::new).ok_or(too_small)?;
        let keeping = rest.each(words, || AtomicU64::new(0)).ok_or(too_small)?;
        let unasked = rest.each(words, || AtomicU64::new(0)).ok_or(too_small)?;
        let share = home.frames().totals().present / (WAITING_SHARE * layout.cpus as u64);
        Ok(Self {
            home,
            regions,
            rings,
            keepers: Keepers::new(keeping, unasked),
            flushes: Flushes::new(),
            accounts: Accounts(accounts),
            policy: AtomicU8::new(FlushPolicy::Lazy as u8),
            most_waiting: AtomicU64::new(share.clamp(LEAST_WAITING_PAGES, MOST_WAITING_PAGES)),
            upper_tables: AtomicU64::new(0),
        })
    }

    /// Maps memory as it is asked for.
    ///
    /// # Errors
    /// [`AreaError`]; nothing has changed then, but for tables that stay, and memory that waited for a flush and is free.
    ///
    /// Called with no lock held for which an interrupt handler waits: see [`Home::flush`].
    ///
    /// Cost: an allocation of frames and a write of an entry for each page. No flush, as long as frames and addresses
    /// are to be had.
    pub fn alloc(&self, pinned: Pinned<'_>, request: AreaRequest) -> Result<Area, AreaError> {
        if request.access == Access::ReadExecute {
            return Err(AreaError::Executable);
        }
        let attributes = Attributes::kernel(request.access);
        let frames = Request::FRAME.near(request.near).owner(request.owner);
        let frames = if request.contents == Contents::Zeroed { frames.zeroed() } else { frames };
        let mut largest = request.largest.min(self.home.largest());
        self.make_area(pinned, AreaKind::Memory, request.owner, (0, request.pages), None, |size, _| {
            if size > largest {
                return Ok(None);
            }
            // A large block is a convenience: no reclaimer runs for it, and a request that found none asks no more.
            let smaller = size.smaller();
            let class = if smaller.is_some() { AllocClass::Atomic } else { request.class };
            let frames = frames.order(size.order()).class(class);
            let frame = match (self.home.alloc(pinned, frames), smaller) {
                (Ok(frame), _) => frame,
                (Err(_), Some(smaller)) => {
                    largest = smaller;
                    return Ok(None);
                }
                // Frames that wait for a flush are as good as others. Where none waits, another CPU may have given them
                // back just now.
                (Err(_), None) => {
                    self.reclaim(pinned);
                    self.home.alloc(pinned, frames).map_err(AreaError::NoFrame)?
                }
            };
            Ok(Some(Entry::leaf(Frame::into_pfn(frame).addr(), size, attributes)))
        })
    }

    /// Maps the memory of a device, with a cache mode that is right for one: uncached, or write-combining.
    ///
    /// # Errors
    /// [`AreaError`]; nothing has changed then, but for tables that stay.
    ///
    /// # Safety
    /// The memory is that of a device which is the caller's. No mapping of it with another cache mode is used, or was
    /// since all CPUs have flushed.
    ///
    /// Cost: a write of an entry for each page, large ones where addresses allow.
    #[expect(unsafe_code, reason = "maps what the caller names")]
    pub unsafe fn map_device(
        &self,
        pinned: Pinned<'_>,
        device: PhysRange,
        cache: CacheMode,
        owner: Owner,
    ) -> Result<Area, AreaError> {
        if !device.is_aligned(PageSize::Size4K) {
            return Err(AreaError::UnalignedDevice(device));
        }
        if cache.is_cached() {
            return Err(AreaError::CachedDevice);
        }
        if self.home.is_ram(device) {
            return Err(AreaError::DeviceInRam(device));
        }
        let attributes = Attributes::kernel(Access::ReadWrite).with_cache(cache);
        let pages = device.bytes() / PageSize::Size4K.bytes();
        // Large pages fit where the addresses lie in their units as the memory does. An area begins at a page of the next
        // smaller size; memory that does not is mapped by small pages.
        let unit = self.region_for(pages)?.unit;
        let from = match unit.smaller() {
            Some(smaller) if device.start().is_aligned(smaller) => {
                device.start().offset_in(unit) / PageSize::Size4K.bytes()
            }
            _ => 0,
        };
        let largest = self.home.largest();
        self.make_area(pinned, AreaKind::Device, owner, (from, pages), Some(device), |size, page| {
            let phys = device.start().plus(page * PageSize::Size4K.bytes());
            Ok((size <= largest && phys.is_aligned(size)).then(|| Entry::leaf(phys, size, attributes)))
        })
    }

    /// Takes addresses for `pages` pages, the first of them `from` pages behind the beginning of its unit, and fills
    /// their entries.
    fn make_area(
        &self,
        pinned: Pinned<'_>,
        kind: AreaKind,
        owner: Owner,
        (from, pages): (u64, u64),
        device: Option<PhysRange>,
        mut leaf: impl FnMut(PageSize, u64) -> Result<Option<Entry>, AreaError>,
    ) -> Result<Area, AreaError> {
        if pages == 0 {
            return Err(AreaError::Empty);
        }
        let region = self.region_for(pages)?;
        let per_unit = region.unit.frames();
        let units = (from + pages).div_ceil(per_unit);
        let is_charged = device.is_none() && self.accounts.charge(owner, pages)?;
        let held = match self.take_addresses(pinned, region, units, pages) {
            Ok(held) => held,
            Err(error) => {
                if is_charged {
                    self.accounts.uncharge(owner, pages);
                }
                return Err(error);
            }
        };
        let (all, own) = (held.range(), waiting::without_guard(held.range()));
        let start = region.address_of(own.start()).plus(from * PageSize::Size4K.bytes());
        let level = region.level();
        let mut area = Area { held, start, pages, owner, level, kind, is_charged };
        let facts = area.facts();
        area.held.set_word(facts.pack());

        let mut tables = self.home.tables();
        if let Err(error) = make_upper_tables(self, pinned, &mut tables, region.unit, all) {
            self.uncharge(&area);
            area.held.set_word(0);
            if region.arena.free(pinned, area.held).is_err() {
                impossible!("the range was taken from this arena");
            }
            return Err(error);
        }
        let filled =
            self.for_each_entry_of(&mut tables, level, area.held.range(), |tables, table, index, nth| {
                let skipped = if nth == 0 { from } else { 0 };
                let first = (nth * per_unit + skipped) - from;
                let part = (skipped, (per_unit - skipped).min(pages - first), first);
                let entry = fill(self, pinned, tables, kind, level, part, &mut leaf)?;
                debug_assert_eq!(tables.read(table, index), Entry::EMPTY, "an entry of a free unit");
                tables.write(table, index, entry);
                Ok(())
            });
        match filled {
            Ok(()) => Ok(area),
            Err(error) => {
                // CPUs may have read the entries that were filled, on speculation.
                self.uncharge(&area);
                self.retire(pinned, area);
                Err(error)
            }
        }
    }

    fn uncharge(&self, area: &Area) {
        if area.is_charged {
            self.accounts.uncharge(area.owner, area.pages);
        }
    }

    /// Takes a table. Frames that wait for a flush are as good as others, and so are those that another CPU has given
    /// back meanwhile.
    fn take_table(&self, pinned: Pinned<'_>) -> Result<Pfn, AreaError> {
        match self.home.take_table(pinned) {
            Err(_) => {
                self.reclaim(pinned);
                self.home.take_table(pinned)
            }
            taken => taken,
        }
        .map_err(|_| AreaError::NoTable)
    }

    /// Takes units and those of their guard.
    fn take_addresses(
        &self,
        pinned: Pinned<'_>,
        region: &Region<H::Machine>,
        units: u64,
        pages: u64,
    ) -> Result<HeldRange, AreaError> {
        let fit = Fit::new(units + GUARD_UNITS).map_err(|_| AreaError::TooLarge(pages))?;
        let exhausted = |error| match error {
            ArenaError::NoTag(error) => AreaError::NoRecord(error),
            _ => AreaError::NoAddresses(pages),
        };
        match region.arena.alloc(pinned, fit) {
            // Addresses that wait for a flush are as good as others, and so is memory for a record.
            Err(ArenaError::Exhausted | ArenaError::NoTag(_)) => {
                self.reclaim(pinned);
                region.arena.reclaim(pinned);
                region.arena.alloc(pinned, fit).map_err(exhausted)
            }
            taken => taken.map_err(exhausted),
        }
    }

    /// Returns the region for areas of so many pages.
    fn region_for(&self, pages: u64) -> Result<&Region<H::Machine>, AreaError> {
        if pages > MOST_PAGES {
            return Err(AreaError::TooLarge(pages));
        }
        let fits = |region: &&Region<H::Machine>| region.unit.frames() <= pages.max(1);
        // A map without huge units has large ones for all that is larger.
        self.regions.iter().rev().find(fits).ok_or(AreaError::TooLarge(pages))
    }

    fn region(&self, level: u8) -> Option<&Region<H::Machine>> {
        self.regions.get(usize::from(level) - 1)
    }

    fn is_mine(&self, area: &Area) -> bool {
        self.region(area.level).is_some_and(|region| region.arena.is_of(&area.held))
    }

    /// Returns the policy by which CPUs flush.
    pub fn policy(&self) -> FlushPolicy {
        FlushPolicy::from_number(self.policy.load(Relaxed))
    }

    /// Sets the policy by which CPUs flush, and gives back what waits. Returns the policy before.
    pub fn set_policy(&self, pinned: Pinned<'_>, policy: FlushPolicy) -> FlushPolicy {
        let before = self.policy.swap(policy as u8, Relaxed);
        self.reclaim(pinned);
        FlushPolicy::from_number(before)
    }

    /// Sets how many pages may wait with each CPU before it flushes, and returns how many they were. At first: a 64th
    /// of all memory, divided by the CPUs, but 2,048 at most and 64 at least.
    pub fn set_most_waiting(&self, pages: u64) -> u64 {
        self.most_waiting.swap(pages, Relaxed)
    }

    /// Sets how many pages the areas of an owner may have together; `None` ends the limit. Areas that are there count
    /// if the owner had a limit when they were made.
    ///
    /// # Errors
    /// [`AreaError::NoLimitFor`] past 256 owners.
    pub fn set_limit(&self, owner: Owner, pages: Option<u64>) -> Result<(), AreaError> {
        self.accounts.set(owner, pages.unwrap_or(UNLIMITED))
    }

    /// Returns how many pages of an owner count, and how many it may have; `None` where it has no limit.
    pub fn limit(&self, owner: Owner) -> Option<(u64, u64)> {
        self.accounts.get(owner)
    }
}

/// Checks that the tree has the level-3 tables of these addresses.
fn check_addresses<H: Home>(home: &H, addresses: VirtRange) -> Result<(), MapLayoutError> {
    let whole = |address: u64| address.is_multiple_of(PIECE_BYTES);
    let levels = home.root().levels;
    if levels.positions(addresses).is_none()
        || addresses.start() < levels.kernel_half()
        || !whole(addresses.start().get())
        || !whole(addresses.bytes())
    {
        return Err(MapLayoutError::BadAddresses(addresses));
    }
    let tables = home.tables();
    let mut at = addresses.start();
    while at < addresses.end() {
        match descend(&tables, home.root(), at, 3) {
            Some(step) if step.level <= 3 => {}
            _ => return Err(MapLayoutError::NoTable(addresses)),
        }
        match at.checked_add(PIECE_BYTES) {
            Some(next) => at = next,
            None => {
                return impossible!("the addresses do not wrap" => Err(MapLayoutError::BadAddresses(addresses)));
            }
        }
    }
    Ok(())
}
