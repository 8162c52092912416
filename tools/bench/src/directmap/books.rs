//! The cost of changing the map itself: looking up, writing entries, keeping its journal. No CPU is flushed.

use std::hint::black_box;

use rhumb_directmap::Change;
use rhumb_machine::{Pfn, PfnRange};

use super::stage::Stage;
use super::way::{Asked, Way};
use super::{Setting, Workload};
use crate::clock::ticks;
use crate::driver::{Outcome, Sample, Unfit};
use crate::stats::median;

/// Simulated RAM.
const RAM_BYTES: u64 = 32 << 30;
/// Frames of 1 GiB.
const GIB: u64 = 1 << 18;
/// Pairs of a full run.
const PAIRS: usize = 2000;

/// The frames that are changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Target {
    /// A page of a 1-GiB page that is whole.
    PageOfWhole,
    /// A page of a block that is in small pages already.
    PageOfBroken,
    /// A 2-MiB page of a GiB that is in pieces already.
    Block,
}

impl Target {
    fn frames(self) -> PfnRange {
        let (start, frames) = match self {
            Self::PageOfWhole => (4 * GIB, 1),
            Self::PageOfBroken => (2 * GIB + 5, 1),
            Self::Block => (2 * GIB + 1024, 512),
        };
        range(start, frames)
    }
}

/// One target out of the map and back, again and again, with `holds` other frames out of it.
#[derive(Clone, Copy)]
pub(super) struct Books {
    pub(super) target: Target,
    pub(super) holds: usize,
}

impl Workload for Books {
    fn runner<S: Way>(self, setting: Setting) -> Box<dyn FnMut() -> Outcome> {
        // One map for all rounds: its holds take longer to make than the rounds do.
        let mut map = None;
        Box::new(move || {
            if map.is_none() {
                map = Some(self.aged_map::<S>()?);
            }
            map.as_mut().map_or(Ok(Vec::new()), |map| self.run(map, &setting))
        })
    }
}

impl Books {
    fn aged_map<S: Way>(self) -> Result<S, Unfit> {
        let (stage, mut map) = (Stage::unflushed(), S::new(RAM_BYTES, self.holds + 16)?);
        // Every other page from 8 GiB on, and one that breaks the block and the GiB of two targets; all of them stay.
        let others = (0..self.holds as u64).map(|hold| 8 * GIB + 2 * hold);
        for start in others.chain([2 * GIB + 1]) {
            map.change(&stage, (range(start, 1), Change::NotPresent), Asked::AsRange, &mut Vec::new())?;
        }
        Ok(map)
    }

    fn run<S: Way>(self, map: &mut S, setting: &Setting) -> Outcome {
        let stage = Stage::unflushed();
        let request = (self.target.frames(), Change::NotPresent);
        let pairs = setting.options.operations(PAIRS);
        let mut held = Vec::with_capacity(1);
        let mut spans = [const { Vec::<f64>::new() }; 2];
        for _ in 0..pairs {
            let start = ticks();
            map.change(&stage, black_box(request), Asked::AsRange, &mut held)?;
            let middle = ticks();
            map.restore(&stage, &mut held)?;
            let end = ticks();
            for (spans, (start, end)) in spans.iter_mut().zip([(start, middle), (middle, end)]) {
                spans.push(setting.clock.ns(setting.clock.span(start, end).into()));
            }
        }
        // The median of the pairs: a mean would hold what the host did in between.
        let [change, restore] = &mut spans;
        let resolution = setting.clock.resolution_ns();
        Ok(vec![
            Sample::resolved_ns("change", median(change), resolution),
            Sample::resolved_ns("restore", median(restore), resolution),
        ])
    }
}

fn range(start: u64, frames: u64) -> PfnRange {
    PfnRange::of_length(Pfn::new(start), frames).unwrap_or_default()
}
