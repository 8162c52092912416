//! Where the firmware's map is known to be wrong: registers in RAM, RAM that is not listed, RAM that is not to be used.
//!
//! Each correction makes a new list of regions and takes its place only when all of it has fitted.

use arrayvec::ArrayVec;
use rhumb_machine::{PageSize, PhysAddr, PhysRange, impossible};

use super::{MAX_REGIONS, MemoryMap, MemoryMapError, Region, RegionKind, joined};

/// One past the last address.
const END: PhysAddr = PhysAddr::new(u64::MAX);

/// A list of regions in the making: ascending, neighbours of the same kind joined.
#[derive(Default)]
struct List(ArrayVec<Region, MAX_REGIONS>);

impl List {
    /// Appends the part of `region` that lies in `window`.
    fn append(&mut self, region: Region, window: PhysRange) -> Result<(), MemoryMapError> {
        let range = region.range.intersection(window);
        match self.0.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.kind == region.kind && last.range.end() == range.start() => {
                last.range = joined(last.range, range);
            }
            _ => self.0.try_push(Region { range, ..region }).map_err(|_| MemoryMapError::TooManyRegions)?,
        }
        Ok(())
    }
}

fn between(start: PhysAddr, end: PhysAddr) -> PhysRange {
    PhysRange::new(start, end)
        .unwrap_or_else(|| impossible!("{start} is above {end}" => PhysRange::default()))
}

/// Returns the frames that `range` touches: none where it is empty, though rounding its ends would give one.
fn touched(range: PhysRange) -> PhysRange {
    if range.is_empty() {
        PhysRange::default()
    } else {
        range.align_outward(PageSize::Size4K).unwrap_or(range)
    }
}

/// The effect of a limit (`mem=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capped {
    /// Bytes of RAM that are not used any more.
    pub gone_bytes: u64,
    /// Bytes of RAM above the limit that stay, because they were reserved before.
    pub kept_bytes: u64,
}

impl MemoryMap {
    /// Says that the frames of `range` are not RAM, whatever the firmware says: device registers are there. Gives
    /// whether that was news. Nothing changes where something of the range is reserved, because then it has been seen
    /// to be RAM.
    ///
    /// # Errors
    /// [`MemoryMapError::TooManyRegions`]; nothing has changed then.
    pub fn exclude(&mut self, range: PhysRange) -> Result<bool, MemoryMapError> {
        let range = touched(range);
        let is_ram = |region: &Region| region.kind == RegionKind::Usable && region.range.overlaps(range);
        let is_reserved = self.reserved.iter().any(|taken| taken.range.overlaps(range));
        if is_reserved || !self.regions.iter().any(is_ram) {
            return Ok(false);
        }
        let mut list = List::default();
        for &region in &self.regions {
            if is_ram(&region) {
                list.append(region, between(PhysAddr::ZERO, range.start()))?;
                list.append(Region { kind: RegionKind::Reserved, ..region }, range)?;
                list.append(region, between(range.end(), END))?;
            } else {
                list.append(region, between(PhysAddr::ZERO, END))?;
            }
        }
        self.regions = list.0;
        Ok(true)
    }

    /// Says that the frames of `range` are RAM, whatever the firmware says: the kernel runs there. Gives whether that
    /// was news.
    ///
    /// # Errors
    /// [`MemoryMapError::TooManyRegions`]; nothing has changed then.
    pub fn include(&mut self, range: PhysRange) -> Result<bool, MemoryMapError> {
        let range = touched(range);
        if range.is_empty() || self.ram().any(|ram| ram.covers(range)) {
            return Ok(false);
        }
        let mut list = List::default();
        for &region in &self.regions {
            list.append(region, between(PhysAddr::ZERO, range.start()))?;
        }
        list.append(Region { range, kind: RegionKind::Usable }, range)?;
        for &region in &self.regions {
            list.append(region, between(range.end(), END))?;
        }
        self.regions = list.0;
        Ok(true)
    }

    /// Forgets the RAM at and above address `limit_bytes` (`mem=`), if at least `least_bytes` of free RAM are left.
    ///
    /// As on Linux, the number is an address, not an amount: with a hole below 4 GiB, `mem=4G` leaves less than 4 GiB.
    /// RAM that is already reserved stays RAM wherever it lies: the loader may have put the kernel or the RAM disk
    /// above the limit.
    ///
    /// # Errors
    /// [`MemoryMapError::CapTooLow`] where less free RAM would be left, [`MemoryMapError::TooManyRegions`]; nothing has
    /// changed then.
    pub fn cap(&mut self, limit_bytes: u64, least_bytes: u64) -> Result<Capped, MemoryMapError> {
        let limit = PhysAddr::new(limit_bytes).align_down(PageSize::Size4K);
        let below = between(PhysAddr::ZERO, limit);
        let left: u64 = self.free_in(below).map(PhysRange::bytes).sum();
        if left < least_bytes {
            return Err(MemoryMapError::CapTooLow { limit, left_bytes: left, least_bytes });
        }
        let above = between(limit, END);
        let before = self.ram_bytes();
        let mut list = List::default();
        for &region in &self.regions {
            if region.kind != RegionKind::Usable {
                list.append(region, between(PhysAddr::ZERO, END))?;
                continue;
            }
            list.append(region, below)?;
            for taken in &self.reserved {
                list.append(Region { range: taken.range.intersection(above), ..region }, region.range)?;
            }
        }
        self.regions = list.0;
        let kept_bytes = self.reserved.iter().map(|taken| taken.range.intersection(above).bytes()).sum();
        Ok(Capped { gone_bytes: before - self.ram_bytes(), kept_bytes })
    }
}
