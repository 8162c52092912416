//! The allocator's record of a 2-MiB block beside its 512 bits: sixteen bytes, four blocks a cache line.
//!
//! ```text
//! info:       29 isolated  28..24 order  21..20 grain  19..18 state  17..16 kind  15..12 rank  9..0 used
//! described:  whether its descriptors are filled in: see `described.rs`
//! next, prev: block + 1, or 0
//! ```
//! All zeroes is a block that is wholly free, so that zeroed storage describes free memory and building the allocator
//! writes nothing per block. The bits of a block count only while it is [`State::Partial`].

use crate::known::described::Described;
use crate::pool::words::FRAMES;
use crate::request::Mobility;
use rhumb_sync::atomic::{AtomicU32, IS_MODELLED, Relaxed};

/// The state of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// All of it is free; it is in the pool's tree.
    Whole,
    /// Its bits say which frames are free; it is in a bin unless none is.
    Partial,
    /// It belongs to an allocated block of order 9 or more; the first one's `order` says which.
    Large,
    /// There is no memory here.
    Absent,
}

/// Whether a block is being emptied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Isolated {
    Yes,
    No,
}

/// The packed description.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Info(pub(crate) u64);

impl Info {
    pub(crate) const WHOLE: Self = Self(0);
    const ISOLATED: u64 = 1 << 29;
    pub(crate) const ABSENT: Self = Self(3 << 18);

    /// Returns a split block without a free frame.
    pub(crate) const fn full(kind: Mobility) -> Self {
        Self(1 << 18 | (kind as u64) << 16 | FRAMES as u64)
    }

    /// Returns the same block, split and without a free frame.
    pub(crate) const fn partial(self) -> Self {
        Self::full(self.kind()).with_grain(self.grain())
    }

    /// Returns the first block of an allocated block of `order`, or with 0 a later one.
    pub(crate) const fn large(order: u8, kind: Mobility) -> Self {
        Self((order as u64) << 24 | 2 << 18 | (kind as u64) << 16 | FRAMES as u64)
    }

    pub(crate) const fn state(self) -> State {
        match self.0 >> 18 & 3 {
            0 => State::Whole,
            1 => State::Partial,
            2 => State::Large,
            _ => State::Absent,
        }
    }

    pub(crate) const fn order(self) -> u8 {
        (self.0 >> 24 & 0x1f) as u8
    }

    pub(crate) const fn kind(self) -> Mobility {
        Mobility::from_index((self.0 >> 16 & 3) as usize)
    }

    pub(crate) const fn free(self) -> u32 {
        FRAMES - (self.0 & 0x3ff) as u32
    }

    /// Returns the orders for which a partial block was opened: see [`bin`].
    pub(crate) const fn grain(self) -> usize {
        (self.0 >> 20 & 3) as usize
    }

    pub(crate) const fn with_grain(self, grain: usize) -> Self {
        Self(self.0 & !(3 << 20) | (grain as u64 & 3) << 20)
    }

    /// Returns the largest order of a free run in a split block, plus one; 0 where nothing is free.
    pub(crate) const fn rank(self) -> u32 {
        (self.0 >> 12 & 0xf) as u32
    }

    /// Tells whether no caller is given a frame of it: see `compact.rs`. It is in no bin then, and not in the tree.
    pub(crate) const fn is_isolated(self) -> bool {
        self.0 & Self::ISOLATED != 0
    }

    pub(crate) const fn with_isolated(self, isolated: Isolated) -> Self {
        match isolated {
            Isolated::Yes => Self(self.0 | Self::ISOLATED),
            Isolated::No => Self(self.0 & !Self::ISOLATED),
        }
    }

    pub(crate) const fn with_kind(self, kind: Mobility) -> Self {
        Self(self.0 & !(3 << 16) | (kind as u64) << 16)
    }

    pub(crate) const fn with_free(self, free: u32, rank: u32) -> Self {
        Self(self.0 & !0xf3ff | (rank as u64) << 12 | (FRAMES - free) as u64)
    }
}

/// One block's record. Its pool's lock protects all of it but `described`, which is on its own.
#[derive(Default)]
pub(crate) struct Block {
    info: AtomicU32,
    pub(crate) described: Described,
    pub(crate) next: AtomicU32,
    pub(crate) prev: AtomicU32,
}

const _: () = assert!(IS_MODELLED || size_of::<Block>() == 16);

impl Block {
    #[inline]
    pub(crate) fn info(&self) -> Info {
        Info(self.info.load(Relaxed).into())
    }

    #[inline]
    pub(crate) fn set(&self, info: Info) {
        self.info.store(info.0 as u32, Relaxed);
    }
}

/// The bins of one kind of blocks: by its grain, its largest free run, and how full it is.
///
/// The grain is what the block was opened for: orders 0 to 2, 3 to 5, or 6 to 8. Blocks of one grain are shared by
/// requests of these orders, and by others only when no block is whole. Blocks that hold a few long runs then become
/// whole again soon, which they would not with a single frame among them, and what lives long in small pieces lies
/// together.
pub(crate) mod bin {
    use super::{FRAMES, Info};

    /// Classes of fullness, each 16 frames wide: class c has 16 c to 16 c + 15 free frames.
    pub(crate) const CLASSES: usize = 32;
    /// Grains, of three orders each.
    pub(crate) const GRAINS: usize = 3;
    /// Orders 0 to 8 that the largest run of a split block can have.
    pub(crate) const ORDERS: usize = 9;

    /// Returns the grain of blocks for an order of at most 8.
    #[inline]
    pub(crate) const fn grain_of(order: usize) -> usize {
        order / GRAINS % GRAINS
    }

    /// A bin: blocks of one grain and one class whose largest run has one order.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) struct Bin {
        pub(crate) grain: usize,
        pub(crate) class: usize,
        pub(crate) order: usize,
    }

    /// Returns the bin of a split block, or `None` where nothing in it is free.
    #[inline]
    pub(crate) fn of(info: Info) -> Option<Bin> {
        let order = (info.rank() as usize).checked_sub(1)?;
        let class = info.free() as usize / (FRAMES as usize / CLASSES) % CLASSES;
        Some(Bin { grain: info.grain() % GRAINS, class, order: order.min(ORDERS - 1) })
    }
}
