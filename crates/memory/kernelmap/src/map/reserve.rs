//! Areas of pageable memory: the map gives addresses, tables and flushes, and the entries are their holder's.
//!
//! The pages of such an area have entries of 4 KiB each, whatever its size, so that each can come and go. The map looks
//! at the entries of the area when it is given back: a page that is present then goes with the area, as every page of the
//! map does. All other entries are clear by then.

use rhumb_frames::Owner;
use rhumb_machine::Pinned;
use rhumb_pagetable::FlushBatch;

use super::KernelMap;
use super::area::{Area, AreaKind, MOST_PAGES};
use super::error::AreaError;
use super::flushes::flush_exactly;
use super::home::Home;

impl<H: Home> KernelMap<H> {
    /// Takes addresses for `pages` pages, and maps nothing there.
    ///
    /// # Errors
    /// [`AreaError`]; nothing has changed then, but for tables that stay.
    ///
    /// Called with no lock held for which an interrupt handler waits: see [`Home::flush`].
    ///
    /// Cost: a table for each 512 pages of addresses that had no small area before.
    pub fn reserve(&self, pinned: Pinned<'_>, pages: u64, owner: Owner) -> Result<Area, AreaError> {
        if pages == 0 {
            return Err(AreaError::Empty);
        }
        let small = self.regions.first().filter(|_| pages <= MOST_PAGES);
        let region = small.ok_or(AreaError::TooLarge(pages))?;
        self.take_area(pinned, region, AreaKind::Pageable, owner, (0, pages))
    }

    /// Drops translations on every CPU that may have them cached. Tells whether it was done, as the home should.
    ///
    /// Called with no lock held for which an interrupt handler waits: see [`Home::flush`].
    pub fn flush(&self, pinned: Pinned<'_>, batch: FlushBatch) -> bool {
        batch.is_empty() || flush_exactly(&self.home, pinned, |flushed| *flushed = batch)
    }
}
