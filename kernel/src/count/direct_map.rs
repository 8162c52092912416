//! Changes of the direct map: one page of a whole 2-MiB block, and a whole block.
//!
//! CPUs that idle are left to flush later where entries changed, and are interrupted where a table went: so for each merge.

use rhumb_directmap::Change;
use rhumb_frames::{Frame, Request};
use rhumb_machine::{Machine, PfnRange};
use rhumb_mark::RegionId;

use super::{Operation, Region, number};
use crate::boot::Boot;
use crate::machine::MACHINE;
use crate::mm::direct_map::{Changed, Changer, HeldFrames, change, reserve, restore};
use crate::mm::frames::frames;
use crate::mm::owners::Holder;
use crate::selftest::{Wrong, ensure};

pub const REGIONS: &[Region] = &[
    Region::of::<Toggle<Page, Make, 144>>(),
    Region::of::<Toggle<Page, Undo, 145>>(),
    Region::of::<Toggle<Block, Make, 146>>(),
    Region::of::<Toggle<Block, Undo, 147>>(),
];

/// Frames of a 2-MiB block that the operation holds.
pub struct Part(PfnRange);

// SAFETY: the operation holds the block as long as it runs.
unsafe impl HeldFrames for Part {
    fn range(&self) -> PfnRange {
        self.0
    }
}

/// What is changed.
pub trait Extent {
    const FRAMES: u64;
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
    part: Option<Part>,
    changed: Option<Changed<Part>>,
    failures: u32,
    _kind: core::marker::PhantomData<(E, H)>,
}

impl<E, H, const ID: u16> Toggle<E, H, ID> {
    #[inline(always)]
    fn make(&mut self) {
        let Some(part) = self.part.take() else { return };
        match change(part, Change::NotPresent, Changer::Count, "measured") {
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

    fn prepare(_: &'static Boot) -> Result<Self, Wrong> {
        let frames = frames().ok_or_else(|| Wrong::because("there is no frame allocator"))?;
        let guard = MACHINE.pin();
        let request = Request::LARGE.owner(Holder::Count.owner());
        let block = frames.alloc(guard.pinned(), request).map_err(Wrong::because)?;
        let first = if E::FRAMES == 1 { 200 } else { 0 };
        let range = PfnRange::of_length(block.pfn().plus(first), E::FRAMES).unwrap_or_default();
        reserve::fill();
        Ok(Self {
            block,
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

    fn finish(self) -> Result<(), Wrong> {
        let failures = self.failures;
        if let Some(frames) = frames() {
            let guard = MACHINE.pin();
            frames.free(guard.pinned(), self.block);
        }
        ensure!(failures == 0, "{failures} changes were refused");
        Ok(())
    }
}
