//! The pace: how the time is divided among memories, their rounds and samples.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rhumb_method::Watch;
use rhumb_study_system::{Session, Task};

use super::rival;
use super::scope::{Costs, Scope};
use crate::arms::Arms;
use crate::backing::{Backing, Pages};
use crate::data::world::{Placement, World};
use crate::error::Error;
use crate::options::{Case, Program};
use crate::sample::calibrate;

/// The most rounds that a memory serves. Their mean makes one pair. More than these would only average noise that is
/// smaller than what memory does.
const REPEATS_AT_MOST: u32 = 32;

/// The bounds of a sample's length: shorter ones are noise of the system's timer, longer ones are better spent on more
/// memories.
const SAMPLE: (Duration, Duration) = (Duration::from_millis(3), Duration::from_millis(60));

/// A sample takes a sixth longer than its time, and threads and clocks some more: in parts of four.
const OVERHEAD: u32 = 5;

/// The length of samples, what is compared, and how many rounds the first memory serves.
#[derive(Debug)]
pub(super) struct Pace {
    /// The batches of each case's samples.
    pub(super) batches: BTreeMap<Case, u64>,
    pub(super) sample: Duration,
    pub(super) repeats: u32,
    pub(super) scope: Scope,
}

impl Pace {
    /// Finds it out by building a memory, and by running each case in it.
    ///
    /// # Errors
    /// The memory core's.
    pub(super) fn find(
        program: &Program,
        arms: &Arms,
        session: &Session,
        task: &Task<'_>,
        time: Duration,
    ) -> Result<Self, Error> {
        let all: Vec<Pages> = arms.seen.iter().map(|seen| seen.pages).collect();
        let whole = Scope { cases: program.cases.clone(), arms: all.clone(), left_out: Vec::new() };
        let mut pace = Self { batches: BTreeMap::new(), sample: SAMPLE.0, repeats: 1, scope: whole };
        let maps = |kept: &[Pages]| arms.groups(program.at_once, kept).iter().map(Vec::len).sum::<usize>();
        // The last arm's memory takes the longest to build.
        let Some(&slowest) = all.last() else { return Ok(pace) };
        for (index, placement) in [Placement::Spread, Placement::Dense].into_iter().enumerate() {
            let is_here = |case: &&Case| case.placement == placement;
            if task.is_cancelled() || !pace.scope.cases.iter().any(|case| is_here(&case)) {
                continue;
            }
            let build = || timed_world(slowest, program.bytes, placement, session.seed);
            let Some((mut world, mut building)) = build()? else { continue };
            if index == 0 {
                let fitting = |building| {
                    let costs = Costs { building, sample: SAMPLE.0 * OVERHEAD / 4, time };
                    Scope::fitting(&program.cases, &all, costs, maps)
                };
                pace.scope = fitting(building);
                if !pace.scope.left_out.is_empty() {
                    // For the first memory the system may have moved others together, which takes long, once.
                    drop(world);
                    let Some((again, took)) = build()? else { continue };
                    (world, building) = (again, building.min(took));
                    pace.scope = fitting(building);
                }
                pace.set(building, time, maps(&pace.scope.arms));
            }
            for case in pace.scope.cases.iter().filter(is_here).filter(|_| !task.is_cancelled()) {
                let mut rival = rival(case.user_space)?;
                pace.batches.insert(*case, calibrate(&mut world, case.workload, &mut rival, pace.sample)?);
            }
        }
        Ok(pace)
    }

    /// Divides `time` among the memories that are wanted: so many direct maps of each placement, each of which takes
    /// `building`.
    fn set(&mut self, building: Duration, time: Duration, maps: usize) {
        let building = building * (maps * self.scope.placements()) as u32;
        let samples = (maps * self.scope.cases.len()).max(1) as u32;
        let left = (time / self.scope.pairs_wanted()).saturating_sub(building);
        self.sample = (left / OVERHEAD * 4 / samples).clamp(SAMPLE.0, SAMPLE.1);
        self.repeats = repeats(building, self.sample * samples * OVERHEAD / 4, left);
    }
}

/// Builds a world, and tells how long it took; `None` where the system does not give the memory.
fn timed_world(
    pages: Pages,
    bytes: u64,
    placement: Placement,
    seed: u64,
) -> Result<Option<(World, Duration)>, Error> {
    let began = Instant::now();
    let Ok(backing) = Backing::new(pages, bytes, seed) else { return Ok(None) };
    let world = World::new(backing, placement, seed)?;
    Ok(Some((world, began.elapsed())))
}

/// Returns how many rounds a memory serves, in at most the time that is `left` for them. More time than it takes to build
/// a memory is better spent on another memory.
fn repeats(building: Duration, round: Duration, left: Duration) -> u32 {
    let rounds = left.min(building).as_secs_f64() / round.as_secs_f64().max(1e-9);
    (rounds as u32).clamp(1, REPEATS_AT_MOST)
}

/// Returns how many rounds the next memory serves; `None` where the time is up.
///
/// A memory takes `building`, and each of its rounds takes `round`. `missing` memories are wanted in the time that is
/// left.
pub(super) fn next_repeats(building: Duration, round: Duration, left: Duration, missing: u32) -> Option<u32> {
    left.checked_sub(building + round)?;
    Some(repeats(building, round, (left / missing.max(1)).saturating_sub(building)))
}

#[cfg(test)]
mod tests;
