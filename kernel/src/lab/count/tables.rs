//! Page tables: a walk, and mapping and unmapping one page.

use core::hint::black_box;

use rhumb_frames::{Frame, Frames, Request};
use rhumb_machine::{Machine, PageSize, PhysAddr, PinGuard, VirtAddr, VirtRange};
use rhumb_pagetable::{Access, Attributes, EmptyTables, FlushCause, Mapper, Mapping};

use super::Operation;
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::tlb;
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::layout::image;
use crate::mm::direct_map::table_supply::stock::Stock;
use crate::mm::tables::{self, TablesGuard};
use crate::{layout, mm};

regions! {
    32: Walk, "tables/walk", "walk the tables for one address of the direct map";
    33: Pair, "tables/pair/4k", "map one page, unmap it, flush it everywhere; its tables exist";
}

/// The walk for an address of the direct map, with the lock held.
struct Walk {
    tables: TablesGuard,
    address: VirtAddr,
    wanted: PhysAddr,
    failures: u32,
}

impl Operation for Walk {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let wanted = image::physical(image::text()).start();
        // SAFETY: the tables are read and not written.
        let tables = unsafe { tables::writer() };
        Ok(Self { tables, address: MACHINE.direct(wanted), wanted, failures: 0 })
    }

    #[inline(always)]
    fn run(&mut self) {
        let walk = self.tables.walk(black_box(self.address));
        self.failures += u32::from(walk.phys() != Some(self.wanted));
    }

    fn finish(self) -> Result<(), Failure> {
        ensure!(self.failures == 0, "{} walks ended elsewhere", self.failures);
        Ok(())
    }
}

/// Tables below the root, with five levels.
const MOST_TABLES: u64 = 4;

/// One page, mapped and unmapped at a place whose tables exist, and flushed.
struct Pair {
    frames: &'static Frames<KernelMachine>,
    guard: PinGuard<'static, KernelMachine>,
    frame: Frame,
    mapping: Mapping,
    range: VirtRange,
    /// Tables down to the page.
    stock: Stock,
    failures: u32,
}

impl Pair {
    /// Maps and unmaps the page, and flushes it on every CPU.
    #[inline(always)]
    fn pair(&mut self, empty: EmptyTables) {
        // SAFETY: the mapper maps the operation's own frame at an address that is for such use alone.
        let mut memory = unsafe { tables::writer() };
        let mut mapper = Mapper::new(tables::root(), &mut *memory);
        let mapped = mapper.map(&self.mapping, &mut self.stock).is_ok();
        let Ok(unmapped) = mapper.unmap(self.range, empty) else {
            self.failures += 1;
            return;
        };
        let flushed = tlb::flush_unmapped(unmapped, FlushCause::KernelMap);
        // SAFETY: the kernel has one machine, one memory of tables, and stocks that share their frames.
        unsafe { flushed.release(&mut *memory, &mut self.stock) };
        self.failures += u32::from(!mapped);
    }
}

impl Operation for Pair {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let frames = mm::frames::frames().ok_or_else(|| Failure::because("there is no frame allocator"))?;
        let guard = MACHINE.pin();
        let frame = frames.alloc(guard.pinned(), Request::FRAME).map_err(Failure::because)?;
        let bytes = PageSize::Size4K.bytes();
        let mapping = Mapping {
            virt: layout::SCRATCH,
            phys: frame.frames().addrs(),
            attributes: Attributes::kernel(Access::ReadWrite),
            largest: PageSize::Size4K,
        };
        let range = layout::range(layout::SCRATCH, bytes);
        Ok(Self { frames, guard, frame, mapping, range, stock: Stock::fetch(MOST_TABLES), failures: 0 })
    }

    #[inline(always)]
    fn run(&mut self) {
        self.pair(EmptyTables::Keep);
    }

    fn finish(mut self) -> Result<(), Failure> {
        // Once more, now without leaving tables but for the root's, which stay in the kernel's half.
        self.pair(EmptyTables::DetachBelowRoot);
        self.frames.free(self.guard.pinned(), self.frame);
        self.stock.release();
        ensure!(self.failures == 0, "{} pages were not mapped and unmapped", self.failures);
        Ok(())
    }
}
