//! RAM divided into pieces of one permission each.
//!
//! ```text
//!   RAM         [=================]      [==========|=====================]   adjoining ranges are one
//!   read-only           [####]                         [###|####]             so are these
//!   pieces      [--rw---][-ro-][rw]      [-----rw------][--ro---][---rw---]
//! ```

use rhumb_machine::{PhysAddr, PhysRange};
use rhumb_pagetable::Access;

/// A stretch of RAM to be mapped alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// The RAM.
    pub phys: PhysRange,
    /// Read-only or read-write; never executable.
    pub access: Access,
}

/// The pieces of RAM below a limit, in ascending order.
#[derive(Clone, Debug)]
pub struct Pieces<'request, R: Iterator<Item = PhysRange>> {
    ram: Merged<R>,
    read_only: Merged<core::iter::Copied<core::slice::Iter<'request, PhysRange>>>,
    /// The rest of the current stretch of RAM, and the read-only range at or above it.
    current: PhysRange,
    guarded: Option<PhysRange>,
    limit: PhysAddr,
}

impl<'request, R: Iterator<Item = PhysRange>> Pieces<'request, R> {
    /// Makes the pieces of two lists that ascend.
    pub(crate) fn new(ram: R, read_only: &'request [PhysRange], limit: PhysAddr) -> Self {
        let mut read_only = Merged::new(read_only.iter().copied());
        let guarded = read_only.next();
        Self { ram: Merged::new(ram), read_only, current: PhysRange::default(), guarded, limit }
    }
}

impl<R: Iterator<Item = PhysRange>> Iterator for Pieces<'_, R> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if self.current.is_empty() {
            self.current = clip_below(self.ram.next()?, self.limit);
            if self.current.is_empty() {
                return None;
            }
        }
        let start = self.current.start();
        while let Some(guarded) = self.guarded
            && guarded.end() <= start
        {
            self.guarded = self.read_only.next();
        }
        let (border, access) = match self.guarded {
            Some(guarded) if guarded.start() <= start => (guarded.end(), Access::ReadOnly),
            Some(guarded) => (guarded.start(), Access::ReadWrite),
            None => (self.current.end(), Access::ReadWrite),
        };
        let end = border.min(self.current.end());
        // Neither can fail: start < end <= current.end().
        let phys = PhysRange::new(start, end)?;
        self.current = PhysRange::new(end, self.current.end())?;
        Some(Piece { phys, access })
    }
}

/// Returns the part of `range` below `limit`.
fn clip_below(range: PhysRange, limit: PhysAddr) -> PhysRange {
    let below = PhysRange::new(PhysAddr::ZERO, limit).unwrap_or_default();
    range.intersection(below)
}

/// Ascending ranges with empty ones left out and adjoining ones made one.
#[derive(Clone, Debug)]
struct Merged<I> {
    ranges: I,
    next: Option<PhysRange>,
}

impl<I: Iterator<Item = PhysRange>> Merged<I> {
    const fn new(ranges: I) -> Self {
        Self { ranges, next: None }
    }
}

impl<I: Iterator<Item = PhysRange>> Iterator for Merged<I> {
    type Item = PhysRange;

    fn next(&mut self) -> Option<PhysRange> {
        let mut whole = self.next.take().or_else(|| self.ranges.find(|range| !range.is_empty()))?;
        while let Some(range) = self.ranges.find(|range| !range.is_empty()) {
            if range.start() != whole.end() {
                self.next = Some(range);
                break;
            }
            whole = PhysRange::new(whole.start(), range.end())?;
        }
        Some(whole)
    }
}
