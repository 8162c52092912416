//! From the firmware's entries to disjoint regions.
//!
//! Entries come in any order and may overlap; the result is what an observer would see who asks each byte for its kind,
//! where the most restrictive of all the answers counts. The sweep below does just that, byte by byte in principle:
//! from each point it goes on to the nearest one where any answer could change. With n entries that is at most 2n
//! points of a few times n comparisons each, a million and a half at the very worst, once.
//!
//! Why not sort first: the sweep does not need it, and a copy to sort would be 12 KiB of a boot stack.

use arrayvec::ArrayVec;
use rhumb_machine::{PhysAddr, PhysRange};

use super::{FirmwareEntry, MapFinding, MemoryMap, MemoryMapError, Region, RegionKind, joined};
use crate::Findings;

/// One past the last physical address that an x86-64 page-table entry can name (bits 51..12).
const PHYSICAL_LIMIT: PhysAddr = PhysAddr::new(1 << 52);

impl MemoryMap {
    /// The memory map that the firmware's `entries` describe, and what was odd about them.
    ///
    /// # Errors
    /// [`MemoryMapError::NoUsableRam`] where there is not one whole frame of RAM; [`MemoryMapError::TooManyRegions`]
    /// where there is no room. A region that does not fit must not be ignored: it may be the one that says that a piece
    /// of "usable" RAM is not.
    pub fn from_firmware<I>(entries: I) -> Result<(Self, Findings<MapFinding>), MemoryMapError>
    where
        I: IntoIterator<Item = FirmwareEntry>,
        I::IntoIter: Clone,
    {
        let entries = entries.into_iter();
        let mut findings = Findings::default();
        entries.clone().filter_map(|entry| oddity(entry).err()).for_each(|finding| findings.push(finding));
        let given = entries.clone().filter_map(region);
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
                    _ => self
                        .regions
                        .try_push(Region { range, kind: most })
                        .map_err(|_| MemoryMapError::TooManyRegions)?,
                }
            }
            point = Some(end);
        }
        Ok(())
    }
}

/// Whether an entry can be taken as it stands.
fn oddity(entry: FirmwareEntry) -> Result<(), MapFinding> {
    if entry.length == 0 {
        return Err(MapFinding::Empty(entry));
    }
    let range =
        PhysRange::of_length(PhysAddr::new(entry.base), entry.length).ok_or(MapFinding::Wraps(entry))?;
    match beyond_limit(range) {
        Some(beyond) if entry.type_code == RegionKind::USABLE_TYPE => {
            Err(MapFinding::BeyondPhysicalLimit(beyond))
        }
        _ => Ok(()),
    }
}

/// The region of one entry, or `None` where it describes nothing.
fn region(entry: FirmwareEntry) -> Option<Region> {
    let kind = RegionKind::from_type(entry.type_code);
    let range = PhysRange::of_length(PhysAddr::new(entry.base), entry.length)?;
    let end = if kind == RegionKind::Usable { range.end().min(PHYSICAL_LIMIT) } else { range.end() };
    let range = PhysRange::new(range.start(), end).filter(|range| !range.is_empty())?;
    Some(Region { range, kind })
}

/// What of `range` no page table can name.
fn beyond_limit(range: PhysRange) -> Option<PhysRange> {
    PhysRange::new(range.start().max(PHYSICAL_LIMIT), range.end()).filter(|beyond| !beyond.is_empty())
}

/// The least and the most restrictive kind given for the byte at `point`.
fn kinds_at(
    given: impl Iterator<Item = Region> + Clone,
    point: PhysAddr,
) -> Option<(RegionKind, RegionKind)> {
    let here = given.filter(|region| region.range.contains(point)).map(|region| region.kind);
    Some((here.clone().min()?, here.max()?))
}

/// The nearest start or end of any region past `point`.
fn next_edge(given: impl Iterator<Item = Region>, point: PhysAddr) -> Option<PhysAddr> {
    given.flat_map(|region| [region.range.start(), region.range.end()]).filter(|&edge| edge > point).min()
}
