//! [`CompressedStore`]: contents of pages, compressed, in frames of the direct map.
//!
//! ```text
//!   put ──> one word again and again ──> the slot is the word: no memory at all
//!       └─> LZ4, into scratch ──> a free slot of the smallest size that fits
//!                             └──none──> the page's own frame becomes a frame of slots, with this page in the first
//! ```
//!
//! A frame of slots ([`SlotFrame`]) has slots of one size, from 56 bytes to 2,032, which is half a frame: contents that
//! need more stay in memory. Frames with a free slot are in the list of their size; one that is empty goes back.
//!
//! **Paging out takes no memory** (I10). The contents are compressed before their place is looked for, so the frame from
//! which they come is free already, and is the frame that a new one of slots needs. Only where the page lies past the
//! direct map does the store ask for another frame, of class [`AllocClass::Spare`], because contents may stay out for
//! long: the reserve is left to requests that must not fail.
//!
//! Locking: one lock, a leaf, held for a constant number of steps. The bytes of a slot are read and written without it,
//! because a slot belongs to the page whose entry names it.

pub(crate) mod slot_frame;

use core::fmt;

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};
use rhumb_frames::{AllocClass, Anywhere, Frame, Mapped, Owner, Request};
use rhumb_machine::{Machine, Order, Pfn, Pinned, impossible};
use rhumb_sync::Lock;
use rhumb_sync::atomic::{AtomicU64, Relaxed};

use crate::home::{PAGE_BYTES, PageBytes, PageHome};
use crate::store::{Kept, Lost, Slot, Store};
use slot_frame::{CLASSES, MOST_BYTES, SlotFrame, class_for};

/// Set in slots that are a word of four bytes, which the page has again and again.
const WORD_SLOT: u64 = 1 << 46;
/// Bits of a slot for the number of the slot in its frame; the frame is above them.
const NUMBER_BITS: u32 = 6;
/// Bytes of a word.
const WORD_BYTES: usize = 4;

/// The first frame of each size that has a free slot.
type Lists = [Option<Pfn>; CLASSES];

/// A store that compresses pages in memory. See the [module](self).
pub struct CompressedStore<H: PageHome> {
    home: H,
    lists: Lock<Lists>,
    figures: Figures,
}

struct Figures {
    pages: AtomicU64,
    same_pages: AtomicU64,
    bytes: AtomicU64,
    frames: AtomicU64,
    refused: AtomicU64,
}

/// The figures of a [`CompressedStore`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StoreReport {
    /// Pages whose contents are here.
    pub pages: u64,
    /// Of these, pages of one word, which take no memory.
    pub same_pages: u64,
    /// Bytes of the compressed contents of the others.
    pub bytes: u64,
    /// Frames that the store has.
    pub frames: u64,
    /// Pages that were refused so far, because they could not be compressed to half their size.
    pub refused: u64,
}

impl fmt::Display for StoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pages, same_pages, bytes, frames, refused } = self;
        write!(
            f,
            "{pages} pages out, {same_pages} of them one word, {bytes} bytes compressed in {frames} frames, \
             {refused} refused"
        )
    }
}

/// The most bytes that the contents of a page become.
const OUTPUT_BYTES: usize = 4608;

/// The tables and the output of a compression: 13 KiB.
pub struct Scratch {
    table: CompressTable,
    output: [u8; OUTPUT_BYTES],
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scratch")
    }
}

/// The outcome of a compression.
enum Packed {
    Word(u32),
    /// So many bytes of the scratch's output.
    Bytes(usize),
    TooLarge,
}

impl<H: PageHome> CompressedStore<H> {
    /// Makes an empty store.
    pub fn new(home: H) -> Self {
        let zero = || AtomicU64::new(0);
        let figures =
            Figures { pages: zero(), same_pages: zero(), bytes: zero(), frames: zero(), refused: zero() };
        Self { home, lists: Lock::new([None; CLASSES]), figures }
    }

    /// Returns the figures.
    pub fn report(&self) -> StoreReport {
        let Figures { pages, same_pages, bytes, frames, refused } = &self.figures;
        StoreReport {
            pages: pages.load(Relaxed),
            same_pages: same_pages.load(Relaxed),
            bytes: bytes.load(Relaxed),
            frames: frames.load(Relaxed),
            refused: refused.load(Relaxed),
        }
    }

    fn with_lists<A>(&self, act: impl FnOnce(&mut Lists) -> A) -> A {
        act(&mut self.lists.lock(self.home.machine().irq_off()))
    }

    fn at(&self, pfn: Pfn) -> SlotFrame {
        SlotFrame::at(self.home.machine(), pfn)
    }

    /// Takes a free slot of a class; `None` where each frame of that class is full.
    fn take_slot(&self, class: usize) -> Option<(SlotFrame, u32)> {
        self.with_lists(|lists| {
            let frame = self.at(lists[class]?);
            let number = frame.take()?;
            if frame.is_full() {
                self.unlink(lists, class, &frame);
            }
            Some((frame, number))
        })
    }

    /// Makes a frame one of slots, and returns it with its first slot.
    fn add_frame(&self, frame: Frame<Mapped>, class: usize) -> (SlotFrame, u32) {
        let frame = SlotFrame::make(self.home.machine(), frame, class);
        self.figures.frames.fetch_add(1, Relaxed);
        self.with_lists(|lists| self.link(lists, class, &frame));
        (frame, 0)
    }

    fn link(&self, lists: &mut Lists, class: usize, frame: &SlotFrame) {
        let next = lists[class].replace(frame.pfn());
        frame.set_links(None, next);
        if let Some(next) = next {
            self.at(next).set_previous(Some(frame.pfn()));
        }
    }

    fn unlink(&self, lists: &mut Lists, class: usize, frame: &SlotFrame) {
        let (previous, next) = frame.links();
        match previous {
            Some(previous) => self.at(previous).set_next(next),
            None => lists[class] = next,
        }
        if let Some(next) = next {
            self.at(next).set_previous(previous);
        }
        frame.set_links(None, None);
    }

    /// Gives a slot back, and its frame where no other slot of it is in use.
    fn give_slot(&self, pinned: Pinned<'_>, slot: Slot) {
        let (pfn, number) = place_of(slot);
        let empty = self.with_lists(|lists| {
            let frame = self.at(pfn);
            let (class, was_full) = (frame.class(), frame.is_full());
            self.figures.bytes.fetch_sub(frame.bytes(number).len() as u64, Relaxed);
            frame.give(number);
            if frame.is_empty() {
                if !was_full {
                    self.unlink(lists, class, &frame);
                }
                return Some(frame);
            }
            if was_full {
                self.link(lists, class, &frame);
            }
            None
        });
        if let Some(frame) = empty {
            self.figures.frames.fetch_sub(1, Relaxed);
            match frame.unmake(&self.home) {
                Some(frame) => self.home.frames().free(pinned, frame),
                None => impossible!("a frame of slots was a frame of this allocator"),
            }
        }
    }

    /// Finds a place for the scratch's output. Returns the slot, and the page's frame where it is not that place.
    fn keep_bytes(
        &self,
        pinned: Pinned<'_>,
        frame: Frame<Anywhere>,
        output: &[u8],
    ) -> Result<Kept, Frame<Anywhere>> {
        let Some(class) = class_for(output.len()) else { return Err(frame) };
        let ((mut frame, number), rest) = match self.take_slot(class) {
            Some(place) => (place, Some(frame)),
            None => match frame.try_mapped() {
                Ok(own) => (self.add_frame(own, class), None),
                Err(high) => {
                    // The owner of the pages has their contents, too.
                    let frames = self.home.frames();
                    let owner = frames.descriptor(high.pfn()).map_or(Owner::NONE, |of| of.owner());
                    match frames.alloc(pinned, Request::FRAME.class(AllocClass::Spare).owner(owner)) {
                        Ok(other) => (self.add_frame(other, class), Some(high)),
                        Err(_) => return Err(high),
                    }
                }
            },
        };
        frame.write(number, output);
        self.figures.bytes.fetch_add(output.len() as u64, Relaxed);
        Ok(Kept { slot: slot_at(frame.pfn(), number), frame: rest })
    }
}

impl<H: PageHome> Store for CompressedStore<H> {
    type Scratch = Scratch;

    fn scratch(&self) -> Scratch {
        Scratch { table: CompressTable::small(), output: [0; OUTPUT_BYTES] }
    }

    fn put(
        &self,
        pinned: Pinned<'_>,
        scratch: &mut Scratch,
        mut frame: Frame<Anywhere>,
    ) -> Result<Kept, Frame<Anywhere>> {
        // Another allocator's frame has the number of one that may be in use here, and a larger block would come back as
        // one frame.
        if frame.brand() != self.home.frames().brand() || frame.order() != Order::BASE {
            return Err(frame);
        }
        let packed = self.home.with_bytes(&mut frame, |page| pack(page, scratch));
        let kept = match packed {
            Some(Packed::Word(word)) => {
                self.figures.same_pages.fetch_add(1, Relaxed);
                Kept { slot: word_slot(word), frame: Some(frame) }
            }
            Some(Packed::Bytes(bytes)) => {
                self.keep_bytes(pinned, frame, scratch.output.get(..bytes).unwrap_or_default())?
            }
            Some(Packed::TooLarge) | None => {
                self.figures.refused.fetch_add(1, Relaxed);
                return Err(frame);
            }
        };
        self.figures.pages.fetch_add(1, Relaxed);
        Ok(kept)
    }

    #[expect(unsafe_code, reason = "trusts the slot")]
    unsafe fn get(&self, _: Pinned<'_>, slot: Slot, frame: &mut Frame<Anywhere>) -> Result<(), Lost> {
        let unpacked = self.home.with_bytes(frame, |page| match word_of(slot) {
            Some(word) => {
                page.chunks_exact_mut(WORD_BYTES)
                    .for_each(|place| place.copy_from_slice(&word.to_ne_bytes()));
                Some(PAGE_BYTES)
            }
            None => {
                let (pfn, number) = place_of(slot);
                decompress_into(self.at(pfn).bytes(number), page).ok()
            }
        });
        if unpacked.flatten() == Some(PAGE_BYTES) { Ok(()) } else { Err(Lost) }
    }

    #[expect(unsafe_code, reason = "trusts the slot")]
    unsafe fn forget(&self, pinned: Pinned<'_>, slot: Slot) {
        self.figures.pages.fetch_sub(1, Relaxed);
        match word_of(slot) {
            Some(_) => _ = self.figures.same_pages.fetch_sub(1, Relaxed),
            None => self.give_slot(pinned, slot),
        }
    }
}

/// Compresses a page into the scratch's output.
fn pack(page: &PageBytes, scratch: &mut Scratch) -> Packed {
    let (first, rest) = page.split_at(WORD_BYTES);
    // A page that is the same as itself one word further on has one word.
    if page.get(..PAGE_BYTES - WORD_BYTES) == Some(rest)
        && let Ok(word) = first.try_into()
    {
        return Packed::Word(u32::from_ne_bytes(word));
    }
    debug_assert!(get_maximum_output_size(PAGE_BYTES) <= OUTPUT_BYTES);
    match compress_into_with_table(page, &mut scratch.output, &mut scratch.table) {
        Ok(bytes) if bytes <= MOST_BYTES => Packed::Bytes(bytes),
        _ => Packed::TooLarge,
    }
}

const fn word_slot(word: u32) -> Slot {
    Slot::from_bits(WORD_SLOT | word as u64)
}

const fn word_of(slot: Slot) -> Option<u32> {
    if slot.bits() & WORD_SLOT == 0 { None } else { Some(slot.bits() as u32) }
}

const fn slot_at(pfn: Pfn, number: u32) -> Slot {
    Slot::from_bits(pfn.get() << NUMBER_BITS | number as u64)
}

const fn place_of(slot: Slot) -> (Pfn, u32) {
    (Pfn::new(slot.bits() >> NUMBER_BITS), (slot.bits() & ((1 << NUMBER_BITS) - 1)) as u32)
}
