//! The rounds: one sample of each workload in each arm, in fresh memory with the same data in all arms.
//!
//! ```text
//!   memory of all arms, in random order -> data -> each case: all arms, in random order -> pages verified again
//!                                                   '--- once, or several rounds ---'
//! ```
//!
//! Physical memory has luck of its own: which sets of the caches a frame falls into, how far it lies from the core. If
//! one memory served all rounds, the luck of that memory would be a bias, which no number of rounds shows. So a *pair* of
//! samples comes from one memory of each arm, and each pair has memory of its own: luck is part of the spread that the
//! interval is made of. Where memory is slow to get, it serves several rounds, whose mean is one pair: rounds on the same
//! memory are not independent, and a test that took them for pairs would raise false alarms.
//!
//! | module | owns |
//! |---|---|
//! | `pace` | how the time is divided |
//! | `scope` | which comparisons the time is enough for |
//! | `turn` | the rounds of one memory in each arm |

mod pace;
mod scope;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rhumb_method::{Effect, Stopped};
use rhumb_study_report::Omission;
use rhumb_study_system::counters::{Counters, Reading};
use rhumb_study_system::{Session, Task};

use self::pace::{Pace, next_repeats};
use self::scope::Scope;
use self::turn::Turn;
use crate::arms::{Arm, Arms};
use crate::backing::Refusal;
use crate::data::world::Placement;
use crate::error::Error;
use crate::options::{Case, Program};
use crate::rival::{Rival, UserSpace};

/// Memories of each arm after which the study ends in any case.
const MEMORIES_AT_MOST: u32 = 200;

/// The share of intervals that hold the true ratio.
pub(crate) const CONFIDENCE: f64 = 0.95;

/// The samples of a baseline and an arm. Each pair comes from memory of its own.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Pairs {
    pub(crate) baseline: Vec<f64>,
    pub(crate) arm: Vec<f64>,
}

/// All that the rounds gave.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) pairs: BTreeMap<(Case, Arm), Pairs>,
    /// The pairs that were to be measured.
    wanted: Vec<(Case, Arm)>,
    /// The most rounds that a memory served, for one pair.
    pub(crate) repeats: u32,
    /// How many pairs it takes to find any effect among all comparisons.
    pub(crate) fewest_pairs: u32,
    /// The comparisons that the time was too short for.
    pub(crate) left_out: Vec<&'static str>,
    pub(crate) stopped: Stopped,
    pub(crate) sample: Duration,
    /// Samples that were thrown away, and why.
    pub(crate) discarded: BTreeSet<String>,
    /// The counts of one sample of each case with user space idle: the arm, its operations, the readings.
    pub(crate) counted: BTreeMap<Case, Vec<(Arm, f64, Vec<Reading>)>>,
    pub(crate) no_counters: Option<Omission>,
}

/// Measures until all effects are known to `precision`, or the time is up at `end`.
///
/// # Errors
/// The memory core's. Memory that the system does not give costs that arm's samples of the round, and is no error.
pub(crate) fn run(
    program: &Program,
    arms: &Arms,
    session: &Session,
    task: &Task<'_>,
    precision: f64,
    end: Instant,
) -> Result<Measured, Error> {
    let began = Instant::now();
    let time = end.saturating_duration_since(began);
    let Pace { batches, sample, mut repeats, scope } = Pace::find(program, arms, session, task, time)?;
    let groups = arms.groups(program.at_once, &scope.arms);
    let mut measured = Measured::new(sample, &scope, &groups);
    let mut counters = Counters::open().map_err(|omission| measured.no_counters = Some(omission)).ok();
    for memory in 0..MEMORIES_AT_MOST {
        let turn_began = Instant::now();
        let seed = seed_of(session.seed, memory);
        let turn = Turn { program, arms, task, batches: &batches, repeats, seed };
        let mut building = Duration::ZERO;
        for placement in [Placement::Spread, Placement::Dense] {
            let cases: Vec<Case> =
                scope.cases.iter().copied().filter(|case| case.placement == placement).collect();
            for group in &groups {
                let done = turn.measure(group, &cases, &mut counters, &mut measured)?;
                if !done.is_whole {
                    measured.stopped = Stopped::Cancelled;
                    return Ok(measured);
                }
                building += done.building;
                task.set(began.elapsed().min(time).as_secs(), time.as_secs());
            }
        }
        counters = None;
        if measured.pair_count() >= scope.pairs_wanted() && measured.is_precise(precision) {
            measured.stopped = Stopped::Precise;
            return Ok(measured);
        }
        let round = turn_began.elapsed().saturating_sub(building) / repeats;
        let left = end.saturating_duration_since(Instant::now());
        let missing = scope.pairs_wanted().saturating_sub(measured.pair_count());
        let Some(next) = next_repeats(building, round, left, missing) else {
            measured.stopped = Stopped::Time;
            return Ok(measured);
        };
        repeats = next;
    }
    Ok(measured)
}

/// Returns how many pairs each comparison of a program is to have, where the time is enough for all of them.
pub(crate) fn pairs_wanted(program: &Program) -> u32 {
    Scope { cases: program.cases.clone(), arms: program.arms.clone(), left_out: Vec::new() }.pairs_wanted()
}

fn seed_of(seed: u64, turn: u32) -> u64 {
    seed.wrapping_add(u64::from(turn) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn rival(user_space: UserSpace) -> Result<Option<Rival>, Error> {
    Rival::new(user_space).map_err(|Refusal { why, remedy }| Error::Rival { why, remedy })
}

impl Measured {
    /// Returns nothing yet, of samples of this length.
    fn new(sample: Duration, scope: &Scope, groups: &[Vec<Arm>]) -> Self {
        // The baseline is the first of each group.
        let arms = || groups.iter().flat_map(|group| group.iter().copied().skip(1));
        Self {
            pairs: BTreeMap::new(),
            wanted: scope.cases.iter().flat_map(|case| arms().map(|arm| (*case, arm))).collect(),
            repeats: 0,
            fewest_pairs: scope.fewest_pairs(),
            left_out: scope.left_out.clone(),
            stopped: Stopped::Rounds,
            sample,
            discarded: BTreeSet::new(),
            counted: BTreeMap::new(),
            no_counters: None,
        }
    }

    /// Returns how many pairs each comparison has at least. Those that were thrown away do not count.
    pub(crate) fn pair_count(&self) -> u32 {
        let pairs = |key| self.pairs.get(key).map_or(0, |pairs| pairs.arm.len());
        self.wanted.iter().map(pairs).min().unwrap_or(0) as u32
    }

    /// Tells whether all effects that were to be measured are known to `precision`.
    fn is_precise(&self, precision: f64) -> bool {
        let is_known = |pairs: &Pairs| {
            Effect::of(&pairs.baseline, &pairs.arm, CONFIDENCE)
                .is_some_and(|effect| effect.half_width() <= precision)
        };
        !self.wanted.is_empty() && self.wanted.iter().all(|key| self.pairs.get(key).is_some_and(is_known))
    }
}

/// Returns one value for several rounds on the same memory: their geometric mean. `None` of no rounds.
fn mean_of_rounds(values: &[f64]) -> Option<f64> {
    let logarithms: f64 = values.iter().map(|value| value.ln()).sum();
    (!values.is_empty()).then(|| (logarithms / values.len() as f64).exp())
}

#[cfg(test)]
mod tests;
