//! [`Raw`]: the number that a handle is, and that magazines keep.
//!
//! ```text
//!  63  62      61     60..55  54..50  49..48  47    46..40  39..0
//!   1  bypass  owned  node    order   kind    high  pool    pfn
//! ```
//! *bypass*: of a zone that per-CPU caches leave alone; *owned*: the descriptor names an owner; *high*: past the direct
//! map; bit 63 makes the number non-zero. The upper 16 bits say whether, and into which magazine of a CPU, the block
//! goes.

use rhumb_machine::{NodeId, Order, Pfn};

use crate::request::Mobility;

/// Which handles an allocation may return, and so which of a CPU's caches it uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    Mapped,
    Anywhere,
}

/// The number in a handle: see the module's picture.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Raw(pub(crate) u64);

impl Raw {
    pub(crate) const PFN: u64 = (1 << Self::POOL_SHIFT) - 1;
    const POOL_SHIFT: u32 = 40;
    pub(crate) const HIGH: u64 = 1 << 47;
    pub(crate) const KIND_SHIFT: u32 = 48;
    pub(crate) const KIND: u64 = 0b11 << Self::KIND_SHIFT;
    const ORDER_SHIFT: u32 = 50;
    pub(crate) const ORDER: u64 = 0x1f << Self::ORDER_SHIFT;
    const NODE_SHIFT: u32 = 55;
    pub(crate) const NODE: u64 = 0x3f << Self::NODE_SHIFT;
    pub(crate) const OWNED: u64 = 1 << 61;
    pub(crate) const BYPASS: u64 = 1 << 62;
    pub(crate) const SET: u64 = 1 << 63;

    /// The number of frame 0 in a pool: its frames' numbers are this plus their pfn.
    pub(crate) const fn pool_tag(pool: usize, node: NodeId, flags: u64) -> Self {
        Self(
            Self::SET | (pool as u64) << Self::POOL_SHIFT | (node.index() as u64) << Self::NODE_SHIFT | flags,
        )
    }

    /// The number of `pfn` in the pool whose tag this is.
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

    #[inline(always)]
    pub(crate) const fn pool(self) -> usize {
        ((self.0 >> Self::POOL_SHIFT) & 0x7f) as usize
    }

    pub(crate) const fn node_index(self) -> usize {
        ((self.0 >> Self::NODE_SHIFT) & 0x3f) as usize
    }
}
