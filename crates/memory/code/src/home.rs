//! [`Home`]: what the pool asks of its kernel.

#![expect(unsafe_code, reason = "declares an unsafe trait")]

use rhumb_machine::{VirtAddr, VirtRange};
use rhumb_pagetable::Access;

use crate::changes::Changes;
use crate::error::NoFrames;
use crate::index::Index;
use crate::size::{BLOCK_BYTES, PageBytes};

/// The addresses of a block. Only the pool makes one, so a home that is given one knows that they are the pool's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockPlace(pub(crate) VirtAddr);

impl BlockPlace {
    /// Returns the first address, a multiple of 2 MiB.
    pub const fn start(self) -> VirtAddr {
        self.0
    }

    /// Returns all addresses.
    pub fn range(self) -> VirtRange {
        VirtRange::of_length(self.0, BLOCK_BYTES).unwrap_or_default()
    }
}

/// The addresses of data that no holder has at this moment, in a block that is mapped read-write. Only the pool makes
/// one.
#[derive(Debug)]
pub struct DataPlace(pub(crate) VirtRange);

impl DataPlace {
    /// Returns the addresses.
    pub const fn range(&self) -> VirtRange {
        self.0
    }
}

/// The pool's surroundings: frames, windows, page tables, flushes, and the two locks. In a kernel: a unit struct before
/// statics.
///
/// The pool calls all methods but [`Home::with_index`] and [`Home::try_with_index`] within [`Home::with_changes`], and
/// none within the index's lock.
///
/// # Safety
/// The pool hands out addresses by what its home says, so an implementation promises:
/// - The addresses of the pool's range are the pool's alone: nothing else maps anything there.
/// - [`Home::take_frames`] returns frames that no mapping shows, on any CPU, and that no other code uses until
///   [`Home::give_frames`].
/// - [`Home::write_page`] writes through a mapping that this CPU alone has; after [`Home::end_writing`] no CPU has one
///   (I4).
/// - [`Home::map`] and [`Home::unmap`] change the translation of the block's addresses by one store, so that a CPU that
///   walks meanwhile finds the old one or the new one.
/// - When [`Home::flush`] returns, every CPU has dropped its translations of the block, and has executed a serialising
///   instruction since the call, so that no CPU runs instructions that it fetched before (I6).
/// - The two locks exclude: [`Changes`] and [`Index`] are behind them, empty at first, and each is this pool's alone.
pub unsafe trait Home {
    /// 2 MiB of frames out of the direct map.
    type Frames;

    /// Runs `act` while it is this CPU's turn to change the pool. Interrupts are on, and the code stays on its CPU.
    fn with_changes<A>(&self, act: impl FnOnce(&mut Changes<Self::Frames>) -> A) -> A;

    /// Runs `act` with the index's lock held, interrupts off.
    fn with_index<A>(&self, act: impl FnOnce(&mut Index) -> A) -> A;

    /// Runs `act` as [`Home::with_index`] does where the lock is free now; else returns `None`. For reports of faults,
    /// whose CPU may hold that very lock.
    fn try_with_index<A>(&self, act: impl FnOnce(&mut Index) -> A) -> Option<A>;

    /// Returns 2 MiB of frames, each byte of them `fill`, and none of them in the direct map.
    ///
    /// # Errors
    /// [`NoFrames`]; nothing has changed then.
    fn take_frames(&self, fill: u8) -> Result<Self::Frames, NoFrames>;

    /// Gives frames back, which are mapped nowhere. Cannot fail.
    fn give_frames(&self, frames: Self::Frames);

    /// Writes one page, by its number in the block, of frames that are mapped nowhere.
    fn write_page(&self, frames: &mut Self::Frames, page: usize, bytes: &PageBytes);

    /// Ends the writing of frames, before they are mapped: no CPU can write them any more, by any translation.
    fn end_writing(&self);

    /// Maps frames at a block's addresses by one large page, instead of those that were mapped there before.
    fn map(&self, block: BlockPlace, frames: &Self::Frames, access: Access);

    /// Maps nothing at a block's addresses any more.
    fn unmap(&self, block: BlockPlace);

    /// Has every CPU drop its translations of the block's addresses, and serialise.
    fn flush(&self, block: BlockPlace);

    /// Reads a page of a block that is mapped.
    fn read_page(&self, block: BlockPlace, page: usize, into: &mut PageBytes);

    /// Clears free data.
    fn clear(&self, place: &DataPlace);

    /// Writes the beginning of data that its holder has not used yet.
    fn write_data(&self, place: &DataPlace, bytes: &[u8]);

    /// Returns how the page tables map the block's addresses: `None` where they do not, by one large page.
    fn access_of(&self, block: BlockPlace) -> Option<Access>;
}
