//! From the firmware's entries to disjoint regions.
//!
//! Entries come in any order and may overlap; the result is what an observer would see who asks each byte for its kind,
//! where the most restrictive of all the answers counts. The sweep below does just that, byte by byte in principle: from
//! each point it goes on to the nearest one where any answer could change. With n entries that is at most 2n points of n
//! comparisons each, a quarter of a million at the very worst, once.

use arrayvec::ArrayVec;
use rhumb_machine::{PhysAddr, PhysRange};

use super::{FirmwareEntry, MAX_REGIONS, MapFinding, MemoryMap, MemoryMapError, Region, RegionKind, joined};
use crate::Findings;

/// One past the last physical address that an x86-64 page-table entry can name (bits 51..12).
const PHYSICAL_LIMIT: PhysAddr = PhysAddr::new(1 << 52);

impl MemoryMap {
    /// The memory map that the firmware's `entries` describe, and what was odd about them.
    ///
    /// # Errors
    /// [`MemoryMapError::NoUsableRam`] where there is not one whole frame of RAM; [`MemoryMapError::TooManyEntries`] and
    /// [`MemoryMapError::TooManyRegions`] where there is no room. An entry that does not fit must not be ignored: it may be
    /// the one that says that a piece of "usable" RAM is not.
    pub fn from_firmware<I>(entries: I) -> Result<(Self, Findings<MapFinding>), MemoryMapError>
    where
        I: IntoIterator<Item = FirmwareEntry>,
    {
        let mut findings = Findings::default();
        let mut given = ArrayVec::<Region, MAX_REGIONS>::new();
        let mut count = 0;
        for entry in entries {
            count += 1;
            if let Some(region) = accept(entry, &mut findings) {
                given.try_push(region).map_err(|_| MemoryMapError::TooManyEntries)?;
            }
        }
        if !given.is_sorted_by_key(|region| region.range.start()) {
            findings.push(MapFinding::Unsorted);
            given.sort_unstable_by_key(|region| (region.range.start(), region.range.end()));
        }
        let map = Self { regions: sweep(&given, &mut findings)?, reserved: ArrayVec::new_const() };
        if map.ram_end() == PhysAddr::ZERO {
            return Err(MemoryMapError::NoUsableRam { entries: count });
        }
        Ok((map, findings))
    }
}

/// The region of one entry, or `None` where it describes nothing.
fn accept(entry: FirmwareEntry, findings: &mut Findings<MapFinding>) -> Option<Region> {
    let kind = RegionKind::from_type(entry.type_code);
    if entry.length == 0 {
        findings.push(MapFinding::Empty(entry));
        return None;
    }
    let Some(range) = PhysRange::of_length(PhysAddr::new(entry.base), entry.length) else {
        findings.push(MapFinding::Wraps(entry));
        return None;
    };
    if kind == RegionKind::Usable && range.end() > PHYSICAL_LIMIT {
        let beyond = PhysRange::new(range.start().max(PHYSICAL_LIMIT), range.end()).unwrap_or(range);
        findings.push(MapFinding::BeyondPhysicalLimit(beyond));
        let range = PhysRange::new(range.start(), PHYSICAL_LIMIT).filter(|range| !range.is_empty())?;
        return Some(Region { range, kind });
    }
    Some(Region { range, kind })
}

/// Disjoint regions out of `given`, which is sorted by start.
fn sweep(
    given: &[Region],
    findings: &mut Findings<MapFinding>,
) -> Result<ArrayVec<Region, MAX_REGIONS>, MemoryMapError> {
    let mut regions = ArrayVec::<Region, MAX_REGIONS>::new();
    let mut point = given.first().map(|region| region.range.start());
    while let Some(start) = point {
        let Some(end) = next_edge(given, start) else { break };
        if let (Some(range), Some((least, most))) = (PhysRange::new(start, end), kinds_at(given, start)) {
            if least != most {
                findings.push(MapFinding::Overlap { range, lost: least, won: most });
            }
            match regions.last_mut() {
                Some(last) if last.kind == most && last.range.end() == start => {
                    last.range = joined(last.range, range)
                }
                _ => regions
                    .try_push(Region { range, kind: most })
                    .map_err(|_| MemoryMapError::TooManyRegions)?,
            }
        }
        point = Some(end);
    }
    Ok(regions)
}

/// The least and the most restrictive kind given for the byte at `point`.
fn kinds_at(given: &[Region], point: PhysAddr) -> Option<(RegionKind, RegionKind)> {
    let here = || up_to(given, point).filter(|region| region.range.contains(point)).map(|region| region.kind);
    Some((here().min()?, here().max()?))
}

/// The nearest start or end of any region past `point`.
fn next_edge(given: &[Region], point: PhysAddr) -> Option<PhysAddr> {
    let end = up_to(given, point).map(|region| region.range.end()).filter(|&end| end > point).min();
    let start = given.iter().map(|region| region.range.start()).find(|&start| start > point);
    match (start, end) {
        (Some(start), Some(end)) => Some(start.min(end)),
        (start, end) => start.or(end),
    }
}

/// The regions that start at or before `point`.
fn up_to(given: &[Region], point: PhysAddr) -> impl Iterator<Item = &Region> {
    given.iter().take_while(move |region| region.range.start() <= point)
}
