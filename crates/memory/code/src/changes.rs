//! [`Changes`]: the frames behind the pool's blocks, and the spare ones.

use alloc::vec::Vec;

use crate::block::Slot;
use crate::error::CodeError;
use crate::failing::try_grow;
use crate::pages::PageSet;

/// The frames of a pool, which only changes reach: a kernel keeps this behind the lock that is the turn to change. Empty
/// at first.
#[derive(Debug)]
pub struct Changes<F> {
    /// By slot.
    pub(crate) frames: Vec<Option<F>>,
    /// There while there is a block that CPUs cannot write.
    pub(crate) spare: Option<Spare<F>>,
    /// Changes by switching frames.
    pub(crate) switches: u64,
    /// Pages that were written for them.
    pub(crate) pages_written: u64,
}

/// Frames that are mapped nowhere, for the next change.
#[derive(Debug)]
pub(crate) struct Spare<F> {
    pub(crate) frames: F,
    /// The block whose contents they have, but for the pages that are `stale`.
    pub(crate) twin: Option<Slot>,
    /// The pages of that block's last change, which these frames miss.
    pub(crate) stale: PageSet,
}

impl<F> Changes<F> {
    /// Returns the state of a pool without blocks.
    pub const fn new() -> Self {
        Self { frames: Vec::new(), spare: None, switches: 0, pages_written: 0 }
    }

    /// Makes room for the frames of `slot`.
    pub(crate) fn make_room(&mut self, slot: Slot) -> Result<(), CodeError> {
        let Some(more) = (slot.index() + 1).checked_sub(self.frames.len()) else { return Ok(()) };
        try_grow(&mut self.frames, more)?;
        self.frames.resize_with(slot.index() + 1, || None);
        Ok(())
    }
}

impl<F> Default for Changes<F> {
    fn default() -> Self {
        Self::new()
    }
}
