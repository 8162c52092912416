//! Frames that several words have: a count in the frame's descriptor; a leaf where `unsafe` lives.
//!
//! A frame that only one word has ever had has no count, and its word is not marked *shared*. The first copy makes the
//! count 2 and marks both words. From then on each word that has the frame is marked, until a write finds a count of 1
//! and makes its word the only one again. So there is no chain of copies that could grow: a page is in one frame, and
//! the frame knows how many words have it.
#![expect(unsafe_code, reason = "writes descriptors and copies frames")]

use core::sync::atomic::{AtomicU64, Ordering};

use rhumb_frames::{Frame, Frames};
use rhumb_machine::{Machine, Order, PageSize, Pfn, Pinned, impossible};

use crate::word::Marks;

/// The most words that may have a frame. CPUs that add to the count at the same time cannot pass what it can hold.
pub(crate) const MOST_SHARERS: u32 = 1 << 31;

/// A frame has all the words that it may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TooManySharers;

/// Counts one word more for a frame. The caller holds the lock of a word that has the frame with these marks.
///
/// # Errors
/// [`TooManySharers`]: nothing has changed.
pub(crate) fn add<M: Machine>(frames: &Frames<M>, pfn: Pfn, marks: Marks) -> Result<(), TooManySharers> {
    // SAFETY: the word under the caller's lock holds the frame.
    let Some(descriptor) = (unsafe { frames.descriptor_to_write(pfn) }) else {
        return impossible!("a space's frames have descriptors" => Err(TooManySharers));
    };
    if !marks.is_shared() {
        descriptor.set_private(2);
    } else if descriptor.add(1) >= MOST_SHARERS {
        descriptor.subtract(1);
        return Err(TooManySharers);
    }
    Ok(())
}

/// Tells whether no other word has a frame. The caller holds the lock of the word that has it, which is marked shared.
pub(crate) fn is_sole<M: Machine>(frames: &Frames<M>, pfn: Pfn) -> bool {
    // SAFETY: the word under the caller's lock holds the frame.
    unsafe { frames.descriptor_to_write(pfn) }.is_some_and(|descriptor| descriptor.low() == 1)
}

/// Gives a frame that has no word yet a count, for its only holder.
pub(crate) fn count_alone<M: Machine>(frames: &Frames<M>, frame: Frame) -> Pfn {
    if let Some(descriptor) = frames.descriptor_of(&frame) {
        descriptor.set_private(1);
    }
    frame.into_pfn()
}

/// Copies a page that programs may write meanwhile, word by word.
///
/// # Safety
/// The frame `from` is in use and in the direct map. The code of the kernel that writes it does so by atomics.
pub(crate) unsafe fn copy_used<M: Machine>(frames: &Frames<M>, from: Pfn, to: &mut Frame) {
    let machine = frames.machine();
    let (from, to) =
        (machine.direct(from.addr()).as_ptr::<AtomicU64>(), machine.direct(to.addr()).as_mut_ptr::<u64>());
    for word in 0..PageSize::Size4K.bytes() as usize / size_of::<u64>() {
        // SAFETY: words of two pages of the direct map (I1): `to` is borrowed exclusively, and the caller promises that
        // `from` is in use, and is written by atomics or by programs.
        unsafe { to.add(word).write((*from.add(word)).load(Ordering::Relaxed)) };
    }
}

/// Gives up a word's hold of a frame, and frees the frame where no other word has it.
///
/// # Safety
/// The word had the frame with these marks and is gone, no CPU reaches the frame by it, and it is given up once.
pub(crate) unsafe fn give_up<M: Machine>(frames: &Frames<M>, pinned: Pinned<'_>, pfn: Pfn, marks: Marks) {
    // SAFETY: the caller's word holds the frame until here.
    let is_last = !marks.is_shared()
        || unsafe { frames.descriptor_to_write(pfn) }.is_none_or(|descriptor| descriptor.subtract(1) == 1);
    if is_last {
        // SAFETY: no word has the frame any more, and its handle was given up for the first of them.
        unsafe { free(frames, pinned, pfn) };
    }
}

/// Frees a frame whose handle was given up.
///
/// # Safety
/// The frame is of order 0, was taken from `frames`, and is used no more.
pub(crate) unsafe fn free<M: Machine>(frames: &Frames<M>, pinned: Pinned<'_>, pfn: Pfn) {
    // SAFETY: passed on.
    match unsafe { frames.from_pfn(pfn, Order::BASE) } {
        Ok(frame) => frames.free(pinned, frame),
        Err(fault) => impossible!("an entry refers to a frame that is allocated: {fault}"),
    }
}

/// Copies a page.
///
/// # Safety
/// The frame `from` is in use, in the direct map, and nothing writes it meanwhile.
pub(crate) unsafe fn copy<M: Machine>(frames: &Frames<M>, from: Pfn, to: &mut Frame) {
    let machine = frames.machine();
    let (from, to) = (machine.direct(from.addr()), machine.direct(to.addr()));
    // SAFETY: both are pages of the direct map (I1): `to` is borrowed exclusively, and the caller promises the same of
    // `from` for reads. They are different frames, because the holder of `to` is its only one.
    unsafe {
        core::ptr::copy_nonoverlapping(
            from.as_ptr::<u8>(),
            to.as_mut_ptr::<u8>(),
            PageSize::Size4K.bytes() as usize,
        );
    }
}
