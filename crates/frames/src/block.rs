//! What the allocator keeps of a 2-MiB block beside its 512 bits: sixteen bytes, four blocks a cache line.
//!
//! ```text
//! info:  28..24 order   19..18 state   17..16 kind   15..12 rank   9..0 used        next, prev: block + 1, or 0
//! ```
//! All zeroes is a block that is wholly free, so that zeroed storage describes free memory and building the allocator
//! writes nothing per block. The bits of a block count only while it is [`State::Split`].

use crate::request::Mobility;
use crate::sync::{AtomicU32, AtomicU64, Relaxed};
use crate::words::FRAMES;

/// How a block stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// All of it is free; it is in the pool's tree.
    Whole,
    /// Its bits say which frames are free; it is in a bin unless none is.
    Split,
    /// It belongs to an allocated block of order 9 or more; the first one's `order` says which.
    Large,
    /// There is no memory here.
    Absent,
}

/// The packed description.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Info(pub(crate) u64);

impl Info {
    pub(crate) const WHOLE: Self = Self(0);
    pub(crate) const ABSENT: Self = Self(3 << 18);

    /// A split block without a free frame.
    pub(crate) const fn full(kind: Mobility) -> Self {
        Self(1 << 18 | (kind as u64) << 16 | FRAMES as u64)
    }

    /// The first block of an allocated block of `order`, or with 0 a later one.
    pub(crate) const fn large(order: u8, kind: Mobility) -> Self {
        Self((order as u64) << 24 | 2 << 18 | (kind as u64) << 16 | FRAMES as u64)
    }

    pub(crate) const fn state(self) -> State {
        match self.0 >> 18 & 3 {
            0 => State::Whole,
            1 => State::Split,
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

    /// The largest order of a free run in a split block, plus one; 0 where nothing is free.
    pub(crate) const fn rank(self) -> u32 {
        (self.0 >> 12 & 0xf) as u32
    }

    pub(crate) const fn with_kind(self, kind: Mobility) -> Self {
        Self(self.0 & !(3 << 16) | (kind as u64) << 16)
    }

    pub(crate) const fn with_free(self, free: u32, rank: u32) -> Self {
        Self(self.0 & !0xf3ff | (rank as u64) << 12 | (FRAMES - free) as u64)
    }
}

#[derive(Default)]
/// One block's record.
pub(crate) struct Block {
    info: AtomicU64,
    pub(crate) next: AtomicU32,
    pub(crate) prev: AtomicU32,
}

const _: () = assert!(cfg!(feature = "model") || size_of::<Block>() == 16);

impl Block {
    #[inline]
    pub(crate) fn info(&self) -> Info {
        Info(self.info.load(Relaxed))
    }

    #[inline]
    pub(crate) fn set(&self, info: Info) {
        self.info.store(info.0, Relaxed);
    }
}

/// The bins of one kind of blocks, numbered from fullest to emptiest, and among blocks as full from the smallest largest
/// run to the largest: the lowest bin that serves a request is the one that costs the least of what is still whole.
pub(crate) mod bin {
    use super::Info;

    /// Free frames below which a block belongs to each class of fullness; the last class goes up to 511.
    const CLASS_BELOW: [u32; 6] = [8, 24, 64, 128, 256, 384];
    /// Orders 0 to 8 that the largest run of a split block can have.
    const ORDERS: u32 = 9;
    /// How many bins there are.
    pub(crate) const COUNT: usize = 7 * ORDERS as usize;

    /// `SERVING[order]`: the bins whose blocks have a run of `order`.
    const SERVING: [u64; ORDERS as usize] = {
        let mut masks = [0; ORDERS as usize];
        let mut bin = 0;
        while bin < COUNT {
            let mut order = 0;
            while order <= bin % ORDERS as usize {
                masks[order] |= 1 << bin;
                order += 1;
            }
            bin += 1;
        }
        masks
    };

    /// The class of each free count, in units of 8 frames.
    const CLASS: [u8; 64] = {
        let mut classes = [0; 64];
        let mut unit = 0;
        while unit < 64 {
            let mut class = 0;
            while class < 6 && unit as u32 * 8 >= CLASS_BELOW[class] {
                class += 1;
            }
            classes[unit] = class as u8;
            unit += 1;
        }
        classes
    };

    /// The bin of a split block, or `None` where nothing in it is free.
    #[inline]
    pub(crate) fn of(info: Info) -> Option<usize> {
        let order = info.rank().checked_sub(1)?;
        Some((u32::from(CLASS[(info.free() / 8 % 64) as usize]) * ORDERS + order.min(8)) as usize)
    }

    /// The bins that serve `order`, which is at most 8.
    #[inline]
    pub(crate) const fn serving(order: u32) -> u64 {
        SERVING[order as usize]
    }
}
