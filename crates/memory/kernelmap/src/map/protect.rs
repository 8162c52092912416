//! Changing the rights of pages that are mapped. A large page of which a part changes is split, and is merged again
//! when its parts are alike.
//!
//! A table that takes the place of a large page has a mark in the entry that refers to it ([`bits::SOFTWARE`]), because
//! the frames under it are one block of the allocator still.

use core::convert::Infallible;
use core::ops::Range;

use arrayvec::ArrayVec;
use rhumb_machine::{PageSize, Pfn, Pinned, VirtAddr, VirtRange, impossible};
use rhumb_pagetable::edit::is_uniform;
use rhumb_pagetable::{Access, Attributes, ENTRIES, Entry, FlushBatch, Privilege, TableMemory, bits};

use super::KernelMap;
use super::area::{Area, AreaKind};
use super::claim::{Ended, claim, end_claim};
use super::error::AreaError;
use super::flushes::flush_exactly;
use super::home::Home;
use super::release::clear_split;

/// Tables that one change leaves: one of each size at each end of its range.
const MERGED: usize = 4;

impl<H: Home> KernelMap<H> {
    /// Gives pages of an area, counted from its first, other rights. On return no CPU has the old ones.
    ///
    /// # Errors
    /// [`AreaError`], [`AreaError::Busy`] among them where another CPU moves the area; all rights are as they were then.
    ///
    /// Cost: a write for each page, 513 for each large page of which only a part changes, and a flush.
    pub fn protect(
        &self,
        pinned: Pinned<'_>,
        area: &mut Area,
        pages: Range<u64>,
        access: Access,
    ) -> Result<(), AreaError> {
        if access == Access::ReadExecute {
            return Err(AreaError::Executable);
        }
        if area.kind != AreaKind::Memory {
            return Err(AreaError::NotMemory);
        }
        if !self.is_mine(area) {
            return Err(AreaError::Foreign);
        }
        if pages.start >= pages.end || pages.end > area.pages {
            return Err(AreaError::OutOfArea);
        }
        if !area.is_movable {
            return self.set_rights(pinned, area, pages, access);
        }
        claim(area)?;
        let result = self.set_rights(pinned, area, pages, access);
        if end_claim(area) == Ended::Freed {
            impossible!("the holder of an area gives it back");
        }
        result
    }

    fn set_rights(
        &self,
        pinned: Pinned<'_>,
        area: &Area,
        pages: Range<u64>,
        access: Access,
    ) -> Result<(), AreaError> {
        let mut tables = self.home.tables();
        for border in [pages.start, pages.end] {
            self.split_at(pinned, &mut tables, area, border)?;
        }
        let mut change = Change {
            pages: &pages,
            attributes: Attributes::kernel(access),
            batch: FlushBatch::new(),
            merged: ArrayVec::new(),
            start: area.start,
        };
        let per_unit = PageSize::from_level(area.level).map_or(1, PageSize::frames);
        let Ok(()) = self.for_each_entry_of(
            &mut tables,
            area.level,
            (area.held.range(), area.table),
            |tables, table, index, nth| {
                change.set(tables, table, index, area.level, nth * per_unit);
                Ok::<_, Infallible>(())
            },
        );
        let Change { batch, merged, .. } = change;
        if flush_exactly(&self.home, pinned, |flushed| *flushed = batch) {
            merged
                .into_iter()
                .for_each(|(table, level)| clear_split(&self.home, pinned, &mut tables, table, level));
        } else {
            impossible!("the home flushes the CPUs of its own machine");
        }
        Ok(())
    }

    /// Splits large pages until none reaches over the beginning of page `border` of an area.
    fn split_at(
        &self,
        pinned: Pinned<'_>,
        tables: &mut H::Tables,
        area: &Area,
        border: u64,
    ) -> Result<(), AreaError> {
        let per_unit = PageSize::from_level(area.level).map_or(1, PageSize::frames);
        if border.is_multiple_of(per_unit) {
            return Ok(());
        }
        let split = |tables: &mut H::Tables, table, index, nth| {
            if nth == border / per_unit {
                self.split_entry(pinned, tables, table, index, area.level, border % per_unit)
            } else {
                Ok(())
            }
        };
        self.for_each_entry_of(tables, area.level, (area.held.range(), area.table), split)
    }

    /// Splits the page of an entry, and that below it, until none reaches over its page `border`.
    fn split_entry(
        &self,
        pinned: Pinned<'_>,
        tables: &mut H::Tables,
        table: Pfn,
        index: usize,
        level: u8,
        border: u64,
    ) -> Result<(), AreaError> {
        let entry = tables.read(table, index);
        let Some((size, smaller)) =
            PageSize::from_level(level).and_then(|size| Some((size, size.smaller()?)))
        else {
            return Ok(());
        };
        let below = match (entry.child(level), entry.attributes(size)) {
            (Some(below), _) => below,
            (None, Some(attributes)) => {
                let below = self.take_table(pinned)?;
                let first = Entry::leaf(entry.phys(size), smaller, attributes);
                tables.write_run(below, 0, first, smaller.bytes(), ENTRIES);
                let marked = Entry::table(below, Privilege::Supervisor).bits() | bits::SOFTWARE;
                tables.write(table, index, Entry::from_bits(marked));
                below
            }
            (None, None) => return impossible!("{entry} maps pages that have rights" => Ok(())),
        };
        let (at, border) = (border / smaller.frames(), border % smaller.frames());
        if border == 0 {
            Ok(())
        } else {
            self.split_entry(pinned, tables, below, at as usize, level - 1, border)
        }
    }
}

/// A change of rights under way.
struct Change<'change> {
    pages: &'change Range<u64>,
    attributes: Attributes,
    batch: FlushBatch,
    /// Tables whose pages were merged, and their levels.
    merged: ArrayVec<(Pfn, u8), MERGED>,
    /// The first address of the area.
    start: VirtAddr,
}

impl Change<'_> {
    /// Sets the rights of the pages of an entry, as far as they change; the first of them is page `first` of the area.
    /// A recursion at most three deep.
    fn set<T: TableMemory>(&mut self, tables: &mut T, table: Pfn, index: usize, level: u8, first: u64) {
        let Some(size) = PageSize::from_level(level) else { return };
        let end = first + size.frames();
        if end <= self.pages.start || self.pages.end <= first {
            return;
        }
        let entry = tables.read(table, index);
        let is_whole = self.pages.start <= first && end <= self.pages.end;
        if let Some(below) = entry.child(level) {
            let step = size.smaller().map_or(1, PageSize::frames);
            for index in 0..ENTRIES {
                self.set(tables, below, index, level - 1, first + index as u64 * step);
            }
            let is_split = entry.bits() & bits::SOFTWARE != 0;
            if is_split && !self.merged.is_full() && is_uniform(tables, below, size) {
                let piece = tables.read(below, 0);
                if let Some(attributes) = size.smaller().and_then(|smaller| piece.attributes(smaller)) {
                    let phys = piece.phys(PageSize::Size4K).align_down(size);
                    tables.write(table, index, Entry::leaf(phys, size, attributes));
                    // CPUs have small translations of pages that did not change, too. None may outlive the small pages,
                    // because a flush of the large page drops a single one of them.
                    let page = VirtRange::of_length(self.address_of(first), size.bytes()).unwrap_or_default();
                    self.batch.add_table(page.start());
                    self.batch.add_leaf(page, PageSize::Size4K);
                    self.merged.push((below, level - 1));
                }
            }
        } else if entry.is_present() {
            debug_assert!(is_whole, "no page reaches over an end of the change");
            tables.write(table, index, Entry::leaf(entry.phys(size), size, self.attributes));
            let page = VirtRange::of_length(self.address_of(first), size.bytes()).unwrap_or_default();
            self.batch.add_leaf(page, size);
        }
    }

    const fn address_of(&self, page: u64) -> VirtAddr {
        self.start.plus(page * PageSize::Size4K.bytes())
    }
}
