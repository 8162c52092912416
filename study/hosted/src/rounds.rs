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

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use rhumb_method::{Arm as TrialArm, Effect, Plan, Stopped, Trial, Watch};
use rhumb_study_report::Omission;
use rhumb_study_system::counters::{Counters, Reading};
use rhumb_study_system::{Session, Task};

use crate::arms::{Arm, Arms};
use crate::backing::{Backing, Pages};
use crate::data::world::{Placement, World};
use crate::error::Error;
use crate::options::{Case, Program};
use crate::rival::{Rival, UserSpace};
use crate::sample::{calibrate, operations, sample};
use crate::workload::Chain;

/// Rounds that the time is divided by. 16 tell an effect among a thousand comparisons ([`Plan::rounds_at_least`]).
const ROUNDS_WANTED: u32 = 16;

/// Rounds before the study ends because all intervals are narrow enough.
const ROUNDS_AT_LEAST: u32 = 14;

/// The most rounds that a memory serves, so that there are several memories in any case.
const REPEATS_AT_MOST: u32 = 6;

/// Rounds after which the study ends in any case.
const ROUNDS_AT_MOST: u32 = 200;

/// The bounds of a sample's length: shorter ones are noise of the system's timer, longer ones are better spent on more
/// rounds.
const SAMPLE: (Duration, Duration) = (Duration::from_millis(3), Duration::from_millis(60));

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
    /// Fresh memories that each arm had.
    pub(crate) memories: u32,
    /// Rounds in each of them.
    pub(crate) repeats: u32,
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
    let Pace { batches, sample, repeats } = Pace::find(program, arms, session, task, time)?;
    let mut measured = Measured {
        pairs: BTreeMap::new(),
        memories: 0,
        repeats,
        stopped: Stopped::Rounds,
        sample,
        discarded: BTreeSet::new(),
        counted: BTreeMap::new(),
        no_counters: None,
    };
    let mut counters = Counters::open().map_err(|omission| measured.no_counters = Some(omission)).ok();
    let mut longest = Duration::ZERO;
    while measured.memories * repeats < ROUNDS_AT_MOST {
        let memory_began = Instant::now();
        let seed = seed_of(session.seed, measured.memories);
        let turn = Turn { program, arms, task, batches: &batches, repeats, seed };
        for placement in [Placement::Spread, Placement::Dense] {
            let cases: Vec<Case> =
                program.cases.iter().copied().filter(|case| case.placement == placement).collect();
            for group in arms.groups(program.at_once) {
                if !cases.is_empty() && !turn.measure(&group, &cases, &mut counters, &mut measured)? {
                    measured.memories += 1;
                    measured.stopped = Stopped::Cancelled;
                    return Ok(measured);
                }
                task.set(began.elapsed().min(time).as_secs(), time.as_secs());
            }
        }
        measured.memories += 1;
        counters = None;
        longest = longest.max(memory_began.elapsed());
        if measured.memories * repeats >= ROUNDS_AT_LEAST && measured.is_precise(precision) {
            measured.stopped = Stopped::Precise;
            return Ok(measured);
        }
        if Instant::now() + longest > end {
            measured.stopped = Stopped::Time;
            return Ok(measured);
        }
    }
    Ok(measured)
}

/// The length of samples, and how many rounds a memory serves.
struct Pace {
    batches: BTreeMap<Case, u64>,
    sample: Duration,
    repeats: u32,
}

impl Pace {
    /// Finds it out by building a memory, and by running each case in it.
    fn find(
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

fn rival(user_space: UserSpace) -> Result<Option<Rival>, Error> {
    Rival::new(user_space).map_err(|refusal| Error::Trial(refusal.to_string()))
}

fn seed_of(seed: u64, turn: u32) -> u64 {
    seed.wrapping_add(u64::from(turn) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The rounds of one memory in each arm.
struct Turn<'a> {
    program: &'a Program,
    arms: &'a Arms,
    task: &'a Task<'a>,
    batches: &'a BTreeMap<Case, u64>,
    repeats: u32,
    seed: u64,
}

impl Turn<'_> {
    /// Measures the cases of one placement in one group of arms. Returns whether it came to its end.
    fn measure(
        &self,
        group: &[Arm],
        cases: &[Case],
        counters: &mut Option<Counters>,
        measured: &mut Measured,
    ) -> Result<bool, Error> {
        let Some(placement) = cases.first().map(|case| case.placement) else { return Ok(true) };
        let mut worlds = self.build(group, placement, &mut measured.discarded)?;
        let mut rivals = BTreeMap::new();
        for user_space in UserSpace::ALL {
            rivals.insert(user_space, RefCell::new(rival(user_space)?));
        }
        let mut samples: Vec<(Case, Vec<f64>)> = Vec::new();
        let mut is_whole = true;
        'rounds: for repeat in 0..self.repeats {
            let seed = seed_of(self.seed, repeat);
            let mut order = cases.to_vec();
            order.shuffle(&mut Pcg64Mcg::seed_from_u64(seed));
            for case in order {
                let (Some(&batches), Some(rival)) = (self.batches.get(&case), rivals.get(&case.user_space))
                else {
                    continue;
                };
                let Some(values) = self.sample_all(&mut worlds, case, rival, batches, seed)? else {
                    is_whole = false;
                    break 'rounds;
                };
                samples.push((case, values));
                if let (Some(counters), UserSpace::Idle) = (counters.as_mut(), case.user_space) {
                    count_all(&mut worlds, case, batches, seed, counters, measured);
                }
            }
        }
        self.keep(&worlds, &samples, measured);
        Ok(is_whole)
    }

    /// Builds the arms' worlds, in random order; returns them in the group's order. Those that the system does not give
    /// are missing.
    fn build(
        &self,
        group: &[Arm],
        placement: Placement,
        discarded: &mut BTreeSet<String>,
    ) -> Result<Vec<(Arm, Pages, World)>, Error> {
        let mut order: Vec<usize> = (0..group.len()).collect();
        order.shuffle(&mut Pcg64Mcg::seed_from_u64(self.seed ^ 1));
        let mut worlds = Vec::new();
        for index in order {
            let Some(pages) = self.arms.pages(group[index]) else { continue };
            match Backing::new(pages, self.program.bytes, self.seed) {
                Ok(backing) => {
                    worlds.push((index, group[index], pages, World::new(backing, placement, self.seed)?));
                }
                Err(refusal) => _ = discarded.insert(refusal.why),
            }
        }
        worlds.sort_by_key(|(index, ..)| *index);
        Ok(worlds.into_iter().map(|(_, arm, pages, world)| (arm, pages, world)).collect())
    }

    /// Takes one sample of a case in each arm, in random order; `None` where the user ended the study.
    fn sample_all(
        &self,
        worlds: &mut [(Arm, Pages, World)],
        case: Case,
        rival: &RefCell<Option<Rival>>,
        batches: u64,
        seed: u64,
    ) -> Result<Option<Vec<f64>>, Error> {
        let seed = seed ^ ((case.workload as u64) << 32);
        let mut trial_arms: Vec<TrialArm<'_>> = worlds
            .iter_mut()
            .map(|(_, pages, world)| {
                let mut chain = Chain::new(seed);
                TrialArm::new(pages.to_string(), move || {
                    sample(world, case.workload, &mut rival.borrow_mut(), &mut chain, batches)
                        .map_err(|error| error.to_string())
                })
            })
            .collect();
        // The rounds are counted outside, because each has memory of its own.
        let plan = Plan {
            precision: 0.0,
            rounds_at_least: 1,
            rounds_at_most: 1,
            warm_up: 0,
            budget: Duration::MAX,
            confidence: CONFIDENCE,
            seed: seed ^ (case.user_space as u64) << 8,
        };
        let trial = Trial::run(&mut trial_arms, &plan, &Silent(self.task)).map_err(Error::Trial)?;
        Ok((trial.stopped != Stopped::Cancelled).then(|| trial.samples.into_iter().flatten().collect()))
    }

    /// Keeps the samples of those arms whose pages are still those that were verified at first.
    fn keep(&self, worlds: &[(Arm, Pages, World)], samples: &[(Case, Vec<f64>)], measured: &mut Measured) {
        let mut is_sound = Vec::new();
        for (_, _, world) in worlds {
            let verified = world.memory.ram().verify();
            is_sound.push(verified.is_ok());
            if let Err(refusal) = verified {
                measured.discarded.insert(format!("while they were in use, {}", refusal.why));
            }
        }
        let baseline = self.arms.baseline().map(Arm::Of);
        if worlds.first().map(|(arm, ..)| *arm) != baseline || is_sound.first() != Some(&true) {
            return;
        }
        for (case, values) in samples {
            for (index, (arm, ..)) in worlds.iter().enumerate().skip(1).filter(|(index, _)| is_sound[*index])
            {
                let pairs = measured.pairs.entry((*case, *arm)).or_default();
                pairs.baseline.push(values[0]);
                pairs.arm.push(values[index]);
            }
        }
    }
}

/// Counts the events of one more sample in each arm.
fn count_all(
    worlds: &mut [(Arm, Pages, World)],
    case: Case,
    batches: u64,
    seed: u64,
    counters: &mut Counters,
    measured: &mut Measured,
) {
    for (arm, _, world) in worlds {
        let mut chain = Chain::new(!seed);
        let counted = counters.measure(|| sample(world, case.workload, &mut None, &mut chain, batches));
        if let Ok((Ok(_), readings)) = counted {
            let rows = measured.counted.entry(case).or_default();
            if rows.iter().all(|(known, ..)| known != arm) {
                rows.push((*arm, operations(batches) as f64, readings));
            }
        }
    }
}

impl Measured {
    fn is_precise(&self, precision: f64) -> bool {
        self.pairs.values().all(|pairs| {
            Effect::of(&pairs.baseline, &pairs.arm, CONFIDENCE)
                .is_some_and(|effect| effect.half_width() <= precision)
        })
    }
}

/// Ends a trial with the study, and shows no rounds: each trial here has one.
struct Silent<'a>(&'a Task<'a>);

impl Watch for Silent<'_> {
    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    fn round(&self, _done: u32, _at_most: u32) {}
}

#[cfg(test)]
mod tests;
