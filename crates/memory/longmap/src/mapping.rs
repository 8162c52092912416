//! [`LongMapping`]: a frame and its page, shown to all CPUs. The one place where its memory is touched.

#![expect(unsafe_code, reason = "touches the memory behind a mapping")]

use core::fmt;
use core::mem::ManuallyDrop;

use rhumb_frames::{Anywhere, Frame};
use rhumb_machine::{PageSize, Pfn, Tlb, VirtAddr};

use crate::{LongMap, SlotTable};

/// Bytes of a page.
pub const PAGE_BYTES: usize = PageSize::Size4K.bytes() as usize;

/// One frame that all CPUs see at [`LongMapping::address`], read-write, until this goes. It may go to other CPUs, and
/// be looked at from several at once.
///
/// The frame is inside, so that it cannot be freed meanwhile:
///
/// ```compile_fail,E0382
/// use rhumb_frames::{Anywhere, Frame, Frames, Owner};
/// use rhumb_longmap::{LongMap, SlotTable};
/// use rhumb_machine::{Pinned, Tlb};
/// fn free<M: Tlb, T: SlotTable>(
///     map: &LongMap<M, T>, frames: &Frames<M>, pinned: Pinned<'_>, frame: Frame<Anywhere>,
/// ) {
///     let mapping = map.map(pinned, frame, Owner(1));
///     frames.free(pinned, frame);
///     drop(mapping);
/// }
/// ```
///
/// and what was seen of it ends with it:
///
/// ```compile_fail,E0505
/// use rhumb_longmap::{LongMapping, SlotTable};
/// use rhumb_machine::Tlb;
/// fn keep<M: Tlb, T: SlotTable>(mapping: LongMapping<'_, M, T>) -> u8 {
///     let bytes = mapping.bytes();
///     let _frame = mapping.unmap();
///     bytes[0]
/// }
/// ```
///
/// Dropped, it frees its frame. Forgotten, it keeps slot and frame, and stays in the list of holdings.
#[must_use = "a mapping that is dropped frees its frame"]
pub struct LongMapping<'map, M: Tlb + 'static, T: SlotTable> {
    map: &'map LongMap<M, T>,
    frame: ManuallyDrop<Frame<Anywhere>>,
    /// `None` where the direct map shows the frame.
    slot: Option<usize>,
}

impl<'map, M: Tlb, T: SlotTable> LongMapping<'map, M, T> {
    pub(crate) const fn new(map: &'map LongMap<M, T>, frame: Frame<Anywhere>, slot: Option<usize>) -> Self {
        Self { map, frame: ManuallyDrop::new(frame), slot }
    }

    /// Returns where all CPUs see the page.
    pub fn address(&self) -> VirtAddr {
        match self.slot {
            Some(slot) => self.map.tables.show(slot),
            None => self.map.frames.machine().direct(self.frame.addr()),
        }
    }

    /// Returns the frame's number.
    pub fn pfn(&self) -> Pfn {
        self.frame.pfn()
    }

    /// Tells whether it takes one of the map's slots.
    pub const fn has_slot(&self) -> bool {
        self.slot.is_some()
    }

    /// Returns the page's bytes.
    pub fn bytes(&self) -> &[u8; PAGE_BYTES] {
        // SAFETY: the mapping shows all of the page as long as it lives, and only its holder reaches the frame (I5: the
        // frame's handle is inside): nothing writes the page while the mapping is borrowed. Any bits are bytes.
        unsafe { &*self.address().as_ptr::<[u8; PAGE_BYTES]>() }
    }

    /// Returns the page's bytes, to write them.
    pub fn bytes_mut(&mut self) -> &mut [u8; PAGE_BYTES] {
        // SAFETY: the mapping shows all of the page as long as it lives, and nothing else reaches the frame (I5: its
        // handle is inside, and the mapping is borrowed alone). Any bits are bytes.
        unsafe { &mut *self.address().as_mut_ptr::<[u8; PAGE_BYTES]>() }
    }

    /// Ends the mapping, and returns the frame.
    ///
    /// Cost: an entry written and a visit to the lock; nothing for a frame of the direct map. No flush.
    pub fn unmap(self) -> Frame<Anywhere> {
        let mut this = ManuallyDrop::new(self);
        this.end()
    }

    fn end(&mut self) -> Frame<Anywhere> {
        if let Some(slot) = self.slot {
            self.map.give(slot);
        }
        // SAFETY: `unmap` and `drop` call this last, and each once: nothing uses the handle in here again.
        unsafe { ManuallyDrop::take(&mut self.frame) }
    }
}

impl<M: Tlb, T: SlotTable> Drop for LongMapping<'_, M, T> {
    fn drop(&mut self) {
        let frame = self.end();
        let guard = self.map.frames.machine().pin();
        self.map.frames.free(guard.pinned(), frame);
    }
}

impl<M: Tlb, T: SlotTable> fmt::Debug for LongMapping<'_, M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LongMapping({}, slot {:?})", self.pfn(), self.slot)
    }
}
