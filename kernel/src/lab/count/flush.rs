//! Flushes on all CPUs. CPUs that idle are left to flush when they wake, unless an entry that refers to a table was
//! removed.

use rhumb_machine::{PageSize, VirtRange};
use rhumb_mark::RegionId;
use rhumb_pagetable::{FlushBatch, FlushCause};

use super::{Operation, Region, number};
use crate::cpu::tlb;
use crate::facts::Boot;
use crate::lab::failure::Failure;
use crate::layout;

pub const REGIONS: &[Region] = &[Region::of::<Page>(), Region::of::<Everything>(), Region::of::<Table>()];

/// Returns where nothing is mapped: flushing it changes nothing.
fn page() -> VirtRange {
    layout::range(layout::SCRATCH, PageSize::Size4K.bytes())
}

struct Page;

impl Operation for Page {
    const ID: RegionId = number(96);
    const NAME: &'static str = "flush/page";
    const SUMMARY: &'static str = "flush one page everywhere; CPUs that idle flush later";

    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        Ok(Self)
    }

    #[inline(always)]
    fn run(&mut self) {
        let mut batch = FlushBatch::new();
        batch.add_leaf(page(), PageSize::Size4K);
        let _ticket = tlb::flush_everywhere(&mut batch, FlushCause::Other);
    }
}

struct Everything;

impl Operation for Everything {
    const ID: RegionId = number(97);
    const NAME: &'static str = "flush/all";
    const SUMMARY: &'static str = "flush every translation everywhere; CPUs that idle flush later";

    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        Ok(Self)
    }

    #[inline(always)]
    fn run(&mut self) {
        let mut batch = FlushBatch::new();
        batch.add_everything();
        let _ticket = tlb::flush_everywhere(&mut batch, FlushCause::Other);
    }
}

struct Table;

impl Operation for Table {
    const ID: RegionId = number(98);
    const NAME: &'static str = "flush/table";
    const SUMMARY: &'static str = "flush one entry that referred to a table; CPUs that idle are interrupted";

    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        Ok(Self)
    }

    #[inline(always)]
    fn run(&mut self) {
        let mut batch = FlushBatch::new();
        batch.add_table(page().start());
        let _ticket = tlb::flush_everywhere(&mut batch, FlushCause::Other);
    }
}
