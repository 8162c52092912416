//! Changes of the direct map: one page of a whole 2-MiB block, one of a block that is split already, and a whole
//! block.
//!
//! CPUs that idle are left to flush later. A merge flushes nothing, and the split after it takes the block's table back:
//! so the first two are what a page costs that goes and comes again and again.

use core::marker::PhantomData;

use rhumb_directmap::Change;
use rhumb_frames::{Frame, Request};
use rhumb_machine::{Machine, PfnRange};

use super::toggle::{Make, Toggle, Undo};
use crate::cpu::machine::MACHINE;
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::owners;
use crate::lab::sizes::frames_from;
use crate::mm::direct_map::{Changed, HeldFrames, alter, change, restore, table_supply};
use crate::mm::frames::frames;

regions! {
    144: Make<Changing<Page>>, "directmap/split", "take one page of a whole 2-MiB block out of the direct map";
    145: Undo<Changing<Page>>, "directmap/merge", "put it back, which merges the block";
    146: Make<Changing<Block>>, "directmap/remove", "take a 2-MiB block out of the direct map";
    147: Undo<Changing<Block>>, "directmap/restore", "put a 2-MiB block back into the direct map";
    148: Make<Changing<PageOfSplit>>, "directmap/protect",
        "make one page of a split 2-MiB block read-only (set_memory_ro)";
    149: Undo<Changing<PageOfSplit>>, "directmap/unprotect", "make it ordinary again; the block stays split";
    150: Make<Code>, "directmap/x", "make a read-only page executable (set_memory_x)";
    151: Undo<Code>, "directmap/nx", "make it not executable any more (set_memory_nx)";
}

/// Frames of a 2-MiB block that the operation holds.
pub struct Part(PfnRange);

// SAFETY: the operation holds the block as long as it runs.
unsafe impl HeldFrames for Part {
    fn range(&self) -> PfnRange {
        self.0
    }
}

/// The frames that are changed.
pub trait Extent {
    const FRAMES: u64;
    const CHANGE: Change = Change::NotPresent;
    /// A page that keeps the block split all the time, if any.
    const SPLITTER: Option<u64> = None;
}

/// One page in the middle of a whole block.
pub struct Page;

impl Extent for Page {
    const FRAMES: u64 = 1;
}

/// The block.
pub struct Block;

impl Extent for Block {
    const FRAMES: u64 = 512;
}

/// One page of a block whose large page another page keeps split.
pub struct PageOfSplit;

impl Extent for PageOfSplit {
    const FRAMES: u64 = 1;
    const CHANGE: Change = Change::ReadOnly;
    const SPLITTER: Option<u64> = Some(100);
}

/// A change of these frames, and its undoing.
struct Changing<E> {
    block: Frame,
    splitter: Option<Changed<Part>>,
    part: Option<Part>,
    changed: Option<Changed<Part>>,
    failures: u32,
    _extent: PhantomData<E>,
}

impl<E: Extent> Toggle for Changing<E> {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let block = allocate()?;
        let first = if E::FRAMES == 1 { 200 } else { 0 };
        let range = frames_from(block.pfn().plus(first), E::FRAMES);
        let splitter = match E::SPLITTER.and_then(|page| PfnRange::of_length(block.pfn().plus(page), 1)) {
            Some(page) => {
                let changed = change(Part(page), Change::ReadOnly, owners::COUNT, "keeps the block split");
                Some(changed.map_err(|refused| Failure::because(refused.error))?)
            }
            None => None,
        };
        table_supply::fill();
        let part = Some(Part(range));
        Ok(Self { block, splitter, part, changed: None, failures: 0, _extent: PhantomData })
    }

    #[inline(always)]
    fn make(&mut self) {
        let Some(part) = self.part.take() else { return };
        match change(part, E::CHANGE, owners::COUNT, "measured") {
            Ok(changed) => self.changed = Some(changed),
            Err(refused) => {
                self.failures += 1;
                self.part = Some(refused.frames);
            }
        }
    }

    #[inline(always)]
    fn undo(&mut self) {
        self.part = self.changed.take().map(restore).or(self.part.take());
    }

    fn finish(self) -> Result<(), Failure> {
        let failures = self.failures;
        let _ = self.splitter.map(restore);
        free(self.block);
        ensure!(failures == 0, "{failures} changes were refused");
        Ok(())
    }
}

fn allocate() -> Result<Frame, Failure> {
    let frames = frames().ok_or_else(|| Failure::because("there is no frame allocator"))?;
    let guard = MACHINE.pin();
    frames.alloc(guard.pinned(), Request::LARGE.owner(owners::COUNT.in_frames())).map_err(Failure::because)
}

fn free(block: Frame) {
    let Some(frames) = frames() else { return };
    let guard = MACHINE.pin();
    frames.free(guard.pinned(), block);
}

/// A read-only page that becomes executable, and then not executable again.
struct Code {
    block: Frame,
    changed: Changed<Part>,
    failures: u32,
}

impl Code {
    #[inline(always)]
    fn alter(&mut self, change: Change) {
        self.failures += u32::from(alter(&mut self.changed, change).is_err());
    }
}

impl Toggle for Code {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let block = allocate()?;
        let page = frames_from(block.pfn().plus(200), 1);
        let changed = change(Part(page), Change::ReadOnly, owners::COUNT, "measured");
        let changed = changed.map_err(|refused| Failure::because(refused.error))?;
        Ok(Self { block, changed, failures: 0 })
    }

    #[inline(always)]
    fn make(&mut self) {
        self.alter(Change::Execute);
    }

    #[inline(always)]
    fn undo(&mut self) {
        self.alter(Change::NoExecute);
    }

    fn finish(self) -> Result<(), Failure> {
        let _ = restore(self.changed);
        free(self.block);
        ensure!(self.failures == 0, "{} changes were refused", self.failures);
        Ok(())
    }
}
