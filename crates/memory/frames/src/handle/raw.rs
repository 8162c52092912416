//! [`Raw`]: the number that a handle is, and that magazines keep.
//!
//! ```text
//!  63  62..56  55     54      53    52..47  46..42  41..40  39..0
//!   1  brand   owned  bypass  high  node    order   kind    pfn
//! ```
//! *brand*: which allocator gave it out; *owned*: the descriptor names an owner; *bypass*: of a zone that per-CPU
//! caches leave alone; *high*: past the direct map; bit 63 makes the number non-zero. The upper 24 bits say whether,
//! and into which magazine of a CPU, the block goes, so that a foreign block is found out without a further comparison.

// Not one of the model checkers' atomics: a static is built at compile time, and no order matters for the count.
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

use rhumb_machine::{NodeId, Order, Pfn};

use crate::request::Mobility;

/// The number in a handle: see the module's picture.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Raw(pub(crate) u64);

impl Raw {
    pub(crate) const PFN: u64 = (1 << Self::KIND_SHIFT) - 1;
    pub(crate) const KIND_SHIFT: u32 = 40;
    pub(crate) const KIND: u64 = 0b11 << Self::KIND_SHIFT;
    const ORDER_SHIFT: u32 = 42;
    pub(crate) const ORDER: u64 = 0x1f << Self::ORDER_SHIFT;
    const NODE_SHIFT: u32 = 47;
    pub(crate) const NODE: u64 = 0x3f << Self::NODE_SHIFT;
    pub(crate) const HIGH: u64 = 1 << 53;
    pub(crate) const BYPASS: u64 = 1 << 54;
    pub(crate) const OWNED: u64 = 1 << 55;
    const BRAND_SHIFT: u32 = 56;
    pub(crate) const SET: u64 = 1 << 63;

    /// Returns the number of frame 0 in a pool: its frames' numbers are this plus their pfn.
    pub(crate) const fn pool_tag(brand: Brand, node: NodeId, flags: u64) -> Self {
        let Brand(brand) = brand;
        Self(
            Self::SET
                | (brand as u64) << Self::BRAND_SHIFT
                | (node.index() as u64) << Self::NODE_SHIFT
                | flags,
        )
    }

    /// Returns the number of `pfn` in the pool whose tag this is.
    #[inline(always)]
    pub(crate) const fn at(self, pfn: Pfn, order: Order, kind: Mobility) -> Self {
        Self(
            self.0
                | pfn.get()
                | (order.get() as u64) << Self::ORDER_SHIFT
                | (kind as u64) << Self::KIND_SHIFT,
        )
    }

    #[inline(always)]
    pub(crate) const fn pfn(self) -> Pfn {
        Pfn::new(self.0 & Self::PFN)
    }

    #[inline(always)]
    pub(crate) const fn order(self) -> Order {
        match Order::new(((self.0 >> Self::ORDER_SHIFT) & 0x1f) as u8) {
            Some(order) => order,
            None => Order::BASE,
        }
    }

    #[inline(always)]
    pub(crate) const fn kind_index(self) -> usize {
        ((self.0 >> Self::KIND_SHIFT) & 3) as usize
    }

    pub(crate) const fn node_index(self) -> usize {
        ((self.0 >> Self::NODE_SHIFT) & 0x3f) as usize
    }

    pub(crate) const fn brand(self) -> Brand {
        Brand(((self.0 >> Self::BRAND_SHIFT) & 0x7f) as u8)
    }
}

/// The number of an allocator among those of a program, which each of its handles carries. All allocators past the
/// first 127 share one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Brand(u8);

/// How many brands are in use, all but those of allocators that were refused.
static BRANDS: AtomicU8 = AtomicU8::new(0);

impl Brand {
    /// The brand of all allocators past the first 127 of a program.
    const SHARED: u8 = 127;

    /// Returns the brand of a new allocator.
    pub(crate) fn next() -> Self {
        let more = |brand: u8| (brand < Self::SHARED).then_some(brand + 1);
        Self(BRANDS.fetch_update(Relaxed, Relaxed, more).unwrap_or(Self::SHARED))
    }

    /// Gives the number of an allocator back that was not built after all: no handle has it.
    pub(crate) fn give_back(self) {
        if self.0 < Self::SHARED {
            // Lost where another allocator has got the next number meanwhile.
            let _ = BRANDS.compare_exchange(self.0 + 1, self.0, Relaxed, Relaxed);
        }
    }
}
