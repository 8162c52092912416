//! [`SlotFrame`]: a frame that is cut into slots of one size. A leaf where `unsafe` lives.
//!
//! ```text
//!   0       8      16       24     28     32
//!   | used  | next | before | class |     | slot 0: length, bytes | slot 1 | ...
//! ```
#![expect(unsafe_code, reason = "reads and writes frames of the direct map")]

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_frames::{Frame, Mapped};
use rhumb_machine::{Machine, Order, Pfn};

use crate::home::{PAGE_BYTES, PageHome};

/// Slots in a frame, by class. Each step makes slots smaller by a quarter or so; nothing is smaller than 56 bytes.
const COUNTS: [u32; CLASSES] = [2, 3, 4, 5, 6, 8, 10, 13, 16, 21, 32, 64];
/// Sizes of slots.
pub(crate) const CLASSES: usize = 12;

const HEADER_BYTES: usize = 32;
/// The length of a slot's bytes comes before them.
const LENGTH_BYTES: usize = size_of::<u16>();

/// The most bytes that a slot takes: nearly half a frame.
pub(crate) const MOST_BYTES: usize = slot_bytes(0) - LENGTH_BYTES;

const _: () = assert!(size_of::<Header>() == HEADER_BYTES && MOST_BYTES == 2030);

const fn slot_bytes(class: usize) -> usize {
    ((PAGE_BYTES - HEADER_BYTES) / COUNTS[class] as usize) & !7
}

/// Returns the class with the smallest slots that take so many bytes.
pub(crate) fn class_for(bytes: usize) -> Option<usize> {
    (0..CLASSES).rev().find(|&class| bytes + LENGTH_BYTES <= slot_bytes(class))
}

/// The first bytes of a frame of slots. The atomics are there because a holder of a slot looks at the class while
/// another CPU changes the rest, under the store's lock.
#[repr(C)]
struct Header {
    /// A bit for each slot in use.
    used: AtomicU64,
    /// The number of the next frame in the list and 1; 0 for none. So is `previous`.
    next: AtomicU64,
    previous: AtomicU64,
    class: u64,
}

/// A frame of slots. Several values of one frame exist at a time: the store's lock guards the header, and the bytes of a
/// slot are the holder's of its number.
pub(crate) struct SlotFrame {
    pfn: Pfn,
    start: *mut u8,
}

impl SlotFrame {
    /// Makes one of a frame, with its first slot in use, which is number 0.
    pub(crate) fn make<M: Machine>(machine: &M, frame: Frame<Mapped>, class: usize) -> Self {
        let made = Self::at(machine, frame.into_pfn());
        let zero = || AtomicU64::new(0);
        let header = Header { used: AtomicU64::new(1), next: zero(), previous: zero(), class: class as u64 };
        // SAFETY: the frame's handle was given up here, so its memory, which the direct map shows (I1), is this value's.
        unsafe { made.start.cast::<Header>().write(header) };
        made
    }

    /// Finds the one that was made of a frame.
    pub(crate) fn at<M: Machine>(machine: &M, pfn: Pfn) -> Self {
        Self { pfn, start: machine.direct(pfn.addr()).as_mut_ptr() }
    }

    /// Returns the frame, of which no slot is in use.
    pub(crate) fn unmake<H: PageHome>(self, home: &H) -> Option<Frame<Mapped>> {
        // SAFETY: the handle was given up as the frame became one of slots; its last slot was given back, and it is in
        // no list, so that no other value of it is used any more.
        unsafe { home.frames().from_pfn(self.pfn, Order::BASE) }.ok()
    }

    pub(crate) const fn pfn(&self) -> Pfn {
        self.pfn
    }

    fn header(&self) -> &Header {
        // SAFETY: the frame is one of slots: its number comes from a list or from a slot in use, both of which keep it
        // so. All that changes of its header are atomics.
        unsafe { &*self.start.cast::<Header>() }
    }

    pub(crate) fn class(&self) -> usize {
        (self.header().class as usize).min(CLASSES - 1)
    }

    fn all(&self) -> u64 {
        u64::MAX >> (u64::BITS - COUNTS[self.class()])
    }

    fn used(&self) -> u64 {
        self.header().used.load(Relaxed)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.used() == self.all()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.used() == 0
    }

    /// Takes a free slot.
    pub(crate) fn take(&self) -> Option<u32> {
        let used = self.used();
        let number = (!used & self.all()).trailing_zeros();
        if number == u64::BITS {
            return None;
        }
        self.header().used.store(used | 1 << number, Relaxed);
        Some(number)
    }

    /// Gives a slot back.
    pub(crate) fn give(&self, number: u32) {
        self.header().used.store(self.used() & !(1 << number), Relaxed);
    }

    pub(crate) fn links(&self) -> (Option<Pfn>, Option<Pfn>) {
        let header = self.header();
        (from_link(header.previous.load(Relaxed)), from_link(header.next.load(Relaxed)))
    }

    pub(crate) fn set_links(&self, previous: Option<Pfn>, next: Option<Pfn>) {
        self.set_previous(previous);
        self.set_next(next);
    }

    pub(crate) fn set_previous(&self, previous: Option<Pfn>) {
        self.header().previous.store(to_link(previous), Relaxed);
    }

    pub(crate) fn set_next(&self, next: Option<Pfn>) {
        self.header().next.store(to_link(next), Relaxed);
    }

    /// Returns where a slot begins, and its size.
    fn slot(&self, number: u32) -> (*mut u8, usize) {
        let bytes = slot_bytes(self.class());
        let number = (number % COUNTS[self.class()]) as usize;
        (self.start.wrapping_add(HEADER_BYTES + number * bytes), bytes)
    }

    /// Writes a slot that the caller has taken.
    pub(crate) fn write(&mut self, number: u32, bytes: &[u8]) {
        let (start, room) = self.slot(number);
        let length = bytes.len().min(room - LENGTH_BYTES);
        // SAFETY: the slot is the caller's, lies in the frame, and has room for a length and so many bytes.
        unsafe {
            start.cast::<u16>().write_unaligned(length as u16);
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), start.wrapping_add(LENGTH_BYTES), length);
        }
    }

    /// Returns the bytes of a slot in use, which is the caller's.
    pub(crate) fn bytes(&self, number: u32) -> &[u8] {
        let (start, room) = self.slot(number);
        // SAFETY: as for `write`; the slot was written, and its holder alone writes it.
        unsafe {
            let length = usize::from(start.cast::<u16>().read_unaligned()).min(room - LENGTH_BYTES);
            core::slice::from_raw_parts(start.wrapping_add(LENGTH_BYTES), length)
        }
    }
}

const fn to_link(pfn: Option<Pfn>) -> u64 {
    match pfn {
        Some(pfn) => pfn.get() + 1,
        None => 0,
    }
}

fn from_link(link: u64) -> Option<Pfn> {
    link.checked_sub(1).map(Pfn::new)
}
