//! Frames out of the direct map: from a block that is out already, and what the first and the last of a block cost.

use rhumb_frames::{Frame, Unmapped};
use rhumb_machine::Order;
use rhumb_unmapped::UnmappedPool;

use super::refusals::Refusals;
use super::toggle::{Make, Toggle, Undo};
use super::window;
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::owners;
use crate::mm::unmapped::{self, KernelHome, give, take};

regions! {
    160: Make<Within>, "pool/take", "take a 4-KiB frame of a block that is out of the direct map already";
    161: Undo<Within>, "pool/give", "give a 4-KiB frame back, which zeroes it through a window; its block stays";
    162: Make<Across>, "pool/grow",
        "take a 4-KiB frame where no block has room: one of 2 MiB is cleared and leaves the direct map";
    163: Undo<Across>, "pool/shed",
        "give the last 4-KiB frame of a block back where no spare block is kept: it returns to the direct map";
}

/// The frame that goes out and comes back.
struct Shuttle {
    frame: Option<Frame<Unmapped>>,
    refusals: Refusals,
}

impl Shuttle {
    const EMPTY: Self = Self { frame: None, refusals: Refusals::NONE };

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
struct Within {
    shuttle: Shuttle,
    other: Frame<Unmapped>,
}

impl Toggle for Within {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let other = take(owners::COUNT, Order::BASE).map_err(Failure::because)?;
        Ok(Self { shuttle: Shuttle::EMPTY, other })
    }

    fn before(&mut self) {
        // So that each run uses the same window.
        self.shuttle.refusals.note(&window::wrap(&mut self.other));
    }

    #[inline(always)]
    fn make(&mut self) {
        self.shuttle.take();
    }

    #[inline(always)]
    fn undo(&mut self) {
        self.shuttle.give();
    }

    fn finish(self) -> Result<(), Failure> {
        give(self.other).map_err(|refused| Failure::because(refused.error))?;
        unmapped::shrink();
        self.shuttle.refusals.must_be_none()
    }
}

/// The first frame of a block, and its last: the block leaves the map and comes back.
struct Across {
    shuttle: Shuttle,
    kept: u64,
    blocks_before: u64,
    runs: u64,
}

impl Toggle for Across {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let pool = the_pool()?;
        unmapped::shrink();
        let kept = pool.keep_blocks(0);
        Ok(Self { shuttle: Shuttle::EMPTY, kept, blocks_before: pool.counters().blocks_taken, runs: 0 })
    }

    fn before(&mut self) {
        self.runs += 1;
    }

    #[inline(always)]
    fn make(&mut self) {
        self.shuttle.take();
    }

    fn before_undo(&mut self) {
        let wrapped = self.shuttle.frame.as_mut().map(window::wrap);
        self.shuttle.refusals.add(u32::from(!matches!(wrapped, Some(Ok(())))));
    }

    #[inline(always)]
    fn undo(&mut self) {
        self.shuttle.give();
    }

    fn finish(self) -> Result<(), Failure> {
        let pool = the_pool()?;
        pool.keep_blocks(self.kept);
        let blocks = pool.counters().blocks_taken - self.blocks_before;
        self.shuttle.refusals.must_be_none()?;
        ensure!(blocks == self.runs, "{} frames took {blocks} blocks", self.runs);
        Ok(())
    }
}
