//! Page sizes of the hardware and orders of the allocator.

use core::fmt;

/// log2 of the base page, in bytes.
pub const BASE_PAGE_SHIFT: u32 = 12;

/// A page size that x86-64 can map with one entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PageSize {
    /// 4 KiB: an entry of a page table (level 1).
    Size4K,
    /// 2 MiB: an entry of a page directory (level 2).
    Size2M,
    /// 1 GiB: an entry of a page-directory-pointer table (level 3).
    Size1G,
}

impl PageSize {
    /// All sizes, largest first: the order in which a mapper tries them.
    pub const DESCENDING: [Self; 3] = [Self::Size1G, Self::Size2M, Self::Size4K];

    /// Returns log2 of its bytes: 12, 21 or 30.
    pub const fn shift(self) -> u32 {
        match self {
            Self::Size4K => 12,
            Self::Size2M => 21,
            Self::Size1G => 30,
        }
    }

    /// Returns its bytes.
    pub const fn bytes(self) -> u64 {
        1 << self.shift()
    }

    /// Returns how many 4-KiB frames it covers: 1, 512 or 262,144.
    pub const fn frames(self) -> u64 {
        1 << (self.shift() - BASE_PAGE_SHIFT)
    }

    /// Returns the level of the page table whose entries map this size: 1, 2 or 3.
    pub const fn level(self) -> u8 {
        match self {
            Self::Size4K => 1,
            Self::Size2M => 2,
            Self::Size1G => 3,
        }
    }

    /// Returns the size mapped by an entry at `level`, or `None` where no entry of that level can map a page.
    pub const fn from_level(level: u8) -> Option<Self> {
        match level {
            1 => Some(Self::Size4K),
            2 => Some(Self::Size2M),
            3 => Some(Self::Size1G),
            _ => None,
        }
    }

    /// Returns the next smaller size.
    pub const fn smaller(self) -> Option<Self> {
        match self {
            Self::Size4K => None,
            Self::Size2M => Some(Self::Size4K),
            Self::Size1G => Some(Self::Size2M),
        }
    }

    /// Returns the allocator's order of a block of this size: 0, 9 or 18.
    pub const fn order(self) -> Order {
        Order((self.shift() - BASE_PAGE_SHIFT) as u8)
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Size4K => "4K",
            Self::Size2M => "2M",
            Self::Size1G => "1G",
        })
    }
}

/// The size of a block of frames, as a power of two: 4 KiB << order, 0..=18.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Order(u8);

impl Order {
    /// One frame, 4 KiB.
    pub const BASE: Self = Self(0);
    /// A large page, 2 MiB.
    pub const LARGE: Self = Self(9);
    /// A huge page, 1 GiB: the largest order.
    pub const HUGE: Self = Self(18);
    /// How many orders there are: 0..=18.
    pub const COUNT: usize = 19;

    /// Returns the order with this exponent, or `None` above 18.
    pub const fn new(exponent: u8) -> Option<Self> {
        if exponent as usize >= Self::COUNT { None } else { Some(Self(exponent)) }
    }

    /// Returns its exponent.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Returns the frames in a block of this order.
    pub const fn frames(self) -> u64 {
        1 << self.0
    }

    /// Returns the bytes in a block of this order.
    pub const fn bytes(self) -> u64 {
        self.frames() << BASE_PAGE_SHIFT
    }

    /// Returns the least order whose block holds `frames` frames, or `None` where that is above 1 GiB or `frames` is 0.
    pub const fn holding(frames: u64) -> Option<Self> {
        if frames == 0 || frames > Self::HUGE.frames() {
            return None;
        }
        Some(Self(frames.next_power_of_two().trailing_zeros() as u8))
    }

    /// Returns all orders, smallest first.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator {
        (0..Self::COUNT as u8).map(Self)
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
