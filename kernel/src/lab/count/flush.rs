//! Flushes on all CPUs. CPUs that idle are left to flush when they wake, unless an entry that refers to a table was
//! removed.

use rhumb_machine::{PageSize, VirtRange};
use rhumb_pagetable::{FlushBatch, FlushCause};

use super::Operation;
use crate::cpu::tlb;
use crate::facts::Boot;
use crate::lab::failure::Failure;
use crate::layout;

regions! {
    96: Page, "flush/page", "flush one page everywhere; CPUs that idle flush later";
    97: Everything, "flush/all", "flush every translation everywhere; CPUs that idle flush later";
    98: Table, "flush/table", "flush one entry that referred to a table; CPUs that idle are interrupted";
}

/// Returns where nothing is mapped: flushing it changes nothing.
fn page() -> VirtRange {
    layout::range(layout::SCRATCH, PageSize::Size4K.bytes())
}

struct Page;

impl Operation for Page {
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
