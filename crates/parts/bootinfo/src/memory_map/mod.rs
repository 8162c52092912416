//! The memory map: which physical addresses are RAM, which of it is free, and what the rest is for.
//!
//! ```text
//!  firmware entries (any order, overlapping, to the byte)
//!        │ from_firmware: sort, drop, resolve, merge            -> findings
//!  regions        0        640K   1M                3G          4G         5G
//!                 | usable | rsvd |      usable     | reserved  |  usable  |
//!  reservations     ^first page      ^^kernel  ^RAM disk           ^page tables
//!        │
//!  ram()            whole frames of the usable regions: what the direct map maps
//!  usable()         ram() without the reservations: what an allocator may hand out
//! ```
//!
//! Until the frame allocator takes over, this map is the only truth about free memory: [`crate::BootFrames`] keeps no
//! free list but reserves here what it hands out. Afterwards `usable()` yields exactly the memory that is left.
//!
//! Regions are kept to the byte, since firmware gives them so; `ram()` and `usable()` round *inward*, so that a frame
//! which is only partly RAM is not used. Reservations round *outward*, so that a frame which is partly taken is taken.
//!
//! Why not split the regions on each reservation (as E820 tables do): "is it RAM" and "is it free" are asked by
//! different parts (direct map, allocator), and the first answer must not change when the second does.

use arrayvec::ArrayVec;
use rhumb_machine::{PageSize, PhysAddr, PhysRange};

mod build;
mod correct;
mod finding;
mod map_end;
mod region;

pub use correct::Capped;
pub use finding::{MapFinding, MemoryMapError};
pub use map_end::MapEndFinding;
pub use region::{FirmwareEntry, Region, RegionKind, Reservation, Reserved};

/// Room for regions, and for the firmware's entries. UEFI firmware on large servers gives somewhat over 200 entries;
/// twice that, rounded up, is 12 KiB.
pub const MAX_REGIONS: usize = 512;

/// Room for reservations. Neighbours with the same reason share one, so what counts is how often reasons alternate:
/// about a dozen for the loader's and the kernel's own pieces, and some for each node, which has tables, stacks and
/// descriptors of its own.
pub const MAX_RESERVATIONS: usize = 512;

/// The memory map. About 24 KiB: keep it in a static or at the bottom of a large stack.
#[derive(Clone, Debug)]
pub struct MemoryMap {
    /// Ascending, disjoint, neighbours of the same kind merged.
    regions: ArrayVec<Region, MAX_REGIONS>,
    /// Ascending, disjoint, whole frames, inside usable regions, neighbours with the same reason merged.
    reserved: ArrayVec<Reserved, MAX_RESERVATIONS>,
}

impl MemoryMap {
    /// Returns all regions, ascending and disjoint, for display; addresses that no region covers are a hole.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Returns all reservations, ascending and disjoint.
    pub fn reservations(&self) -> &[Reserved] {
        &self.reserved
    }

    /// Returns the whole frames of RAM, free or not, as ascending ranges: the direct map maps these.
    pub fn ram(&self) -> impl DoubleEndedIterator<Item = PhysRange> + Clone {
        self.regions
            .iter()
            .filter(|region| region.kind == RegionKind::Usable)
            .map(|region| region.range.align_inward(PageSize::Size4K))
            .filter(|range| !range.is_empty())
    }

    /// Returns the whole frames of RAM that are not taken, as ascending ranges: an allocator may hand out these.
    pub fn usable(&self) -> impl Iterator<Item = PhysRange> + Clone {
        core::iter::successors(self.free_from(PhysAddr::ZERO), |last| self.free_from(last.end()))
    }

    /// Returns how many bytes of RAM are in whole frames, free or not.
    pub fn ram_bytes(&self) -> u64 {
        self.ram().map(PhysRange::bytes).sum()
    }

    /// Returns how many bytes of RAM are in whole frames that are not taken.
    pub fn usable_bytes(&self) -> u64 {
        self.usable().map(PhysRange::bytes).sum()
    }

    /// Returns one past the last byte of RAM.
    pub fn ram_end(&self) -> PhysAddr {
        self.ram().last().map_or(PhysAddr::ZERO, PhysRange::end)
    }

    /// Takes `range`, rounded outward to frames, out of the free RAM and notes why.
    ///
    /// Only what is RAM and not yet taken is noted: a range may lie in a hole or in firmware memory (loaders do that),
    /// and where it meets an earlier reservation, the earlier reason stays.
    ///
    /// # Errors
    /// [`MemoryMapError::TooManyReservations`]; nothing has changed then.
    pub fn reserve(&mut self, range: PhysRange, why: Reservation) -> Result<(), MemoryMapError> {
        if range.is_empty() {
            return Ok(());
        }
        // No RAM reaches the last frame below 2^64, so a range that cannot be rounded up ends past all RAM as it is.
        let range = range.align_outward(PageSize::Size4K).unwrap_or(range);
        // Each new note that may be needed must fit before the first is made.
        let pieces = self
            .free_in(range)
            .filter(|&piece| matches!(self.neighbours(piece, why), (_, None, None)))
            .count();
        if pieces > self.reserved.remaining_capacity() {
            return Err(MemoryMapError::TooManyReservations { why });
        }
        let mut from = range.start();
        while let Some(piece) =
            self.free_from(from).map(|free| free.intersection(range)).filter(|p| !p.is_empty())
        {
            self.note(piece, why)?;
            from = piece.end();
        }
        Ok(())
    }

    /// Gives the reservations that lie wholly within `range`, rounded outward to frames, another reason. They stay as many
    /// as they are, also where neighbours have the same reason then.
    pub fn set_reason(&mut self, range: PhysRange, why: Reservation) {
        let range = range.align_outward(PageSize::Size4K).unwrap_or(range);
        self.reserved.iter_mut().filter(|taken| range.covers(taken.range)).for_each(|taken| taken.why = why);
    }

    /// Returns the first free range at or after `from`; its start is `from` itself where that lies within free RAM.
    fn free_from(&self, from: PhysAddr) -> Option<PhysRange> {
        self.ram().filter(|ram| ram.end() > from).find_map(|ram| {
            let (mut start, mut end) = (ram.start().max(from), ram.end());
            let first = self.reserved.partition_point(|taken| taken.range.end() <= start);
            for taken in &self.reserved[first..] {
                if taken.range.start() > start {
                    end = end.min(taken.range.start());
                    break;
                }
                start = taken.range.end();
            }
            PhysRange::new(start, end).filter(|range| !range.is_empty())
        })
    }

    /// Returns the highest free range that begins below `to`; it ends at `to` itself where that lies within free RAM.
    fn free_below(&self, to: PhysAddr) -> Option<PhysRange> {
        self.ram().rev().filter(|ram| ram.start() < to).find_map(|ram| {
            let (mut start, mut end) = (ram.start(), ram.end().min(to));
            let past = self.reserved.partition_point(|taken| taken.range.start() < end);
            for taken in self.reserved[..past].iter().rev() {
                if taken.range.end() < end {
                    start = start.max(taken.range.end());
                    break;
                }
                end = taken.range.start();
            }
            PhysRange::new(start, end).filter(|range| !range.is_empty())
        })
    }

    /// Returns the free pieces of `range`, ascending.
    fn free_in(&self, range: PhysRange) -> impl Iterator<Item = PhysRange> {
        core::iter::successors(self.free_from(range.start()), |last| self.free_from(last.end()))
            .take_while(move |free| free.start() < range.end())
            .map(move |free| free.intersection(range))
    }

    /// Returns the free pieces of `range`, descending.
    pub(crate) fn free_down_in(&self, range: PhysRange) -> impl Iterator<Item = PhysRange> {
        core::iter::successors(self.free_below(range.end()), |last| self.free_below(last.start()))
            .take_while(move |free| free.end() > range.start())
            .map(move |free| free.intersection(range))
    }

    /// Returns where the note on `piece` belongs, and the notes for the same reason that end where it begins and begin
    /// where it ends.
    fn neighbours(&self, piece: PhysRange, why: Reservation) -> (usize, Option<usize>, Option<usize>) {
        let at = self.reserved.partition_point(|taken| taken.range.end() <= piece.start());
        let same = |index: &usize| self.reserved.get(*index).is_some_and(|taken| taken.why == why);
        let before = at.checked_sub(1).filter(same);
        let before = before.filter(|&index| self.reserved[index].range.end() == piece.start());
        let after = Some(at).filter(same).filter(|&index| self.reserved[index].range.start() == piece.end());
        (at, before, after)
    }

    /// Notes that `piece`, which is free RAM, is now taken.
    fn note(&mut self, piece: PhysRange, why: Reservation) -> Result<(), MemoryMapError> {
        match self.neighbours(piece, why) {
            (_, Some(before), Some(after)) => {
                let range = joined(self.reserved[before].range, self.reserved[after].range);
                self.reserved[before].range = range;
                self.reserved.remove(after);
            }
            (_, Some(index), None) | (_, None, Some(index)) => {
                self.reserved[index].range = joined(self.reserved[index].range, piece);
            }
            (at, None, None) => self
                .reserved
                .try_insert(at, Reserved { range: piece, why })
                .map_err(|_| MemoryMapError::TooManyReservations { why })?,
        }
        Ok(())
    }
}

/// Returns the range from the start of the first to the end of the last of two.
fn joined(one: PhysRange, other: PhysRange) -> PhysRange {
    // Cannot be `None`: the lesser start is not past the greater end.
    PhysRange::new(one.start().min(other.start()), one.end().max(other.end())).unwrap_or(one)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
