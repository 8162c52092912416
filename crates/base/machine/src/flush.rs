//! The scope of a TLB flush: runs of pages, or all.
//!
//! A CPU caches translations of pages, and entries of tables on the way to them (paging-structure caches). `invlpg`
//! drops the translations of one page, global ones included, and every table entry that is cached. A large page that
//! the CPU keeps in small pieces is dropped whole. No CPU tags translations with address spaces: CR4.PCIDE is clear.
//! Source: Intel SDM volume 3, 5.10.2.3 and 5.10.4.1.

use crate::addr::VirtAddr;
use crate::impossible;
use crate::page::PageSize;
use crate::range::VirtRange;

/// Pages of one size, side by side. Each takes one `invlpg`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageRun {
    first: VirtAddr,
    pages: u32,
    size: PageSize,
}

impl PageRun {
    /// No page.
    pub const EMPTY: Self = Self { first: VirtAddr::ZERO, pages: 0, size: PageSize::Size4K };

    /// Returns the pages of `size` that `range` touches, or `None` where they are 2^32 or reach to the end of all
    /// addresses.
    pub const fn covering(range: VirtRange, size: PageSize) -> Option<Self> {
        match range.align_outward(size) {
            Some(range) if range.bytes() >> size.shift() <= u32::MAX as u64 => {
                Some(Self { first: range.start(), pages: (range.bytes() >> size.shift()) as u32, size })
            }
            _ => None,
        }
    }

    /// Returns how many pages.
    pub const fn pages(self) -> u32 {
        self.pages
    }

    /// Returns how large each is.
    pub const fn size(self) -> PageSize {
        self.size
    }

    /// Returns the addresses from the first page to past the last.
    pub fn range(self) -> VirtRange {
        VirtRange::of_length(self.first, u64::from(self.pages) << self.size.shift())
            .unwrap_or_else(|| impossible!("a run that wraps is not made" => VirtRange::default()))
    }

    /// Returns where each page begins, in ascending order.
    pub fn addresses(self) -> impl ExactSizeIterator<Item = VirtAddr> {
        (0..self.pages).map(move |page| self.first.plus(u64::from(page) << self.size.shift()))
    }

    /// Joins both to one run; `None` where there is a page between them or their pages differ in size.
    pub fn join(self, other: Self) -> Option<Self> {
        let (mine, others) = (self.range(), other.range());
        if self.size != other.size || mine.end() < others.start() || others.end() < mine.start() {
            return None;
        }
        let start = mine.start().min(others.start());
        Self::covering(VirtRange::new(start, mine.end().max(others.end()))?, self.size)
    }
}

/// The translations that a TLB flush drops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlushScope<'runs> {
    /// Each translation of these pages, and the table entries that walks have cached.
    Pages {
        /// The pages. Their size is the smallest by which a CPU may have cached them.
        runs: &'runs [PageRun],
    },
    /// Every translation but the global ones.
    NonGlobal,
    /// Every translation.
    All,
}
