//! [`Store`]: where the contents of pages go that are paged out.
#![expect(unsafe_code, reason = "declares functions that trust a slot")]

use rhumb_frames::{Anywhere, Frame};
use rhumb_machine::Pinned;

/// A place in a [`Store`]. Its 47 bits are the store's own; they lie in the entry of the page meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Slot(u64);

impl Slot {
    /// The highest number of a slot.
    pub const MOST: u64 = (1 << 47) - 1;

    /// Returns the slot of a number; `None` past [`Slot::MOST`].
    pub const fn new(bits: u64) -> Option<Self> {
        if bits <= Self::MOST { Some(Self(bits)) } else { None }
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits & Self::MOST)
    }

    /// Returns its number.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

/// The contents of a page that a store has taken.
#[must_use = "the slot has the contents, and the frame is to be freed"]
#[derive(Debug)]
pub struct Kept {
    /// Where they are.
    pub slot: Slot,
    /// The page's frame, unless the store needs it as room.
    pub frame: Option<Frame<Anywhere>>,
}

/// The store cannot give the contents of a page back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost;

/// Where the contents of pages go. The user of pageable memory implements it, or takes
/// [`CompressedStore`](crate::CompressedStore).
///
/// All methods run in thread context, with interrupts on and no lock held for which an interrupt handler waits. None
/// may touch pageable memory, because [`Store::put`] runs while an allocation waits for it.
pub trait Store: Sync {
    /// Room for one CPU's work on a page, so that [`Store::put`] needs neither memory nor much of the stack.
    type Scratch: Send;

    /// Makes that room.
    fn scratch(&self) -> Self::Scratch;

    /// Takes the contents of a page, and perhaps its frame as room for these and others. No CPU has the page mapped.
    ///
    /// # Errors
    /// The frame, unchanged, where the store is full or would need as much memory as it frees; or where the frame is no
    /// page of the store's allocator.
    fn put(
        &self,
        pinned: Pinned<'_>,
        scratch: &mut Self::Scratch,
        frame: Frame<Anywhere>,
    ) -> Result<Kept, Frame<Anywhere>>;

    /// Writes the contents of a slot into a frame. The slot keeps them.
    ///
    /// # Errors
    /// [`Lost`]: the frame holds anything then.
    ///
    /// # Safety
    /// [`Store::put`] of this store returned the slot, and it has not been forgotten.
    unsafe fn get(&self, pinned: Pinned<'_>, slot: Slot, frame: &mut Frame<Anywhere>) -> Result<(), Lost>;

    /// Forgets the contents of a slot. Cannot fail.
    ///
    /// # Safety
    /// As for [`Store::get`]; the slot is not used again.
    unsafe fn forget(&self, pinned: Pinned<'_>, slot: Slot);
}
