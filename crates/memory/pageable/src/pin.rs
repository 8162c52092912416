//! [`Pin`] and [`PinMut`]: pages that stay in memory while the value lives; copies, a page at a time. A leaf where
//! `unsafe` lives.
//!
//! The borrow of the area is what makes slices sound: pages that are pinned to be written are borrowed exclusively.
#![expect(unsafe_code, reason = "touches pages that are pinned")]

use core::ops::Range;

use rhumb_machine::{Machine, VirtAddr, impossible};

use crate::entry::{Present, State};
use crate::error::PageError;
use crate::fault::Pinning;
use crate::home::{PAGE_BYTES, PageBytes, PageHome, RealAddresses};
use crate::may_fault::MayFault;
use crate::pageable::{Pageable, PageableArea};
use crate::store::Store;

/// Pages that are in memory, and stay there until the value is dropped. A value that is forgotten keeps them there until
/// the area is given back.
#[must_use = "the pages are loose again when the pin is dropped"]
pub struct Pin<'a, 'all, H: PageHome + 'static, S: Store> {
    area: &'a PageableArea<'all, H, S>,
    pages: Range<u64>,
}

/// Pages that are in memory to be written, as [`Pin`].
///
/// ```compile_fail,E0502
/// use rhumb_pageable::{MayFault, PageHome, PageableArea, Store};
/// fn both<H: PageHome, S: Store>(mut area: PageableArea<'_, H, S>, may_fault: MayFault<'_>) {
///     let written = area.pin_mut(may_fault, 0..1);
///     let read = area.pin(may_fault, 0..1);
///     drop(written);
/// }
/// ```
#[must_use = "the pages are loose again when the pin is dropped"]
pub struct PinMut<'a, 'all, H: PageHome + 'static, S: Store>(Pin<'a, 'all, H, S>);

impl<'all, H: PageHome + 'static, S: Store> PageableArea<'all, H, S> {
    /// Brings pages into memory, and keeps them there while the value lives.
    ///
    /// # Errors
    /// [`PageError`]; no page is pinned then.
    ///
    /// Cost: for each page two holds of a lock; what faults cost where pages are not in memory.
    pub fn pin(&self, may_fault: MayFault<'_>, pages: Range<u64>) -> Result<Pin<'_, 'all, H, S>, PageError> {
        self.all.check(may_fault)?;
        if pages.start > pages.end || pages.end > self.pages() {
            return Err(PageError::OutOfArea);
        }
        let guard = self.all.home.machine().pin();
        // As far as the loop has come, so that the pages are loose again where one cannot be had.
        let mut pin = Pin { area: self, pages: pages.start..pages.start };
        for page in pages {
            self.all.make_present(guard.pinned(), self.address_of(page), Pinning::Pinned)?;
            pin.pages.end = page + 1;
        }
        Ok(pin)
    }

    /// Brings pages into memory to be written, and keeps them there while the value lives.
    ///
    /// # Errors
    /// As [`PageableArea::pin`].
    pub fn pin_mut(
        &mut self,
        may_fault: MayFault<'_>,
        pages: Range<u64>,
    ) -> Result<PinMut<'_, 'all, H, S>, PageError> {
        self.pin(may_fault, pages).map(PinMut)
    }

    /// Copies bytes out of the area, from `offset` on.
    ///
    /// # Errors
    /// [`PageError`]; the pages before the error have been copied.
    pub fn read(&self, may_fault: MayFault<'_>, offset: u64, bytes: &mut [u8]) -> Result<(), PageError> {
        self.check_bytes(offset, bytes.len())?;
        let mut rest = bytes;
        for (page, within, length) in parts(offset, rest.len()) {
            let (part, others) = rest.split_at_mut(length);
            rest = others;
            let pin = self.pin(may_fault, page..page + 1)?;
            let from = pin.page(page).and_then(|bytes| bytes.get(within..within + length));
            part.copy_from_slice(from.ok_or(PageError::OutOfArea)?);
        }
        Ok(())
    }

    /// Copies bytes into the area, from `offset` on.
    ///
    /// # Errors
    /// [`PageError`]; the pages before the error have been written.
    pub fn write(&mut self, may_fault: MayFault<'_>, offset: u64, bytes: &[u8]) -> Result<(), PageError> {
        self.check_bytes(offset, bytes.len())?;
        let mut rest = bytes;
        for (page, within, length) in parts(offset, rest.len()) {
            let (part, others) = rest.split_at(length);
            rest = others;
            let mut pin = self.pin_mut(may_fault, page..page + 1)?;
            let to = pin.page_mut(page).and_then(|bytes| bytes.get_mut(within..within + length));
            to.ok_or(PageError::OutOfArea)?.copy_from_slice(part);
        }
        Ok(())
    }

    fn check_bytes(&self, offset: u64, length: usize) -> Result<(), PageError> {
        let end = offset.checked_add(length as u64);
        let has = end.is_some_and(|end| end <= self.range().bytes());
        if has { Ok(()) } else { Err(PageError::OutOfArea) }
    }

    const fn address_of(&self, page: u64) -> VirtAddr {
        self.start().plus(page * PAGE_BYTES as u64)
    }
}

impl<H: PageHome + 'static, S: Store> Pin<'_, '_, H, S> {
    /// Returns which pages of the area are pinned.
    pub const fn pages(&self) -> &Range<u64> {
        &self.pages
    }

    /// Returns a page, by its number in the area; `None` where it is not pinned.
    pub fn page(&self, page: u64) -> Option<&PageBytes> {
        let place = self.place(page)?;
        // SAFETY: the page is mapped while it is pinned, and this CPU reaches it there; a writer has borrowed the area
        // exclusively.
        Some(unsafe { &*place.cast::<PageBytes>() })
    }

    fn place(&self, page: u64) -> Option<*mut u8> {
        if !self.pages.contains(&page) {
            return None;
        }
        let address = self.area.address_of(page);
        match self.area.all.state(address) {
            State::Present(Present { pfn, .. }) => Some(self.area.all.home.place(address, pfn)),
            state => impossible!("the page at {address} is pinned, and {state:?}" => None),
        }
    }
}

impl<H: RealAddresses + 'static, S: Store> Pin<'_, '_, H, S> {
    /// Returns all pinned pages as one slice.
    pub fn bytes(&self) -> &[u8] {
        let (start, length) = self.extent();
        // SAFETY: as for `page`, and the home reaches each page at its own address, so that they are one behind the
        // other.
        unsafe { core::slice::from_raw_parts(start, length) }
    }

    fn extent(&self) -> (*mut u8, usize) {
        let start = self.area.address_of(self.pages.start).as_mut_ptr();
        (start, (self.pages.end - self.pages.start) as usize * PAGE_BYTES)
    }
}

impl<H: PageHome + 'static, S: Store> PinMut<'_, '_, H, S> {
    /// Returns a page to be read, by its number in the area; `None` where it is not pinned.
    pub fn page(&self, page: u64) -> Option<&PageBytes> {
        self.0.page(page)
    }

    /// Returns a page to be written, by its number in the area; `None` where it is not pinned.
    pub fn page_mut(&mut self, page: u64) -> Option<&mut PageBytes> {
        let place = self.0.place(page)?;
        // SAFETY: the page is mapped while it is pinned, and this CPU reaches it there; the area is borrowed exclusively,
        // and so is this value.
        Some(unsafe { &mut *place.cast::<PageBytes>() })
    }
}

impl<H: RealAddresses + 'static, S: Store> PinMut<'_, '_, H, S> {
    /// Returns all pinned pages as one slice.
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// Returns all pinned pages as one slice to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let (start, length) = self.0.extent();
        // SAFETY: as for `page_mut`, and the home reaches each page at its own address, so that they are one behind the
        // other.
        unsafe { core::slice::from_raw_parts_mut(start, length) }
    }
}

impl<H: PageHome + 'static, S: Store> Drop for Pin<'_, '_, H, S> {
    fn drop(&mut self) {
        for page in self.pages.clone() {
            self.area.all.unpin(self.area.address_of(page));
        }
    }
}

impl<H: PageHome + 'static, S: Store> Pageable<H, S> {
    fn unpin(&self, address: VirtAddr) {
        let was_pinned = self.change(address, |entry| match State::of(entry) {
            State::Present(present @ Present { pins: 1.., .. }) => {
                (Some(State::Present(Present { pins: present.pins - 1, ..present })), true)
            }
            _ => (None, false),
        });
        if was_pinned != Some(true) {
            impossible!("the page at {address} was pinned");
        }
    }
}

/// Cuts `length` bytes from `offset` on into parts of one page each: the page, where in it, and how many.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let (bytes, end) = (PAGE_BYTES as u64, offset + length as u64);
    let mut at = offset;
    core::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let (page, within) = (at / bytes, (at % bytes) as usize);
        let part = (PAGE_BYTES - within).min((end - at) as usize);
        at += part as u64;
        Some((page, within, part))
    })
}
