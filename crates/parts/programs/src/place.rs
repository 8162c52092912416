//! [`Placed`]: a program at its base, with the addresses that a task maps.

use rhumb_machine::{VirtAddr, VirtRange};

use crate::error::LoadError;
use crate::program::{Placement, Program};
use crate::segment::Segment;

/// A program at a base, all of it within the addresses that a task may have.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'program, 'file> {
    program: &'program Program<'file>,
    base: u64,
}

impl<'file> Program<'file> {
    /// Places the program at `base`, within the addresses of a task. A [`Fixed`](Placement::Fixed) program has base 0.
    ///
    /// # Errors
    /// [`LoadError::Base`] of a base that is no multiple of the program's alignment; [`LoadError::TooLarge`] and
    /// [`LoadError::OutOfRange`] of a program that does not fit.
    pub fn place(&self, base: u64, within: VirtRange) -> Result<Placed<'_, 'file>, LoadError> {
        let fits = match self.placement() {
            Placement::Fixed => base == 0,
            Placement::Anywhere(align) => base.is_multiple_of(align),
        };
        if !fits {
            return Err(LoadError::Base(base));
        }
        let wanted = moved(self.span(), base).ok_or(LoadError::TooLarge)?;
        if !within.covers(wanted) {
            return Err(LoadError::OutOfRange { wanted, within });
        }
        Ok(Placed { program: self, base })
    }
}

impl<'file> Placed<'_, 'file> {
    /// Returns the whole pages from its first segment to its last.
    pub fn span(&self) -> VirtRange {
        self.at_base(self.program.span())
    }

    /// Returns the segments at their addresses, which ascend.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = Segment<'file>> {
        self.program.segments.iter().map(|segment| Segment {
            addresses: self.at_base(segment.addresses),
            pages: self.at_base(segment.pages),
            ..*segment
        })
    }

    /// Returns the address of the first instruction.
    pub fn entry(&self) -> VirtAddr {
        // The entry lies in a segment, which does not wrap at this base.
        VirtAddr::new(self.program.entry.get().wrapping_add(self.base))
    }

    /// Returns the base.
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// Returns where the program headers lie in memory, if a segment has them: a program finds its own relocations there.
    pub fn headers(&self) -> Option<VirtRange> {
        self.program.headers.map(|headers| self.at_base(headers))
    }

    fn at_base(&self, range: VirtRange) -> VirtRange {
        // The range lies within the span, which `place` has moved by the same base.
        moved(range, self.base).unwrap_or_default()
    }
}

/// Returns a range behind a base; `None` where it ends beyond the last address.
fn moved(range: VirtRange, base: u64) -> Option<VirtRange> {
    let start = range.start().get().checked_add(base)?;
    VirtRange::of_length(VirtAddr::new(start), range.bytes())
}
