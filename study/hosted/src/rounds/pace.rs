//! The pace: how the time is divided among memories, rounds and samples.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rhumb_method::Watch;
use rhumb_study_system::{Session, Task};

use super::rival;
use crate::arms::Arms;
use crate::backing::Backing;
use crate::data::world::{Placement, World};
use crate::error::Error;
use crate::options::{Case, Program};
use crate::sample::calibrate;

/// Rounds that the time is divided by. The p-value of 16 rounds tells an effect among a thousand comparisons.
pub(super) const ROUNDS_WANTED: u32 = 16;

/// The most rounds that a memory serves, so that there are several memories in any case.
const REPEATS_AT_MOST: u32 = 6;

/// The bounds of a sample's length: shorter ones are noise of the system's timer, longer ones are better spent on more
/// rounds.
const SAMPLE: (Duration, Duration) = (Duration::from_millis(3), Duration::from_millis(60));

/// The length of samples, and how many rounds the first memory serves.
#[derive(Debug)]
pub(super) struct Pace {
    /// The batches of each case's samples.
    pub(super) batches: BTreeMap<Case, u64>,
    pub(super) sample: Duration,
    pub(super) repeats: u32,
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
        let maps: usize = arms.groups(program.at_once).iter().map(Vec::len).sum();
        let mut pace = Self { batches: BTreeMap::new(), sample: SAMPLE.0, repeats: 1 };
        let placements: BTreeSet<Placement> = program.cases.iter().map(|case| case.placement).collect();
        for (index, &placement) in placements.iter().enumerate() {
            let began = Instant::now();
            // The last arm's memory takes the longest to build.
            let Some(seen) = arms.seen.last() else { continue };
            let Ok(backing) = Backing::new(seen.pages, program.bytes, session.seed) else { continue };
            let mut world = World::new(backing, placement, session.seed)?;
            if index == 0 {
                let building = began.elapsed() * (maps * placements.len()) as u32;
                pace.set(building, time, maps * program.cases.len());
            }
            for case in program.cases.iter().filter(|case| case.placement == placement) {
                if task.is_cancelled() {
                    break;
                }
                let mut rival = rival(case.user_space)?;
                pace.batches.insert(*case, calibrate(&mut world, case.workload, &mut rival, pace.sample)?);
            }
        }
        Ok(pace)
    }

    /// Divides `time`, when it takes `building` to build the memories of all arms, and a round has so many `samples`.
    fn set(&mut self, building: Duration, time: Duration, samples: usize) {
        let share = building.as_secs_f64() * f64::from(ROUNDS_WANTED) / (time.as_secs_f64() / 2.0).max(1e-9);
        self.repeats = (share.ceil() as u32).clamp(1, REPEATS_AT_MOST);
        let left = (time / ROUNDS_WANTED).saturating_sub(building / self.repeats);
        // A sample takes a sixth longer than its time, and threads and clocks some more.
        self.sample = (left / 5 * 4 / samples.max(1) as u32).clamp(SAMPLE.0, SAMPLE.1);
    }
}

/// Returns how many rounds the next memory serves; `None` where the time is up.
///
/// A memory takes `building`, and each of its rounds takes `round`. `missing` rounds are wanted in the time that is left,
/// on as many memories as fit.
pub(super) fn next_repeats(building: Duration, round: Duration, left: Duration, missing: u32) -> Option<u32> {
    let for_rounds = left.checked_sub(building)?.as_secs_f64() / round.as_secs_f64().max(1e-9);
    let most = (for_rounds as u32).min(REPEATS_AT_MOST);
    if most == 0 {
        return None;
    }
    let memories = left.saturating_sub(round * missing).as_secs_f64() / building.as_secs_f64().max(1e-9);
    Some(missing.div_ceil((memories as u32).max(1)).clamp(1, most))
}

#[cfg(test)]
mod tests;
