//! Who has how much, and who may (I11).
//!
//! Accounts stand in memory that the caller lends, by the owner's number: the numbers that frame descriptors keep.

use rhumb_directmap::OwnerId;

/// How much an owner may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// 2-MiB blocks that are out of the map on its behalf; a block of 1 GiB counts 512.
    pub blocks: u64,
    /// Frames.
    pub frames: u64,
}

impl Limits {
    /// No limit.
    pub const NONE: Self = Self { blocks: u64::MAX, frames: u64::MAX };
}

/// What an owner has.
///
/// A block is charged to whoever asked when it was taken, until it goes back: others may have frames in it, too. What
/// its owner gave back of it serves the owner's own requests like anyone's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Account {
    /// The owner by the map's journal: it is named there for the blocks that it has taken.
    pub(crate) map_owner: Option<OwnerId>,
    pub(crate) limits: Limits,
    pub(crate) blocks: u64,
    pub(crate) frames: u64,
}

impl Account {
    /// A place for an account.
    pub const CLOSED: Self =
        Self { map_owner: None, limits: Limits { blocks: 0, frames: 0 }, blocks: 0, frames: 0 };

    /// An account of someone whom the map's journal knows as `map_owner`.
    pub const fn new(map_owner: OwnerId, limits: Limits) -> Self {
        Self { map_owner: Some(map_owner), limits, blocks: 0, frames: 0 }
    }

    /// Its limits.
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// 2-MiB blocks that were taken on its behalf.
    pub const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Frames that it has.
    pub const fn frames(&self) -> u64 {
        self.frames
    }
}
