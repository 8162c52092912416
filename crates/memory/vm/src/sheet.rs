//! Sheets: the pages of memory that several maps share for reading and writing; a leaf where `unsafe` lives.
//!
//! A sheet is a frame of 512 words, each with the frame of a page, or empty where the page was not used yet. A word of a
//! map names the sheet and the place in it, so that a fault finds the page without a search, and no list says which maps
//! have it. The sheet counts the words that name it in its frame's descriptor; the last one frees the sheet and its
//! pages. The frame of a page has the page's place in its own descriptor, so that a word that maps the frame still leads
//! to the sheet.
//!
//! The words of a sheet have no lock. A word changes once, from empty to a frame, by one exchange; a CPU that comes
//! second takes the frame of the first.
#![expect(unsafe_code, reason = "words in frames of the direct map, and descriptors")]

use core::sync::atomic::{AtomicU64, Ordering};

use rhumb_frames::{Frame, Frames};
use rhumb_machine::{Machine, Pfn, Pinned, impossible};
use rhumb_pagetable::{ENTRIES, Entry};

use crate::share::{self, MOST_SHARERS, TooManySharers};
use crate::word::Slot;

/// Makes a sheet of a cleared frame, which one holder has.
pub(crate) fn make<M: Machine>(frames: &Frames<M>, frame: Frame) -> Pfn {
    if let Some(descriptor) = frames.descriptor_of(&frame) {
        descriptor.set_private(1);
    }
    frame.into_pfn()
}

/// Counts so many holders more. The caller holds the sheet.
///
/// # Errors
/// [`TooManySharers`]: nothing has changed.
pub(crate) fn add<M: Machine>(frames: &Frames<M>, sheet: Pfn, count: u32) -> Result<(), TooManySharers> {
    // SAFETY: the caller, or its word, holds the sheet.
    let Some(descriptor) = (unsafe { frames.descriptor_to_write(sheet) }) else {
        return impossible!("a space's frames have descriptors" => Err(TooManySharers));
    };
    if descriptor.add(count) >= MOST_SHARERS {
        descriptor.subtract(count);
        return Err(TooManySharers);
    }
    Ok(())
}

/// Gives up so many holds of a sheet, and frees it with its pages where these were the last.
///
/// # Safety
/// The caller had these holds, each is given up once, and no CPU reaches a page of the sheet by a word that had one.
pub(crate) unsafe fn give_up<M: Machine>(frames: &Frames<M>, pinned: Pinned<'_>, sheet: Pfn, count: u32) {
    // SAFETY: the caller holds the sheet until here.
    let descriptor = unsafe { frames.descriptor_to_write(sheet) };
    if descriptor.is_none_or(|descriptor| descriptor.subtract(count) != count) {
        return;
    }
    for index in 0..ENTRIES {
        if let Some(pfn) = page(frames, Slot { sheet, index }) {
            // SAFETY: the sheet had the frame, and no word names the sheet any more.
            unsafe { share::free(frames, pinned, pfn) };
        }
    }
    // SAFETY: no word names the sheet.
    unsafe { share::free(frames, pinned, sheet) };
}

/// Returns the frame of a page, if it has one. The caller holds the sheet.
pub(crate) fn page<M: Machine>(frames: &Frames<M>, slot: Slot) -> Option<Pfn> {
    let word = word(frames, slot).load(Ordering::Acquire);
    (word != 0).then(|| Pfn::new(word >> 1))
}

/// Gives a page this frame, if it has none. The caller holds the sheet.
///
/// # Errors
/// The page has a frame: that one, and the caller's.
pub(crate) fn put<M: Machine>(frames: &Frames<M>, slot: Slot, frame: Frame) -> Result<Pfn, (Pfn, Frame)> {
    if let Some(descriptor) = frames.descriptor_of(&frame) {
        descriptor.set_private(slot.bits());
    }
    let new = frame.pfn().get() << 1 | 1;
    match word(frames, slot).compare_exchange(0, new, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Ok(frame.into_pfn()),
        Err(other) => Err((Pfn::new(other >> 1), frame)),
    }
}

/// Gives a page the frame of a private page. The caller holds the sheet, and is the only one that knows the slot.
pub(crate) fn adopt<M: Machine>(frames: &Frames<M>, slot: Slot, pfn: Pfn) {
    // SAFETY: the caller's word holds the frame alone.
    if let Some(descriptor) = unsafe { frames.descriptor_to_write(pfn) } {
        descriptor.set_private(slot.bits());
    }
    word(frames, slot).store(pfn.get() << 1 | 1, Ordering::Release);
}

/// Returns the place of a page that has a frame. The caller's word maps the frame, and so holds its sheet.
pub(crate) fn slot_of<M: Machine>(frames: &Frames<M>, pfn: Pfn) -> Slot {
    Slot::of_bits(frames.descriptor(pfn).map_or(0, |descriptor| descriptor.private()))
}

fn word<M: Machine>(frames: &Frames<M>, slot: Slot) -> &AtomicU64 {
    let place = frames.machine().direct(slot.sheet.addr()).plus(Entry::offset(slot.index));
    // SAFETY: a word of a frame of the direct map that is a sheet while the caller holds it, reached by atomics alone (I1).
    unsafe { &*place.as_ptr::<AtomicU64>() }
}
