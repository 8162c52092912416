//! Changes of the direct map: one page of a whole 2-MiB block, one of a block that is split already, and a whole
//! block.
//!
//! CPUs that idle are left to flush later where entries changed. They are interrupted where a table was removed, so for
//! each merge.

use rhumb_directmap::Change;
use rhumb_frames::{Frame, Request};
use rhumb_machine::{Machine, PfnRange};
use rhumb_mark::RegionId;

use super::{Operation, Region, number};
use crate::cpu::machine::MACHINE;
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::owners;
use crate::lab::sizes::frames_from;
use crate::mm::direct_map::{Changed, HeldFrames, alter, change, restore, table_supply};
use crate::mm::frames::frames;

pub const REGIONS: &[Region] = &[
    Region::of::<Toggle<Page, Make, 144>>(),
    Region::of::<Toggle<Page, Undo, 145>>(),
    Region::of::<Toggle<Block, Make, 146>>(),
    Region::of::<Toggle<Block, Undo, 147>>(),
    Region::of::<Toggle<PageOfBroken, Make, 148>>(),
    Region::of::<Toggle<PageOfBroken, Undo, 149>>(),
    Region::of::<Code<Make, 150>>(),
    Region::of::<Code<Undo, 151>>(),
];

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
    /// A page that breaks the block all the time, if any.
    const BREAKER: Option<u64> = None;
    const NAMES: [&'static str; 2];
    const SUMMARIES: [&'static str; 2];
}

/// One page in the middle of a whole block.
pub struct Page;

impl Extent for Page {
    const FRAMES: u64 = 1;
    const NAMES: [&'static str; 2] = ["directmap/split", "directmap/merge"];
    const SUMMARIES: [&'static str; 2] = [
        "take one page of a whole 2-MiB block out of the direct map",
        "put it back, which makes the block whole",
    ];
}

/// The block.
pub struct Block;

impl Extent for Block {
    const FRAMES: u64 = 512;
    const NAMES: [&'static str; 2] = ["directmap/remove", "directmap/restore"];
    const SUMMARIES: [&'static str; 2] =
        ["take a 2-MiB block out of the direct map", "put a 2-MiB block back into the direct map"];
}

/// One page of a block whose large page another page keeps split.
pub struct PageOfBroken;

impl Extent for PageOfBroken {
    const FRAMES: u64 = 1;
    const CHANGE: Change = Change::ReadOnly;
    const BREAKER: Option<u64> = Some(100);
    const NAMES: [&'static str; 2] = ["directmap/protect", "directmap/unprotect"];
    const SUMMARIES: [&'static str; 2] = [
        "make one page of a split 2-MiB block read-only (set_memory_ro)",
        "make it ordinary again; the block stays broken",
    ];
}

/// Which half of the pair is measured.
pub trait Half {
    const INDEX: usize;
}

/// The change.
pub struct Make;

impl Half for Make {
    const INDEX: usize = 0;
}

/// Its undoing.
pub struct Undo;

impl Half for Undo {
    const INDEX: usize = 1;
}

struct Toggle<E, H, const ID: u16> {
    block: Frame,
    breaker: Option<Changed<Part>>,
    part: Option<Part>,
    changed: Option<Changed<Part>>,
    failures: u32,
    _kind: core::marker::PhantomData<(E, H)>,
}

impl<E: Extent, H, const ID: u16> Toggle<E, H, ID> {
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
}

impl<E: Extent, H: Half, const ID: u16> Operation for Toggle<E, H, ID> {
    const ID: RegionId = number(ID);
    const NAME: &'static str = E::NAMES[H::INDEX];
    const SUMMARY: &'static str = E::SUMMARIES[H::INDEX];

    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let block = allocate()?;
        let first = if E::FRAMES == 1 { 200 } else { 0 };
        let range = frames_from(block.pfn().plus(first), E::FRAMES);
        let breaker = match E::BREAKER.and_then(|page| PfnRange::of_length(block.pfn().plus(page), 1)) {
            Some(page) => {
                let changed = change(Part(page), Change::ReadOnly, owners::COUNT, "keeps the block broken");
                Some(changed.map_err(|refused| Failure::because(refused.error))?)
            }
            None => None,
        };
        table_supply::fill();
        Ok(Self {
            block,
            breaker,
            part: Some(Part(range)),
            changed: None,
            failures: 0,
            _kind: core::marker::PhantomData,
        })
    }

    fn before(&mut self) {
        if H::INDEX == 1 {
            self.make();
        }
    }

    #[inline(always)]
    fn run(&mut self) {
        if H::INDEX == 0 { self.make() } else { self.undo() }
    }

    fn after(&mut self) {
        if H::INDEX == 0 {
            self.undo();
        }
    }

    fn finish(self) -> Result<(), Failure> {
        let failures = self.failures;
        let _ = self.breaker.map(restore);
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

/// A read-only page becomes executable, and is so no longer.
struct Code<H, const ID: u16> {
    block: Frame,
    changed: Changed<Part>,
    failures: u32,
    _half: core::marker::PhantomData<H>,
}

impl<H, const ID: u16> Code<H, ID> {
    #[inline(always)]
    fn allow(&mut self) {
        self.failures += u32::from(alter(&mut self.changed, Change::Execute).is_err());
    }

    #[inline(always)]
    fn forbid(&mut self) {
        self.failures += u32::from(alter(&mut self.changed, Change::NoExecute).is_err());
    }
}

impl<H: Half, const ID: u16> Operation for Code<H, ID> {
    const ID: RegionId = number(ID);
    const NAME: &'static str = ["directmap/x", "directmap/nx"][H::INDEX];
    const SUMMARY: &'static str = [
        "make a read-only page executable (set_memory_x)",
        "make it not executable any more (set_memory_nx)",
    ][H::INDEX];

    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let block = allocate()?;
        let page = frames_from(block.pfn().plus(200), 1);
        let changed = change(Part(page), Change::ReadOnly, owners::COUNT, "measured");
        let changed = changed.map_err(|refused| Failure::because(refused.error))?;
        Ok(Self { block, changed, failures: 0, _half: core::marker::PhantomData })
    }

    fn before(&mut self) {
        if H::INDEX == Undo::INDEX {
            self.allow();
        }
    }

    #[inline(always)]
    fn run(&mut self) {
        if H::INDEX == Make::INDEX { self.allow() } else { self.forbid() }
    }

    fn after(&mut self) {
        if H::INDEX == Make::INDEX {
            self.forbid();
        }
    }

    fn finish(self) -> Result<(), Failure> {
        let _ = restore(self.changed);
        free(self.block);
        ensure!(self.failures == 0, "{} changes were refused", self.failures);
        Ok(())
    }
}
