//! From the firmware's entries to disjoint regions.
//!
//! Entries come in any order and may overlap; the result is that of asking each byte for its kind,
//! where the most restrictive answer counts. The sweep below does just that, byte by byte in principle:
//! from each point it goes on to the nearest one where any answer could change. With n entries that is at most 2n
//! points of a few times n comparisons each, a million and a half at the very worst, once.
//!
//! Why not sort first: the sweep does not need it, and a copy to sort would be 12 KiB of a boot stack.

use arrayvec::ArrayVec;
use rhumb_machine::{PhysAddr, PhysRange};

use super::{FirmwareEntry, MapFinding, MemoryMap, MemoryMapError, Region, RegionKind, joined};
use crate::Findings;

/// The PC's hole for the screen and for firmware: no PC has RAM there that programs can use, whatever its map says.
const HOLE: PhysRange = PhysRange::new(PhysAddr::new(0xa_0000), PhysAddr::new(0x10_0000)).unwrap();

/// One past the last physical address that an x86-64 page-table entry can name (bits 51..12).
const PHYSICAL_LIMIT: PhysAddr = PhysAddr::new(1 << 52);

impl MemoryMap {
    /// Returns the memory map that the firmware's `entries` describe, and what was odd about them.
    ///
    /// # Errors
    /// [`MemoryMapError::NoUsableRam`] where there is not one whole frame of RAM; [`MemoryMapError::TooManyRegions`]
    /// where there is no room though all regions but one of RAM were left out. RAM that does not fit is left out, the
    /// smallest regions first. A region that is not RAM is never left out before RAM is.
    pub fn from_firmware<I>(entries: I) -> Result<(Self, Findings<MapFinding>), MemoryMapError>
    where
        I: IntoIterator<Item = FirmwareEntry>,
        I::IntoIter: Clone,
    {
        let entries = entries.into_iter();
        let mut findings = Findings::default();
        entries.clone().filter_map(|entry| oddity(entry).err()).for_each(|finding| findings.push(finding));
        let given = entries.clone().flat_map(regions);
        if !given.clone().is_sorted_by_key(|region| region.range.start()) {
            findings.push(MapFinding::Unsorted);
        }
        let mut map = Self { regions: ArrayVec::new_const(), reserved: ArrayVec::new_const() };
        map.sweep(given, &mut findings)?;
        if map.ram_end() == PhysAddr::ZERO {
            return Err(MemoryMapError::NoUsableRam { entries: entries.count() });
        }
        Ok((map, findings))
    }

    /// Fills the regions with what the entries `given` come to.
    fn sweep(
        &mut self,
        given: impl Iterator<Item = Region> + Clone,
        findings: &mut Findings<MapFinding>,
    ) -> Result<(), MemoryMapError> {
        let mut point = given.clone().map(|region| region.range.start()).min();
        while let Some(start) = point {
            let Some(end) = next_edge(given.clone(), start) else { break };
            if let (Some(range), Some((least, most))) =
                (PhysRange::new(start, end), kinds_at(given.clone(), start))
            {
                if least != most {
                    findings.push(MapFinding::Overlap { range, lost: least, won: most });
                }
                match self.regions.last_mut() {
                    Some(last) if last.kind == most && last.range.end() == start => {
                        last.range = joined(last.range, range);
                    }
                    _ => self.push(Region { range, kind: most }, findings)?,
                }
            }
            point = Some(end);
        }
        Ok(())
    }
}

impl MemoryMap {
    /// Appends a region. Where there is no room, the smallest region of RAM is left out.
    fn push(&mut self, new: Region, findings: &mut Findings<MapFinding>) -> Result<(), MemoryMapError> {
        let Err(full) = self.regions.try_push(new) else { return Ok(()) };
        let new = full.element();
        let ram = self.regions.iter().enumerate().filter(|(_, region)| region.kind == RegionKind::Usable);
        let smallest = ram.min_by_key(|(_, region)| region.range.bytes());
        let smallest = smallest.map(|(at, region)| (at, region.range));
        match smallest {
            _ if new.kind == RegionKind::Usable
                && smallest.is_none_or(|(_, range)| new.range.bytes() <= range.bytes()) =>
            {
                findings.push(MapFinding::LeftOut(new.range));
                Ok(())
            }
            Some((at, range)) => {
                findings.push(MapFinding::LeftOut(range));
                self.regions.remove(at);
                self.regions.try_push(new).map_err(|_| MemoryMapError::TooManyRegions)
            }
            None => Err(MemoryMapError::TooManyRegions),
        }
    }
}

/// Tells whether an entry can be taken as it is.
fn oddity(entry: FirmwareEntry) -> Result<(), MapFinding> {
    if entry.length == 0 {
        return Err(MapFinding::Empty(entry));
    }
    let range =
        PhysRange::of_length(PhysAddr::new(entry.base), entry.length).ok_or(MapFinding::Wraps(entry))?;
    if entry.type_code != RegionKind::USABLE_TYPE {
        return Ok(());
    }
    if let Some(beyond) = beyond_limit(range) {
        return Err(MapFinding::BeyondPhysicalLimit(beyond));
    }
    let in_hole = HOLE.intersection(range);
    if in_hole.is_empty() { Ok(()) } else { Err(MapFinding::DeviceHole(in_hole)) }
}

/// Returns the regions of one entry: none where it describes nothing, two where it is RAM on both sides of the hole.
fn regions(entry: FirmwareEntry) -> impl Iterator<Item = Region> + Clone {
    let kind = RegionKind::from_type(entry.type_code);
    let windows = if kind == RegionKind::Usable {
        [(PhysAddr::ZERO, HOLE.start()), (HOLE.end(), PHYSICAL_LIMIT)]
    } else {
        [(PhysAddr::ZERO, PhysAddr::new(u64::MAX)), (PhysAddr::ZERO, PhysAddr::ZERO)]
    };
    let range = PhysRange::of_length(PhysAddr::new(entry.base), entry.length).unwrap_or_default();
    windows.into_iter().filter_map(move |(start, end)| {
        let range = range.intersection(PhysRange::new(start, end)?);
        (!range.is_empty()).then_some(Region { range, kind })
    })
}

/// Returns the part of `range` that no page table can name.
fn beyond_limit(range: PhysRange) -> Option<PhysRange> {
    PhysRange::new(range.start().max(PHYSICAL_LIMIT), range.end()).filter(|beyond| !beyond.is_empty())
}

/// Returns the least and the most restrictive kind given for the byte at `point`.
fn kinds_at(
    given: impl Iterator<Item = Region> + Clone,
    point: PhysAddr,
) -> Option<(RegionKind, RegionKind)> {
    let here = given.filter(|region| region.range.contains(point)).map(|region| region.kind);
    Some((here.clone().min()?, here.max()?))
}

/// Returns the nearest start or end of any region past `point`.
fn next_edge(given: impl Iterator<Item = Region>, point: PhysAddr) -> Option<PhysAddr> {
    given.flat_map(|region| [region.range.start(), region.range.end()]).filter(|&edge| edge > point).min()
}
