//! Frames out of the direct map: from a block that is out already, and what the first and the last of a block cost.

use rhumb_frames::{Frame, Unmapped};
use rhumb_machine::Order;
use rhumb_mark::RegionId;
use rhumb_unmapped::UnmappedPool;

use super::refusals::Refusals;
use super::{Operation, Region, number, window};
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::owners;
use crate::mm::unmapped::{self, KernelHome, give, take};

pub const REGIONS: &[Region] = &[
    Region::of::<Within<Take>>(),
    Region::of::<Within<Give>>(),
    Region::of::<Across<Take>>(),
    Region::of::<Across<Give>>(),
];

/// Which half is measured.
pub trait Half {
    const INDEX: usize;
}

/// A frame is taken.
pub struct Take;

impl Half for Take {
    const INDEX: usize = 0;
}

/// It is given back.
pub struct Give;

impl Half for Give {
    const INDEX: usize = 1;
}

/// The frame that goes to and fro.
struct Toggle {
    frame: Option<Frame<Unmapped>>,
    refusals: Refusals,
}

impl Toggle {
    #[inline(always)]
    fn take(&mut self) {
        match take(owners::COUNT, Order::BASE) {
            Ok(frame) => self.frame = Some(frame),
            Err(_) => self.refusals.add(1),
        }
    }

    #[inline(always)]
    fn give(&mut self) {
        match self.frame.take().map(give) {
            Some(Ok(())) => {}
            _ => self.refusals.add(1),
        }
    }
}

fn the_pool() -> Result<&'static UnmappedPool<KernelHome>, Failure> {
    unmapped::pool().ok_or_else(|| Failure::because("there is no pool"))
}

/// A frame of a block of which another is out all the time.
struct Within<H> {
    toggle: Toggle,
    other: Frame<Unmapped>,
    _half: core::marker::PhantomData<H>,
}

impl<H: Half> Operation for Within<H> {
    const ID: RegionId = number(160 + H::INDEX as u16);
    const NAME: &'static str = ["pool/take", "pool/give"][H::INDEX];
    const SUMMARY: &'static str = [
        "take a 4-KiB frame of a block that is out of the direct map already",
        "give a 4-KiB frame back, which zeroes it through a window; its block stays",
    ][H::INDEX];

    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let other = take(owners::COUNT, Order::BASE).map_err(Failure::because)?;
        Ok(Self {
            toggle: Toggle { frame: None, refusals: Refusals::NONE },
            other,
            _half: core::marker::PhantomData,
        })
    }

    fn before(&mut self) {
        // So that each run uses the same window.
        self.toggle.refusals.note(&window::wrap(&mut self.other));
        if H::INDEX == Give::INDEX {
            self.toggle.take();
        }
    }

    #[inline(always)]
    fn run(&mut self) {
        if H::INDEX == Take::INDEX { self.toggle.take() } else { self.toggle.give() }
    }

    fn after(&mut self) {
        if H::INDEX == Take::INDEX {
            self.toggle.give();
        }
    }

    fn finish(self) -> Result<(), Failure> {
        give(self.other).map_err(|refused| Failure::because(refused.error))?;
        unmapped::shrink();
        self.toggle.refusals.must_be_none()
    }
}

/// The first frame of a block, and its last: the block leaves the map and comes back.
struct Across<H> {
    toggle: Toggle,
    kept: u64,
    blocks_before: u64,
    runs: u64,
    _half: core::marker::PhantomData<H>,
}

impl<H: Half> Operation for Across<H> {
    const ID: RegionId = number(162 + H::INDEX as u16);
    const NAME: &'static str = ["pool/grow", "pool/shed"][H::INDEX];
    const SUMMARY: &'static str = [
        "take a 4-KiB frame where no block has room: one of 2 MiB is cleared and leaves the direct map",
        "give the last 4-KiB frame of a block back where no spare block is kept: it returns to the direct map",
    ][H::INDEX];

    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let pool = the_pool()?;
        unmapped::shrink();
        let kept = pool.keep_blocks(0);
        Ok(Self {
            toggle: Toggle { frame: None, refusals: Refusals::NONE },
            kept,
            blocks_before: pool.counters().blocks_taken,
            runs: 0,
            _half: core::marker::PhantomData,
        })
    }

    fn before(&mut self) {
        self.runs += 1;
        if H::INDEX == Give::INDEX {
            self.toggle.take();
            let wrapped = self.toggle.frame.as_mut().map(window::wrap);
            self.toggle.refusals.add(u32::from(!matches!(wrapped, Some(Ok(())))));
        }
    }

    #[inline(always)]
    fn run(&mut self) {
        if H::INDEX == Take::INDEX { self.toggle.take() } else { self.toggle.give() }
    }

    fn after(&mut self) {
        if H::INDEX == Take::INDEX {
            self.toggle.give();
        }
    }

    fn finish(self) -> Result<(), Failure> {
        let pool = the_pool()?;
        pool.keep_blocks(self.kept);
        let blocks = pool.counters().blocks_taken - self.blocks_before;
        self.toggle.refusals.must_be_none()?;
        ensure!(blocks == self.runs, "{} frames took {blocks} blocks", self.runs);
        Ok(())
    }
}
