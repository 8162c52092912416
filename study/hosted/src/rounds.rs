//! The rounds: one sample of each workload in each arm. Each has fresh memory in each arm, where there is time to build
//! it, and the same data in all of them.
//!
//! ```text
//!   memory of all arms, in random order -> data -> each case: all arms, in random order -> pages verified again
//!                                                   '--- once, or several rounds ---'
//! ```
//!
//! Physical memory has luck of its own: which sets of the caches a frame falls into, how far it lies from the core. If
//! one memory served all rounds, the luck of an arm would be its bias, which no number of rounds shows. With a memory of
//! its own for each round, luck is part of the spread that the interval is made of. Where memory is slow to get, a memory
//! serves several rounds, so that getting it takes no more than half of the time; then the negative control, which has
//! the same luck, shows whether it matters.
//!
//! | module | owns |
//! |---|---|
//! | `pace` | how the time is divided |
//! | `turn` | the rounds of one memory in each arm |

mod pace;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rhumb_method::{Effect, Stopped};
use rhumb_study_report::Omission;
use rhumb_study_system::counters::{Counters, Reading};
use rhumb_study_system::{Session, Task};

use self::pace::{Pace, ROUNDS_WANTED, next_repeats};
use self::turn::Turn;
use crate::arms::{Arm, Arms};
use crate::data::world::Placement;
use crate::error::Error;
use crate::options::{Case, Program};
use crate::rival::{Rival, UserSpace};

/// Rounds before the study ends because all intervals are narrow enough.
const ROUNDS_AT_LEAST: u32 = 14;

/// Rounds after which the study ends in any case.
const ROUNDS_AT_MOST: u32 = 200;

/// The share of intervals that hold the true ratio.
pub(crate) const CONFIDENCE: f64 = 0.95;

/// The samples of a baseline and an arm, by round.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Pairs {
    pub(crate) baseline: Vec<f64>,
    pub(crate) arm: Vec<f64>,
}

/// All that the rounds gave.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) pairs: BTreeMap<(Case, Arm), Pairs>,
    pub(crate) rounds: u32,
    /// Fresh memories that each arm had.
    pub(crate) memories: u32,
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
    let Pace { batches, sample, mut repeats } = Pace::find(program, arms, session, task, time)?;
    let mut measured = Measured::new(sample);
    let mut counters = Counters::open().map_err(|omission| measured.no_counters = Some(omission)).ok();
    while measured.rounds < ROUNDS_AT_MOST {
        let turn_began = Instant::now();
        let seed = seed_of(session.seed, measured.memories);
        let turn = Turn { program, arms, task, batches: &batches, repeats, seed };
        measured.memories += 1;
        measured.rounds += repeats;
        let mut building = Duration::ZERO;
        for placement in [Placement::Spread, Placement::Dense] {
            let cases: Vec<Case> =
                program.cases.iter().copied().filter(|case| case.placement == placement).collect();
            for group in arms.groups(program.at_once) {
                let done = turn.measure(&group, &cases, &mut counters, &mut measured)?;
                if !done.is_whole {
                    measured.stopped = Stopped::Cancelled;
                    return Ok(measured);
                }
                building += done.building;
                task.set(began.elapsed().min(time).as_secs(), time.as_secs());
            }
        }
        counters = None;
        if measured.rounds >= ROUNDS_AT_LEAST && measured.is_precise(precision) {
            measured.stopped = Stopped::Precise;
            return Ok(measured);
        }
        let round = turn_began.elapsed().saturating_sub(building) / repeats;
        let left = end.saturating_duration_since(Instant::now());
        let missing = ROUNDS_WANTED.saturating_sub(measured.rounds);
        let Some(next) = next_repeats(building, round, left, missing) else {
            measured.stopped = Stopped::Time;
            return Ok(measured);
        };
        repeats = next;
    }
    Ok(measured)
}

fn seed_of(seed: u64, turn: u32) -> u64 {
    seed.wrapping_add(u64::from(turn) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn rival(user_space: UserSpace) -> Result<Option<Rival>, Error> {
    Rival::new(user_space).map_err(|refusal| Error::Trial(refusal.to_string()))
}

impl Measured {
    /// Returns nothing yet, of samples of this length.
    fn new(sample: Duration) -> Self {
        Self {
            pairs: BTreeMap::new(),
            rounds: 0,
            memories: 0,
            stopped: Stopped::Rounds,
            sample,
            discarded: BTreeSet::new(),
            counted: BTreeMap::new(),
            no_counters: None,
        }
    }

    fn is_precise(&self, precision: f64) -> bool {
        self.pairs.values().all(|pairs| {
            Effect::of(&pairs.baseline, &pairs.arm, CONFIDENCE)
                .is_some_and(|effect| effect.half_width() <= precision)
        })
    }
}

#[cfg(test)]
mod tests;
