//! Half-open ranges `[start, end)` of physical addresses, virtual addresses and frames.
//!
//! A range never has `end < start`; an empty range has `end == start`. Making one from a start and a length
//! that wraps is refused, so that no later arithmetic on it can.

use core::fmt;

use crate::addr::{Pfn, PhysAddr, VirtAddr};
use crate::page::BASE_PAGE_SHIFT;
use crate::page::PageSize;

macro_rules! range {
    ($(#[$doc:meta])* $name:ident of $point:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $name {
            start: $point,
            end: $point,
        }

        impl $name {
            /// Returns `[start, end)`, or `None` where `end < start`.
            pub const fn new(start: $point, end: $point) -> Option<Self> {
                if end.get() < start.get() { None } else { Some(Self { start, end }) }
            }

            /// Returns `[0, end)`: everything below `end`.
            pub const fn below(end: $point) -> Self {
                Self { start: <$point>::new(0), end }
            }

            /// Returns `[start, start + length)`, or `None` where that wraps.
            pub const fn of_length(start: $point, length: u64) -> Option<Self> {
                match start.get().checked_add(length) {
                    Some(end) => Some(Self { start, end: <$point>::new(end) }),
                    None => None,
                }
            }

            /// Returns its first element.
            pub const fn start(self) -> $point {
                self.start
            }

            /// Returns one past its last element.
            pub const fn end(self) -> $point {
                self.end
            }

            /// Tells whether it holds nothing.
            pub const fn is_empty(self) -> bool {
                self.start.get() == self.end.get()
            }

            /// Tells whether `point` lies in it.
            pub const fn contains(self, point: $point) -> bool {
                self.start.get() <= point.get() && point.get() < self.end.get()
            }

            /// Tells whether all of `other` lies in it. An empty `other` lies in every range.
            pub const fn covers(self, other: Self) -> bool {
                other.is_empty()
                    || (self.start.get() <= other.start.get() && other.end.get() <= self.end.get())
            }

            /// Tells whether they share an element.
            pub const fn overlaps(self, other: Self) -> bool {
                !self.intersection(other).is_empty()
            }

            /// Returns their common part; empty where they share nothing.
            pub const fn intersection(self, other: Self) -> Self {
                let start = if self.start.get() > other.start.get() { self.start } else { other.start };
                let end = if self.end.get() < other.end.get() { self.end } else { other.end };
                if end.get() <= start.get() { Self { start, end: start } } else { Self { start, end } }
            }

            const fn length(self) -> u64 {
                self.end.get() - self.start.get()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}..{:#x}", self.start, self.end.get())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "[{:#x}, {:#x})", self.start.get(), self.end.get())
            }
        }
    };
}

range! {
    /// A range of physical addresses.
    PhysRange of PhysAddr
}

range! {
    /// A range of virtual addresses.
    VirtRange of VirtAddr
}

range! {
    /// A range of frames.
    PfnRange of Pfn
}

macro_rules! byte_range {
    ($name:ident) => {
        impl $name {
            /// Returns its length in bytes.
            pub const fn bytes(self) -> u64 {
                self.length()
            }

            /// Tells whether both its ends are multiples of `size`.
            pub const fn is_aligned(self, size: PageSize) -> bool {
                self.start.is_aligned(size) && self.end.is_aligned(size)
            }

            /// Returns the whole pages of `size` inside it: start rounded up, end rounded down; empty where there are
            /// none.
            pub const fn align_inward(self, size: PageSize) -> Self {
                let end = self.end.align_down(size);
                match self.start.checked_align_up(size) {
                    Some(start) if start.get() <= end.get() => Self { start, end },
                    _ => Self { start: end, end },
                }
            }

            /// Returns the pages of `size` that it touches: start rounded down, end rounded up, or `None` past 2^64.
            pub const fn align_outward(self, size: PageSize) -> Option<Self> {
                match self.end.checked_align_up(size) {
                    Some(end) => Some(Self { start: self.start.align_down(size), end }),
                    None => None,
                }
            }
        }
    };
}

byte_range!(PhysRange);
byte_range!(VirtRange);

impl PhysRange {
    /// Returns the frames that lie whole inside it.
    pub const fn whole_frames(self) -> PfnRange {
        let inner = self.align_inward(PageSize::Size4K);
        PfnRange { start: inner.start.pfn(), end: inner.end.pfn() }
    }
}

/// Returns the frame, or the last of all: so that a number that is no frame cannot wrap into a small address.
const fn below_the_end(pfn: Pfn) -> Pfn {
    let last = u64::MAX >> BASE_PAGE_SHIFT;
    if pfn.get() > last { Pfn::new(last) } else { pfn }
}

impl PfnRange {
    /// Returns how many frames it holds.
    pub const fn frames(self) -> u64 {
        self.length()
    }

    /// Returns the physical addresses of its frames. Numbers past the last frame of 2^64 bytes have none, and are left
    /// out.
    pub const fn addrs(self) -> PhysRange {
        PhysRange { start: below_the_end(self.start).addr(), end: below_the_end(self.end).addr() }
    }

    /// Returns its frames, in order.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = Pfn> {
        (self.start.get()..self.end.get()).map(Pfn::new)
    }
}
