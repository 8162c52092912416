//! Cutting a mapping into runs of equal pages, and counting tables, by arithmetic alone.
//!
//! A contiguous mapping falls into at most five runs: small pages up to the first large boundary, large ones up to the
//! first huge boundary, huge ones, and the same downwards. No loop here is per page.
//!
//! ```text
//!   4K 4K 4K | 2M 2M | 1G  1G  1G | 2M 2M 2M | 4K 4K
//! ```

use core::fmt;

use rhumb_machine::{PageSize, PhysAddr, PhysRange, VirtAddr, VirtRange};

use crate::attributes::{Attributes, Privilege};
use crate::error::MapError;
use crate::levels::{Levels, Root, span_bytes, span_shift};

/// How many pages of each size.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PageCounts {
    /// Pages of 4 KiB.
    pub size_4k: u64,
    /// Pages of 2 MiB.
    pub size_2m: u64,
    /// Pages of 1 GiB.
    pub size_1g: u64,
}

impl PageCounts {
    /// None.
    pub const NONE: Self = Self { size_4k: 0, size_2m: 0, size_1g: 0 };

    /// Counts `pages` more of `size`.
    pub const fn add(&mut self, size: PageSize, pages: u64) {
        match size {
            PageSize::Size4K => self.size_4k += pages,
            PageSize::Size2M => self.size_2m += pages,
            PageSize::Size1G => self.size_1g += pages,
        }
    }

    /// Counts `pages` fewer of `size`; there are as many.
    pub const fn remove(&mut self, size: PageSize, pages: u64) {
        match size {
            PageSize::Size4K => self.size_4k -= pages,
            PageSize::Size2M => self.size_2m -= pages,
            PageSize::Size1G => self.size_1g -= pages,
        }
    }

    /// Counts all of `other`, too.
    pub const fn add_all(&mut self, other: Self) {
        self.size_4k += other.size_4k;
        self.size_2m += other.size_2m;
        self.size_1g += other.size_1g;
    }

    /// Returns how many of `size`.
    pub const fn of(&self, size: PageSize) -> u64 {
        match size {
            PageSize::Size4K => self.size_4k,
            PageSize::Size2M => self.size_2m,
            PageSize::Size1G => self.size_1g,
        }
    }

    /// Returns how many pages, of whatever size: entries that map.
    pub const fn pages(&self) -> u64 {
        self.size_4k + self.size_2m + self.size_1g
    }

    /// Returns how many bytes they cover.
    pub const fn bytes(&self) -> u64 {
        (self.size_4k << PageSize::Size4K.shift())
            + (self.size_2m << PageSize::Size2M.shift())
            + (self.size_1g << PageSize::Size1G.shift())
    }
}

impl fmt::Display for PageCounts {
    /// Returns the sizes that occur, largest first: `3x1G 2x2M 511x4K`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for size in PageSize::DESCENDING {
            if self.of(size) != 0 {
                write!(f, "{separator}{}x{size}", self.of(size))?;
                separator = " ";
            }
        }
        if separator.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

/// A contiguous mapping to be made: `phys` is to be at `virt`, with pages of `largest` at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// Where it begins.
    pub virt: VirtAddr,
    /// The frames that are mapped there.
    pub phys: PhysRange,
    /// Its attributes.
    pub attributes: Attributes,
    /// The largest page to use; alignment decides whether it is reached.
    pub largest: PageSize,
}

/// Consecutive pages of one size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// Where the first page begins.
    pub virt: VirtAddr,
    /// The frames that are mapped there.
    pub phys: PhysAddr,
    /// The size of each page.
    pub size: PageSize,
    /// How many pages.
    pub pages: u64,
}

impl Mapping {
    /// Returns the virtual range that it covers.
    ///
    /// # Errors
    /// Returns the refusal of [`crate::Mapper::map`] without a look at the tables: a mapping that is empty, not of
    /// whole pages, past the end of virtual or of physical addresses, not canonical, or for user access in the kernel's
    /// half.
    pub fn check(&self, root: &Root) -> Result<VirtRange, MapError> {
        if self.phys.is_empty() {
            return Err(MapError::Empty { virt: self.virt });
        }
        if !self.virt.is_aligned(PageSize::Size4K) || !self.phys.is_aligned(PageSize::Size4K) {
            return Err(MapError::Unaligned { virt: self.virt, phys: self.phys });
        }
        let Some(range) = VirtRange::of_length(self.virt, self.phys.bytes()) else {
            return Err(MapError::Wraps { virt: self.virt, bytes: self.phys.bytes() });
        };
        let Some((first, _)) = root.levels.positions(range) else {
            return Err(MapError::NotCanonical { range });
        };
        if self.phys.end().get() > 1 << root.phys_bits() {
            return Err(MapError::PhysTooWide { phys: self.phys, phys_bits: root.phys_bits() });
        }
        let in_kernel_half = first >> (root.levels.virt_bits() - 1) != 0;
        if in_kernel_half && self.attributes.privilege == Privilege::User {
            return Err(MapError::UserInKernelHalf { range });
        }
        Ok(range)
    }

    /// Returns its pages, each the largest that `largest` and the alignment of both addresses allow, as runs in
    /// ascending order. At most five. The mapping is one that [`Mapping::check`] accepts.
    pub fn runs(&self) -> Runs {
        let mut cap = self.largest;
        // Both addresses reach a boundary together only if their distance is a multiple of the size.
        let distance = VirtAddr::new(self.virt.get().wrapping_sub(self.phys.start().get()));
        while !distance.is_aligned(cap)
            && let Some(smaller) = cap.smaller()
        {
            cap = smaller;
        }
        Runs { virt: self.virt, phys: self.phys.start(), end: self.phys.end(), cap }
    }

    /// Returns how many pages of each size it takes.
    pub fn pages(&self) -> PageCounts {
        let mut pages = PageCounts::NONE;
        self.runs().for_each(|run| pages.add(run.size, run.pages));
        pages
    }
}

/// The runs of a [`Mapping`].
#[derive(Clone, Debug)]
pub struct Runs {
    virt: VirtAddr,
    phys: PhysAddr,
    end: PhysAddr,
    cap: PageSize,
}

impl Iterator for Runs {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let left = self.end.since(self.phys);
        let fits = |size: PageSize| self.phys.is_aligned(size) && size.bytes() <= left;
        let mut size = self.cap;
        let mut above = None;
        while !fits(size) {
            above = Some(size);
            size = size.smaller()?;
        }
        // Up to the boundary at which the next larger size fits, if that lies ahead and the larger page fits there.
        let boundary = above.and_then(|above| self.phys.checked_align_up(above));
        let bytes = match boundary {
            Some(boundary) if boundary > self.phys && boundary <= self.end => boundary.since(self.phys),
            _ => left,
        };
        let run = Run { virt: self.virt, phys: self.phys, size, pages: bytes >> size.shift() };
        let done = run.pages << size.shift();
        self.virt = VirtAddr::new(self.virt.get().wrapping_add(done));
        self.phys = self.phys.plus(done);
        Some(run)
    }
}

/// Returns how many tables, the root not counted, hold these mappings in a tree that is empty where they go. Exact;
/// touches no memory; a few steps for each mapping, whatever its length.
///
/// # Errors
/// The first that [`Mapping::check`] finds, or [`MapError::Unsorted`] where a mapping does not lie above the one
/// before.
pub fn tables_needed<I>(root: &Root, mappings: I) -> Result<u64, MapError>
where
    I: IntoIterator<Item = Mapping>,
{
    let mut counter = TableCounter::new(root.levels);
    let mut end: Option<VirtAddr> = None;
    for mapping in mappings {
        let range = mapping.check(root)?;
        if end.is_some_and(|end| range.start() < end) {
            return Err(MapError::Unsorted { range });
        }
        end = Some(range.end());
        counter.add_mapping(&mapping);
    }
    Ok(counter.tables())
}

/// Counts each table once while runs come in ascending order.
pub(crate) struct TableCounter {
    levels: Levels,
    /// By level: the number of the last table counted there.
    counted: [Option<u64>; 5],
    tables: u64,
}

impl TableCounter {
    pub(crate) const fn new(levels: Levels) -> Self {
        Self { levels, counted: [None; 5], tables: 0 }
    }

    pub(crate) const fn tables(&self) -> u64 {
        self.tables
    }

    /// Counts the tables below the root that hold `mapping`.
    pub(crate) fn add_mapping(&mut self, mapping: &Mapping) {
        for run in mapping.runs() {
            let first = self.levels.linear_of(run.virt);
            let last = first + (run.pages << run.size.shift()) - 1;
            self.add(first, last, run.size.level(), self.levels.top() - 1);
        }
    }

    /// Counts the tables at levels `lowest..=highest` that cover the linear positions `first..=last`.
    pub(crate) fn add(&mut self, first: u64, last: u64, lowest: u8, highest: u8) {
        for level in lowest..=highest {
            // A table at this level spans what one entry of the level above spans.
            let (first, last) = (first >> span_shift(level + 1), last >> span_shift(level + 1));
            if let Some(counted) = self.counted.get_mut(usize::from(level)) {
                let shared = u64::from(*counted == Some(first));
                self.tables += last - first + 1 - shared;
                *counted = Some(last);
            }
        }
    }
}

/// Returns the part of the linear positions `first..=last` that the entry at `level` around `position` spans.
pub(crate) const fn clip(first: u64, last: u64, position: u64, level: u8) -> (u64, u64) {
    let start = position & !(span_bytes(level) - 1);
    let end = start + (span_bytes(level) - 1);
    (if first > start { first } else { start }, if last < end { last } else { end })
}
