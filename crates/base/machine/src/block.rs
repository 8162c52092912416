//! [`Block`]: a piece of physical memory that one page of the map can show.

use core::fmt;

use crate::addr::Pfn;
use crate::impossible;
use crate::page::PageSize;
use crate::range::PfnRange;

/// An aligned stretch of RAM that one page of `size` can map.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Block {
    start: Pfn,
    size: PageSize,
}

impl Block {
    /// Returns the block of `size` around `pfn`.
    pub const fn around(pfn: Pfn, size: PageSize) -> Self {
        Self { start: Pfn::new(pfn.get() & !(size.frames() - 1)), size }
    }

    /// Returns its first frame.
    pub const fn start(self) -> Pfn {
        self.start
    }

    /// Returns its size.
    pub const fn size(self) -> PageSize {
        self.size
    }

    /// Returns one past its last frame.
    pub const fn end(self) -> Pfn {
        self.start.plus(self.size.frames())
    }

    /// Returns its frames.
    pub fn frames(self) -> PfnRange {
        PfnRange::new(self.start, self.end())
            .unwrap_or_else(|| impossible!("a block ends before it starts" => PfnRange::default()))
    }

    /// Returns whether a border at `pfn` lies inside it.
    pub const fn is_split_at(self, pfn: Pfn) -> bool {
        self.start.get() < pfn.get() && pfn.get() < self.end().get()
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:#x}", self.size, self.start.addr().get())
    }
}
