//! A turn: fresh memory in each arm, the data, and one round of samples or several, which make one pair.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use rhumb_method::{Arm as TrialArm, Plan, Stopped, Trial, Watch};
use rhumb_study_system::Task;
use rhumb_study_system::counters::Counters;

use super::{CONFIDENCE, Measured, mean_of_rounds, rival, seed_of};
use crate::arms::{Arm, Arms};
use crate::backing::{Backing, Pages};
use crate::data::world::{Placement, World};
use crate::error::Error;
use crate::options::{Case, Program};
use crate::rival::{Rival, UserSpace};
use crate::sample::{operations, sample};
use crate::workload::Chain;

/// The rounds of one memory in each arm.
pub(super) struct Turn<'a> {
    pub(super) program: &'a Program,
    pub(super) arms: &'a Arms,
    pub(super) task: &'a Task<'a>,
    pub(super) batches: &'a BTreeMap<Case, u64>,
    /// The rounds.
    pub(super) repeats: u32,
    pub(super) seed: u64,
}

/// How a turn went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Done {
    /// Whether it came to its end; otherwise the user ended the study.
    pub(super) is_whole: bool,
    /// The time that the memories took.
    pub(super) building: Duration,
}

impl Turn<'_> {
    /// Measures the cases of one placement in one group of arms.
    ///
    /// # Errors
    /// The memory core's.
    pub(super) fn measure(
        &self,
        group: &[Arm],
        cases: &[Case],
        counters: &mut Option<Counters>,
        measured: &mut Measured,
    ) -> Result<Done, Error> {
        let began = Instant::now();
        let Some(placement) = cases.first().map(|case| case.placement) else {
            return Ok(Done { is_whole: true, building: Duration::ZERO });
        };
        let mut worlds = self.build(group, placement, &mut measured.discarded)?;
        let building = began.elapsed();
        let mut rivals = BTreeMap::new();
        for user_space in UserSpace::ALL {
            rivals.insert(user_space, RefCell::new(rival(user_space)?));
        }
        let mut samples: BTreeMap<Case, Vec<Vec<f64>>> = BTreeMap::new();
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
                samples.entry(case).or_default().push(values);
                if let (Some(counters), UserSpace::Idle) = (counters.as_mut(), case.user_space) {
                    count_all(&mut worlds, case, batches, seed, counters, measured);
                }
            }
        }
        self.keep(&worlds, &samples, measured);
        Ok(Done { is_whole, building })
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
            let Some(pages) = self.arms.pages(group[index]).filter(|_| !self.task.is_cancelled()) else {
                continue;
            };
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
        let trial = Trial::run(&mut trial_arms, &plan, &Silent(self.task))?;
        Ok((trial.stopped != Stopped::Cancelled).then(|| trial.samples.into_iter().flatten().collect()))
    }

    /// Keeps a pair of each of those arms whose pages are still those that were verified at first: the mean of all rounds,
    /// each of which has a value for each arm.
    fn keep(
        &self,
        worlds: &[(Arm, Pages, World)],
        samples: &BTreeMap<Case, Vec<Vec<f64>>>,
        measured: &mut Measured,
    ) {
        let mut is_sound = Vec::new();
        for (_, _, world) in worlds {
            let verified = world.memory.backing().verify();
            is_sound.push(verified.is_ok());
            if let Err(refusal) = verified {
                measured.discarded.insert(format!("while they were in use, {}", refusal.why));
            }
        }
        let baseline = self.arms.baseline().map(Arm::Of);
        if worlds.first().map(|(arm, ..)| *arm) != baseline || is_sound.first() != Some(&true) {
            return;
        }
        measured.repeats = measured.repeats.max(self.repeats);
        for (case, rounds) in samples {
            let mean = |index: usize| {
                mean_of_rounds(
                    &rounds.iter().filter_map(|values| values.get(index).copied()).collect::<Vec<_>>(),
                )
            };
            for (index, (arm, ..)) in worlds.iter().enumerate().skip(1).filter(|(index, _)| is_sound[*index])
            {
                if let (Some(of_baseline), Some(of_arm)) = (mean(0), mean(index)) {
                    let pairs = measured.pairs.entry((*case, *arm)).or_default();
                    pairs.baseline.push(of_baseline);
                    pairs.arm.push(of_arm);
                }
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
