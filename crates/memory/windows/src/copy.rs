//! Copies to and from frames that the direct map does not show, a page at a time.
//!
//! Each page is done through one window, with interrupts off for that page alone.

use rhumb_frames::{Frame, Presence};
use rhumb_machine::{PageSize, Pfn, Tlb};

use crate::error::{CopyError, OutOfFrame, WindowError};
use crate::slots::Place;
use crate::{Window, WindowTables, Windows};

const PAGE_BYTES: u64 = PageSize::Size4K.bytes();

/// A stretch of one page, and its place in the whole.
struct Part {
    page: Pfn,
    offset: u64,
    at: usize,
    bytes: usize,
}

/// Cuts `bytes` bytes at `offset` of a frame into parts of one page each.
fn parts<P: Presence>(
    frame: &Frame<P>,
    offset: u64,
    bytes: usize,
) -> Result<impl Iterator<Item = Part> + use<P>, OutOfFrame> {
    let (size_bytes, length) = (frame.order().bytes(), bytes as u64);
    let Some(end) = offset.checked_add(length).filter(|&end| end <= size_bytes) else {
        return Err(OutOfFrame { offset, bytes: length, size_bytes });
    };
    let first = frame.pfn();
    let mut next = offset;
    Ok(core::iter::from_fn(move || {
        let here = next;
        if here >= end {
            return None;
        }
        next = (here / PAGE_BYTES + 1).saturating_mul(PAGE_BYTES).min(end);
        Some(Part {
            page: first.plus(here / PAGE_BYTES),
            offset: here % PAGE_BYTES,
            at: (here - offset) as usize,
            bytes: (next - here) as usize,
        })
    }))
}

impl<M: Tlb, T: WindowTables> Windows<M, T> {
    /// Writes `bytes` into a frame, from `offset` on.
    ///
    /// # Errors
    /// The stretch is not within the frame; the frame is another allocator's; the CPU has no windows.
    ///
    /// Cost: a window for each page.
    pub fn copy_to<P: Presence>(
        &self,
        frame: &mut Frame<P>,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), CopyError> {
        self.check(frame)?;
        for part in parts(frame, offset, bytes.len())? {
            let piece = bytes.get(part.at..part.at + part.bytes).unwrap_or_default();
            self.with_copied(part.page, |window| window.copy_to(part.offset, piece))?;
        }
        Ok(())
    }

    /// Reads from a frame into `bytes`, from `offset` on.
    ///
    /// # Errors
    /// As [`Windows::copy_to`].
    ///
    /// Cost: a window for each page.
    pub fn copy_from<P: Presence>(
        &self,
        frame: &Frame<P>,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<(), CopyError> {
        self.check(frame)?;
        for part in parts(frame, offset, bytes.len())? {
            let piece = bytes.get_mut(part.at..part.at + part.bytes).unwrap_or_default();
            self.with_copied(part.page, |window| window.copy_from(part.offset, piece))?;
        }
        Ok(())
    }

    /// Copies the contents of `from` into `to`: of both as much as the smaller one has.
    ///
    /// # Errors
    /// A frame is another allocator's; the CPU has no windows, or this caller has two open. The pages before the error
    /// were copied.
    ///
    /// Cost: two windows for each page.
    pub fn copy<P: Presence, Q: Presence>(
        &self,
        from: &Frame<P>,
        to: &mut Frame<Q>,
    ) -> Result<(), CopyError> {
        self.check(from)?;
        self.check(to)?;
        let pages = from.frames().iter().zip(to.frames().iter());
        pages.into_iter().try_for_each(|(source, target)| self.copy_between(source, target))
    }

    /// Copies page `page` (0 for a frame of order 0) of `from` into page `page` of `to`.
    ///
    /// # Errors
    /// A frame has no such page, or is another allocator's; the CPU has no windows, or this caller has two open.
    ///
    /// Cost: two windows.
    pub fn copy_page<P: Presence, Q: Presence>(
        &self,
        from: &Frame<P>,
        to: &mut Frame<Q>,
        page: u64,
    ) -> Result<(), CopyError> {
        self.check(from)?;
        self.check(to)?;
        let pages = from.order().frames().min(to.order().frames());
        if page >= pages {
            return Err(WindowError::NoSuchPage { page, pages }.into());
        }
        self.copy_between(from.pfn().plus(page), to.pfn().plus(page))
    }

    fn copy_between(&self, source: Pfn, target: Pfn) -> Result<(), CopyError> {
        self.with_copied(source, |source| Ok(self.with_copied(target, |target| target.copy_all(source))))?
    }

    /// Clears a frame.
    ///
    /// # Errors
    /// The frame is another allocator's; the CPU has no windows.
    ///
    /// Cost: a window for each page.
    pub fn zero<P: Presence>(&self, frame: &mut Frame<P>) -> Result<(), CopyError> {
        self.check(frame)?;
        for page in frame.frames().iter() {
            self.with_copied(page, |window| window.zero(0, PAGE_BYTES as usize))?;
        }
        Ok(())
    }

    fn with_copied<A>(
        &self,
        page: Pfn,
        act: impl FnOnce(&mut Window<'_, T>) -> Result<A, OutOfFrame>,
    ) -> Result<A, CopyError> {
        Ok(self.with_pfn(page, Place::Caller, act)??)
    }
}
