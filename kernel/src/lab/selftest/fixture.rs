//! Parts that tests of the direct map share: a 2-MiB block to change, and the state that a test must leave as it was.

use rhumb_frames::{Frame, Request};
use rhumb_machine::{Machine, Pfn, PfnRange};

use super::memory;
use crate::cpu::area;
use crate::cpu::machine::MACHINE;
use crate::debug::directmap::shape;
use crate::lab::failure::{Failure, ensure};
use crate::lab::owners::{self, Owner};
use crate::lab::sizes::frames_from;
use crate::mm::direct_map::{HeldFrames, Refused};
use crate::mm::{self, direct_map};

/// A 2-MiB block of ours.
pub(super) struct Large(Option<Frame>);

impl Large {
    pub(super) fn new() -> Result<Self, Failure> {
        let frames = mm::frames::frames().ok_or_else(|| Failure::because("there is no frame allocator"))?;
        let guard = MACHINE.pin();
        Ok(Self(Some(memory::take(frames, guard.pinned(), Request::LARGE)?)))
    }

    pub(super) fn start(&self) -> Pfn {
        self.0.as_ref().map_or(Pfn::new(0), Frame::pfn)
    }

    /// Returns some of its pages. A caller that asks for the same pages twice holds them twice.
    pub(super) fn pages(&self, first: u64, count: u64) -> Pages<'_> {
        let range = frames_from(self.start().plus(first), count);
        Pages { range, _of: self }
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        let (Some(frames), Some(frame)) = (mm::frames::frames(), self.0.take()) else { return };
        let guard = MACHINE.pin();
        frames.free(guard.pinned(), frame);
    }
}

#[derive(Debug)]
pub(super) struct Pages<'a> {
    range: PfnRange,
    _of: &'a Large,
}

impl core::fmt::Debug for Large {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.start())
    }
}

// SAFETY: the block is the test's. The map refuses a second hold of the same pages, and the tests
// check that it does.
unsafe impl HeldFrames for Pages<'_> {
    fn range(&self) -> PfnRange {
        self.range
    }
}

/// All that must be the same after a test.
#[derive(PartialEq)]
pub(super) struct State {
    shape: shape::Checksum,
    holds: u64,
    splits: u64,
}

impl State {
    pub(super) fn now() -> Result<Self, Failure> {
        direct_map::validate().map_err(Failure::because)?;
        let (holds, splits) =
            direct_map::with(|map| (map.hold_count(), map.split_count())).map_err(Failure::because)?;
        Ok(Self { shape: shape::of_tables(), holds, splits })
    }

    pub(super) fn must_be_now(self) -> Result<(), Failure> {
        let now = Self::now()?;
        ensure!(now.shape == self.shape, "the map was {}, and is {}", self.shape, now.shape);
        ensure!(now == self, "{} holds and {} splits are left over", now.holds, now.splits);
        Ok(())
    }
}

pub(super) const WHO: Owner = owners::SELF_TEST;

pub(super) fn wrong<F>(refused: Refused<F>) -> Failure {
    Failure::because(refused.error)
}

pub(super) fn counted(counter: fn(&area::Counters) -> &area::Counter) -> u64 {
    area::all().map(|area| counter(&area.counters).get()).sum()
}
