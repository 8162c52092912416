//! The depth of the tables, and the way of a virtual address through them.
//!
//! ```text
//!        level 5     level 4     level 3     level 2     level 1     offset
//!      56 ... 48   47 ... 39   38 ... 30   29 ... 21   20 ... 12   11 ... 0
//!        256 TiB     512 GiB       1 GiB       2 MiB       4 KiB             bytes that one entry spans
//! ```
//!
//! A *linear* position is a canonical address with its sign bits cut off: 0..2^48 or 0..2^57. It has no hole in the
//! middle, keeps the order of addresses, and an iteration over it cannot wrap.

use rhumb_machine::{Pfn, VirtAddr, VirtRange};

/// Entries in one table.
pub const ENTRIES: usize = 512;

/// Returns log2 of the bytes that one entry at `level` (1..=5) spans.
pub const fn span_shift(level: u8) -> u32 {
    12 + 9 * (level as u32 - 1)
}

/// Returns how many bytes one entry at `level` (1..=5) spans.
pub const fn span_bytes(level: u8) -> u64 {
    1 << span_shift(level)
}

/// Returns the entry of a table at `level` through which the linear position, or the address, goes.
pub const fn index_at(position: u64, level: u8) -> usize {
    (position >> span_shift(level)) as usize % ENTRIES
}

/// 4-level or 5-level paging (CR4.LA57).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Levels {
    /// 48-bit virtual addresses.
    Four,
    /// 57-bit virtual addresses.
    Five,
}

impl Levels {
    /// Returns the level of the root table: 4 or 5.
    pub const fn top(self) -> u8 {
        match self {
            Self::Four => 4,
            Self::Five => 5,
        }
    }

    /// Returns how many bits of a virtual address are translated: 48 or 57.
    pub const fn virt_bits(self) -> u32 {
        span_shift(self.top()) + 9
    }

    /// Returns where the kernel's half begins.
    pub const fn kernel_half(self) -> VirtAddr {
        self.virt_of(1 << (self.virt_bits() - 1))
    }

    /// Returns the entry of a table at `level` through which `virt` goes.
    pub const fn index(self, virt: VirtAddr, level: u8) -> usize {
        index_at(virt.get(), level)
    }

    /// Tells whether `virt` is canonical at this depth.
    pub const fn is_canonical(self, virt: VirtAddr) -> bool {
        virt.is_canonical(self.virt_bits())
    }

    /// Returns the linear position of an address, its upper bits ignored.
    pub const fn linear_of(self, virt: VirtAddr) -> u64 {
        virt.get() & ((1 << self.virt_bits()) - 1)
    }

    /// Returns the canonical address at a linear position.
    pub const fn virt_of(self, linear: u64) -> VirtAddr {
        let shift = 64 - self.virt_bits();
        VirtAddr::new((((linear << shift) as i64) >> shift) as u64)
    }

    /// Returns the first and the last linear position of `range`, or `None` where it is empty or not canonical
    /// throughout.
    pub const fn positions(self, range: VirtRange) -> Option<(u64, u64)> {
        if range.is_empty() {
            return None;
        }
        let last = VirtAddr::new(range.end().get() - 1);
        if !self.is_canonical(range.start()) || !self.is_canonical(last) {
            return None;
        }
        let positions = (self.linear_of(range.start()), self.linear_of(last));
        // Two canonical ends on either side of the hole: the distance shrinks with the hole cut out.
        if positions.1 - positions.0 == range.bytes() - 1 { Some(positions) } else { None }
    }

    /// Returns the first and the last linear position of the canonical part of `range`, or `None` where it has none.
    pub(crate) const fn clamped_positions(self, range: VirtRange) -> Option<(u64, u64)> {
        if range.is_empty() {
            return None;
        }
        let half = 1 << (self.virt_bits() - 1);
        let last = VirtAddr::new(range.end().get() - 1);
        let first = if self.is_canonical(range.start()) { self.linear_of(range.start()) } else { half };
        let last = if self.is_canonical(last) { self.linear_of(last) } else { half - 1 };
        if first <= last { Some((first, last)) } else { None }
    }
}

/// A tree of page tables as CR3, CR4.LA57 and CPUID together describe it to a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Root {
    /// The frame of the table at the top.
    pub table: Pfn,
    /// How deep the tree is.
    pub levels: Levels,
    phys_bits: u32,
}

impl Root {
    /// Returns a tree with the widest physical addresses that the architecture has: 52 bits.
    pub const fn new(table: Pfn, levels: Levels) -> Self {
        Self { table, levels, phys_bits: 52 }
    }

    /// Returns how many bits a physical address has (CPUID 8000_0008h), at most 52. The entry bits from there up to 51
    /// are reserved.
    pub const fn phys_bits(&self) -> u32 {
        self.phys_bits
    }

    /// Returns the same tree on a CPU with `phys_bits` bits of physical address.
    #[must_use]
    pub const fn with_phys_bits(mut self, phys_bits: u32) -> Self {
        self.phys_bits = if phys_bits < 52 { phys_bits } else { 52 };
        self
    }
}
