//! The allocator's record of a 2-MiB block beside its 512 bits: sixteen bytes, four blocks a cache line.
//!
//! ```text
//! info:       29 isolated  28..24 order  21..20 grain  19..18 state  17..16 kind  15..12 rank  9..0 used
//! described:  whether its descriptors are filled in: see `described.rs`
//! next, prev: block + 1, or 0: neighbours in the bin; the first block's `prev` is the last block
//! ```
//! All zeroes is a block that is wholly free. The records of 64 blocks are cleared together when one of them is first
//! taken, so that building the allocator writes no record of a free block. The bits of a block count only while it is [`State::Partial`].

use rhumb_machine::{Order, impossible};

use crate::pool::described::Described;
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
    No,
    Yes,
}

/// A field of the packed description, from its lowest bit to its highest.
#[derive(Clone, Copy)]
struct Field(u32, u32);

impl Field {
    const USED: Self = Self(0, 9);
    const RANK: Self = Self(12, 15);
    const KIND: Self = Self(16, 17);
    const STATE: Self = Self(18, 19);
    const GRAIN: Self = Self(20, 21);
    const ORDER: Self = Self(24, 28);
    const ISOLATED: Self = Self(29, 29);

    const fn mask(self) -> u64 {
        (2 << self.1) - (1 << self.0)
    }

    const fn of(self, word: u64) -> u64 {
        (word & self.mask()) >> self.0
    }
}

/// The packed description.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Info(u64);

impl Info {
    pub(crate) const WHOLE: Self = Self(0);
    pub(crate) const ABSENT: Self = Self::WHOLE.with(Field::STATE, State::Absent as u64);

    /// Returns a partial block without a free frame.
    pub(crate) const fn full(kind: Mobility) -> Self {
        Self::WHOLE.with(Field::STATE, State::Partial as u64).with_kind(kind).with_free(0, 0)
    }

    /// Returns the same block, partial and without a free frame.
    pub(crate) const fn partial(self) -> Self {
        Self::full(self.kind()).with_grain(self.grain())
    }

    /// Returns the first block of an allocated block of `order`, or, with order 0, a later one.
    pub(crate) const fn large(order: Order, kind: Mobility) -> Self {
        let large = Self::full(kind).with(Field::STATE, State::Large as u64);
        large.with(Field::ORDER, order.get() as u64)
    }

    const fn with(self, field: Field, value: u64) -> Self {
        Self(self.0 & !field.mask() | value << field.0)
    }

    pub(crate) const fn state(self) -> State {
        match Field::STATE.of(self.0) {
            0 => State::Whole,
            1 => State::Partial,
            2 => State::Large,
            _ => State::Absent,
        }
    }

    pub(crate) fn order(self) -> Order {
        let order = Field::ORDER.of(self.0) as u8;
        Order::new(order).unwrap_or_else(|| impossible!("a block of order {}", order => Order::BASE))
    }

    pub(crate) const fn kind(self) -> Mobility {
        Mobility::from_index(Field::KIND.of(self.0) as usize)
    }

    pub(crate) const fn free(self) -> u32 {
        FRAMES - Field::USED.of(self.0) as u32
    }

    /// Returns the orders for which a partial block was opened: see [`bin`].
    pub(crate) const fn grain(self) -> usize {
        Field::GRAIN.of(self.0) as usize
    }

    pub(crate) const fn with_grain(self, grain: usize) -> Self {
        self.with(Field::GRAIN, grain as u64 & 3)
    }

    /// Returns the largest order of a free run in a partial block, plus one; 0 where no frame is free.
    pub(crate) const fn rank(self) -> u32 {
        Field::RANK.of(self.0) as u32
    }

    /// Tells whether no caller is given a frame of it: see `moving.rs`. It is in no bin then, and not in the tree.
    pub(crate) const fn is_isolated(self) -> bool {
        Field::ISOLATED.of(self.0) != 0
    }

    pub(crate) const fn with_isolated(self, isolated: Isolated) -> Self {
        self.with(Field::ISOLATED, isolated as u64)
    }

    pub(crate) const fn with_kind(self, kind: Mobility) -> Self {
        self.with(Field::KIND, kind as u64)
    }

    pub(crate) const fn with_free(self, free: u32, rank: u32) -> Self {
        // Both at once: each free and each refill of a block comes here.
        let others = self.0 & !(Field::RANK.mask() | Field::USED.mask());
        Self(others | (rank as u64) << Field::RANK.0 | (FRAMES - free) as u64)
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

    /// Makes it the record of a block that is wholly free, and whose descriptors hold nothing.
    pub(crate) fn clear(&self) {
        self.set(Info::WHOLE);
        self.described.clear();
        self.next.store(0, Relaxed);
        self.prev.store(0, Relaxed);
    }

    #[inline]
    pub(crate) fn set(&self, info: Info) {
        self.info.store(info.0 as u32, Relaxed);
    }
}

/// The bins of one kind of blocks: by its grain, its largest free run, and how full it is.
///
/// The grain is the group of orders that the block was opened for: 0 to 2, 3 to 5, or 6 to 8. Blocks of one grain are
/// shared by requests of these orders, and by others only when no block is whole. Blocks that hold a few long runs then
/// become whole again soon, which a single frame among the runs would prevent, and small pieces that live long lie
/// together.
pub(crate) mod bin {
    use super::{FRAMES, Info};

    /// Classes of fullness, each 16 frames wide: class c has 16 c to 16 c + 15 free frames.
    pub(crate) const CLASSES: usize = 32;
    /// Grains, of three orders each.
    pub(crate) const GRAINS: usize = 3;
    /// Orders 0 to 8 that the largest run of a partial block can have.
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

    /// The place behind all bins'.
    pub(crate) const END: u32 = (CLASSES * GRAINS * ORDERS) as u32;

    impl Bin {
        /// Returns the bin's place among those of a kind: the emptiest blocks' come last.
        pub(crate) const fn place(self) -> u32 {
            ((self.class * GRAINS + self.grain) * ORDERS + self.order) as u32
        }

        /// Returns a bit for each class whose bin of this grain and order comes before `place`.
        pub(crate) const fn classes_before(place: u32, grain: usize, order: usize) -> u32 {
            let least = (grain * ORDERS + order) as u32;
            let classes = place.saturating_sub(least).div_ceil((GRAINS * ORDERS) as u32);
            if classes >= CLASSES as u32 { u32::MAX } else { (1 << classes) - 1 }
        }

        /// Returns the most free frames that a block of this bin can have.
        pub(crate) const fn most_free(self) -> u32 {
            (self.class as u32 + 1) * (FRAMES / CLASSES as u32) - 1
        }
    }

    /// Returns the bin of a partial block, or `None` where nothing in it is free.
    #[inline]
    pub(crate) fn of(info: Info) -> Option<Bin> {
        let order = (info.rank() as usize).checked_sub(1)?;
        let class = info.free() as usize / (FRAMES as usize / CLASSES) % CLASSES;
        Some(Bin { grain: info.grain() % GRAINS, class, order: order.min(ORDERS - 1) })
    }
}
