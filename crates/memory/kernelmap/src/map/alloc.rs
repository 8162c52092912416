//! Making areas: of memory, and of devices.

use rhumb_frames::{AllocClass, Anywhere, Contents, Frame, Owner, Request};
use rhumb_machine::{PageSize, Pfn, PhysAddr, PhysRange, Pinned, impossible};
use rhumb_pagetable::{Access, Attributes, CacheMode, Entry, TableMemory};

use super::area::{Area, AreaKind, AreaRequest};
use super::claim::let_move;
use super::error::AreaError;
use super::home::Home;
use super::region::{GUARD_UNITS, Region, fill, make_upper_tables};
use super::{KernelMap, waiting};
use crate::arena::{ArenaError, Fit, HeldRange};

impl<H: Home> KernelMap<H> {
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
        let small = frames.class(request.class);
        let small_leaf = Entry::leaf(PhysAddr::ZERO, PageSize::Size4K, attributes).bits();
        let area = self.make_area(pinned, AreaKind::Memory, request.owner, (0, request.pages), |size, _| {
            if size == PageSize::Size4K {
                let frame = match self.home.alloc(pinned, small) {
                    Ok(frame) => frame,
                    Err(_) => self.alloc_waiting(pinned, small)?,
                };
                return Ok(Some(Entry::from_bits(small_leaf | Frame::into_pfn(frame).addr().get())));
            }
            if size > largest {
                return Ok(None);
            }
            // A large block is a convenience: no reclaimer runs for it, and a request that found none asks no more.
            let large = frames.order(size.order()).class(AllocClass::Atomic);
            let Ok(frame) = self.home.alloc(pinned, large) else {
                largest = size.smaller().unwrap_or(largest);
                return Ok(None);
            };
            Ok(Some(Entry::leaf(Frame::into_pfn(frame).addr(), size, attributes)))
        });
        area.map(|area| if request.is_movable { let_move(area) } else { area })
    }

    /// Takes a frame after all that waited for a flush has come back: such frames are as good as others. Where none waits,
    /// another CPU may have given them back just now.
    #[cold]
    fn alloc_waiting(&self, pinned: Pinned<'_>, request: Request) -> Result<Frame<Anywhere>, AreaError> {
        self.reclaim(pinned);
        self.home.alloc(pinned, request).map_err(AreaError::NoFrame)
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
        self.make_area(pinned, AreaKind::Device, owner, (from, pages), |size, page| {
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
        mut leaf: impl FnMut(PageSize, u64) -> Result<Option<Entry>, AreaError>,
    ) -> Result<Area, AreaError> {
        if pages == 0 {
            return Err(AreaError::Empty);
        }
        let region = self.region_for(pages)?;
        let (per_unit, level) = (region.unit.frames(), region.level());
        let area = self.take_area(pinned, region, kind, owner, (from, pages))?;
        let (mut tables, range) = (self.home.tables(), (area.held.range(), area.table));
        let filled = self.for_each_entry_of(&mut tables, level, range, |tables, table, index, nth| {
            let skipped = if nth == 0 { from } else { 0 };
            let first = (nth * per_unit + skipped) - from;
            let part = (skipped, (per_unit - skipped).min(pages - first), first);
            let entry = fill(self, pinned, tables, kind, region.unit, part, &mut leaf)?;
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

    /// Takes addresses, and makes the tables above their entries, which stay clear.
    pub(super) fn take_area(
        &self,
        pinned: Pinned<'_>,
        region: &Region<H::Machine>,
        kind: AreaKind,
        owner: Owner,
        (from, pages): (u64, u64),
    ) -> Result<Area, AreaError> {
        let units = (from + pages).div_ceil(region.unit.frames());
        let is_charged = kind != AreaKind::Device && self.accounts.charge(owner, pages)?;
        let fit = Fit::new(units + GUARD_UNITS).map_err(|_| AreaError::TooLarge(pages));
        let held = match fit.and_then(|fit| self.take_addresses(pinned, region, fit, pages)) {
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
        let table = match make_upper_tables(self, pinned, &mut self.home.tables(), region.unit, all) {
            Ok(table) => table,
            Err(error) => {
                if is_charged {
                    self.accounts.uncharge(owner, pages);
                }
                if region.arena.free(pinned, held).is_err() {
                    impossible!("the range was taken from this arena");
                }
                return Err(error);
            }
        };
        let level = region.level();
        let mut area = Area { held, start, pages, owner, level, kind, is_charged, is_movable: false, table };
        let facts = area.facts();
        area.held.set_word(facts.pack());
        Ok(area)
    }

    pub(super) fn uncharge(&self, area: &Area) {
        if area.is_charged {
            self.accounts.uncharge(area.owner, area.pages);
        }
    }

    /// Takes a table. Frames that wait for a flush are as good as others, and so are those that another CPU has given
    /// back meanwhile.
    pub(super) fn take_table(&self, pinned: Pinned<'_>) -> Result<Pfn, AreaError> {
        match self.home.take_table(pinned) {
            Err(_) => {
                self.reclaim(pinned);
                self.home.take_table(pinned)
            }
            taken => taken,
        }
        .map_err(|_| AreaError::NoTable)
    }

    /// Takes units for an area of so many pages, and those of its guard.
    pub(super) fn take_addresses(
        &self,
        pinned: Pinned<'_>,
        region: &Region<H::Machine>,
        fit: Fit,
        pages: u64,
    ) -> Result<HeldRange, AreaError> {
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
}
