//! Pages of the user half, for tests of what the kernel does with the memory of programs.

use arrayvec::ArrayVec;
use rhumb_frames::{Frame, Request};
use rhumb_machine::{Machine, PageSize, VirtAddr, VirtRange};
use rhumb_pagetable::{Access, Attributes, EmptyTables, FlushCause, Mapper, Mapping, Privilege, Scope};

use super::failure::Failure;
use super::owners;
use crate::cpu::machine::MACHINE;
use crate::cpu::tlb;
use crate::mm::direct_map::table_supply::stock::Stock;
use crate::mm::tables;
use crate::{layout, mm};

const PAGE: u64 = PageSize::Size4K.bytes();
/// Pages of one value at most.
const MOST: usize = 4;
/// Tables below the root, with five levels.
const MOST_TABLES: u64 = 4;

/// Zeroed pages in the user half of the kernel's tree, until they go.
pub struct UserPages {
    range: VirtRange,
    frames: ArrayVec<Frame, MOST>,
}

impl UserPages {
    /// Maps pages from `start` on, one for each of `access`. No other code uses these addresses.
    pub fn map(start: VirtAddr, access: &[Access]) -> Result<Self, Failure> {
        let frames = mm::frames::frames().ok_or_else(|| Failure::because("there is no frame allocator"))?;
        let mut pages = Self { range: layout::range(start, 0), frames: ArrayVec::new() };
        for (index, &access) in access.iter().take(MOST).enumerate() {
            let frame = {
                let guard = MACHINE.pin();
                let request = Request::FRAME.zeroed().owner(owners::SELF_TEST.in_frames());
                frames.alloc(guard.pinned(), request).map_err(Failure::skipped)?
            };
            let attributes = Attributes {
                privilege: Privilege::User,
                scope: Scope::AddressSpace,
                ..Attributes::kernel(access)
            };
            let mapping = Mapping {
                virt: start.plus(index as u64 * PAGE),
                phys: frame.frames().addrs(),
                attributes,
                largest: PageSize::Size4K,
            };
            pages.frames.push(frame);
            let mut stock = Stock::fetch(MOST_TABLES);
            let mapped = {
                // SAFETY: the mapper maps a frame of this value's at addresses that are for it alone.
                let mut memory = unsafe { tables::writer() };
                Mapper::new(tables::root(), &mut *memory).map(&mapping, &mut stock).map(|_| ())
            };
            stock.release();
            mapped.map_err(Failure::because)?;
            pages.range = layout::range(start, (index as u64 + 1) * PAGE);
        }
        Ok(pages)
    }

    /// Returns their addresses.
    pub fn range(&self) -> VirtRange {
        self.range
    }

    /// Returns where the kernel finds a page's bytes.
    pub fn direct(&self, page: usize) -> Option<VirtAddr> {
        self.frames.get(page).map(|frame| MACHINE.direct(frame.pfn().addr()))
    }
}

impl Drop for UserPages {
    fn drop(&mut self) {
        if self.range.bytes() > 0 {
            let mut stock = Stock::default();
            // SAFETY: the mapper unmaps pages of this value's alone.
            let mut memory = unsafe { tables::writer() };
            let unmapped = Mapper::new(tables::root(), &mut *memory).unmap(self.range, EmptyTables::Detach);
            if let Ok(unmapped) = unmapped {
                let flushed = tlb::flush_unmapped(unmapped, FlushCause::Other);
                // SAFETY: the kernel has one machine, one memory of tables, and stocks that share their frames.
                unsafe { flushed.release(&mut *memory, &mut stock) };
            }
            drop(memory);
            stock.release();
        }
        let Some(frames) = mm::frames::frames() else { return };
        let guard = MACHINE.pin();
        self.frames.drain(..).for_each(|frame| frames.free(guard.pinned(), frame));
    }
}
