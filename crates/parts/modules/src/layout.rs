//! [`Layout`]: which section goes where.
//!
//! The sections of a part lie one after the other in the order of the file, each at its alignment. The read-only part ends
//! with the table of addresses that indirect calls go through (the ABI's GOT), which the object does not bring along.

use arrayvec::ArrayVec;

use crate::error::LoadError;
use crate::part::{MAX_INDIRECT, MAX_PART_BYTES, MAX_SECTIONS, Part};

/// A section that is loaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    /// Its number in the file.
    pub(crate) section: usize,
    pub(crate) part: Part,
    /// Where in its part it begins.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// Where each section goes.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    sections: ArrayVec<Placed, MAX_SECTIONS>,
    bytes: [u64; 3],
    /// The largest alignment in each part.
    align: [u64; 3],
    /// The numbers of symbols that are reached through the table of addresses.
    indirect: ArrayVec<u32, MAX_INDIRECT>,
    indirect_at: u64,
}

/// Bytes of an address in the table.
const SLOT_BYTES: u64 = 8;

impl Layout {
    /// Returns how many bytes a part has.
    pub const fn bytes(&self, part: Part) -> u64 {
        self.bytes[part.index()]
    }

    /// Returns the alignment that a part needs: a power of two up to [`MAX_ALIGN`](crate::part::MAX_ALIGN).
    pub fn align(&self, part: Part) -> u64 {
        self.align[part.index()].max(1)
    }

    /// Returns the section of this number, if it is loaded.
    pub(crate) fn section(&self, number: usize) -> Option<&Placed> {
        self.sections.iter().find(|placed| placed.section == number)
    }

    pub(crate) fn sections(&self) -> impl Iterator<Item = &Placed> {
        self.sections.iter()
    }

    /// Adds a section, whose alignment is a power of two up to [`MAX_ALIGN`](crate::part::MAX_ALIGN).
    pub(crate) fn add<'file>(
        &mut self,
        section: usize,
        part: Part,
        bytes: u64,
        align: u64,
    ) -> Result<(), LoadError<'file>> {
        let offset = self.grow(part, bytes, align)?;
        let placed = Placed { section, part, offset, bytes };
        self.sections.try_push(placed).map_err(|_| LoadError::TooManySections(section + 1))
    }

    /// Has a symbol be reached through the table of addresses.
    pub(crate) fn add_indirect<'file>(&mut self, symbol: u32) -> Result<(), LoadError<'file>> {
        if self.indirect.contains(&symbol) {
            return Ok(());
        }
        self.indirect.try_push(symbol).map_err(|_| LoadError::TooManyIndirect)
    }

    /// Gives the table of addresses its place. Once, when all sections have theirs.
    pub(crate) fn place_indirect<'file>(&mut self) -> Result<(), LoadError<'file>> {
        if !self.indirect.is_empty() {
            let bytes = self.indirect.len() as u64 * SLOT_BYTES;
            self.indirect_at = self.grow(Part::ReadOnly, bytes, SLOT_BYTES)?;
        }
        Ok(())
    }

    /// Returns each symbol of the table of addresses, with the place of its address in the read-only part.
    pub(crate) fn indirect(&self) -> impl Iterator<Item = (u32, u64)> {
        self.indirect.iter().zip(0..).map(|(&symbol, slot)| (symbol, self.indirect_at + slot * SLOT_BYTES))
    }

    /// Returns where in a part so many bytes begin that are added to it.
    fn grow<'file>(&mut self, part: Part, bytes: u64, align: u64) -> Result<u64, LoadError<'file>> {
        let used = &mut self.bytes[part.index()];
        // Both are below 2^25 at this point, or the sum is refused.
        let offset = used.next_multiple_of(align);
        let end = offset.checked_add(bytes).filter(|&end| end <= MAX_PART_BYTES);
        *used = end.ok_or(LoadError::PartTooLarge(part))?;
        let most = &mut self.align[part.index()];
        *most = align.max(*most);
        Ok(offset)
    }
}
