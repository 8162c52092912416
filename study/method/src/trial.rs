//! Rounds of samples, until the effects are known as well as wanted, or a bound is met.

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

use crate::effect::Effect;
use crate::summary::{median, median_interval};

#[cfg(test)]
mod tests;

/// One way of doing the work that is measured.
pub struct Arm<'a> {
    name: String,
    sample: Box<dyn FnMut() -> Result<f64, String> + 'a>,
}

impl<'a> Arm<'a> {
    /// Makes an arm of a name and a closure that takes one sample: a positive number, such as nanoseconds for each
    /// operation.
    pub fn new(name: impl Into<String>, sample: impl FnMut() -> Result<f64, String> + 'a) -> Self {
        Self { name: name.into(), sample: Box::new(sample) }
    }
}

/// A trial looks at its precision again when the rounds have grown by one part in this many. So the cost of all looks is
/// a few times that of the last one, and a trial takes at most an eighth more rounds than it needs.
const LOOK_AGAIN_AFTER: u32 = 8;

/// How long a trial goes on.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Plan {
    /// The wanted half width of each interval, as a share of the baseline: 0.01 is 1 %.
    pub precision: f64,
    /// Rounds that are measured whatever their precision. The p-value of `n` rounds is never smaller than `3 / 2^n`, so
    /// that 12 rounds can tell an effect among 68 comparisons, and 8 rounds among 4.
    pub rounds_at_least: u32,
    /// Rounds after which the trial ends whatever its precision.
    pub rounds_at_most: u32,
    /// Rounds before the first that counts.
    pub warm_up: u32,
    /// The time after which no further round begins.
    pub budget: Duration,
    /// The share of intervals that hold the true ratio.
    pub confidence: f64,
    /// Where the random orders begin.
    pub seed: u64,
}

/// Why a trial ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stopped {
    /// Each interval is as narrow as was wanted.
    Precise,
    /// The most rounds were measured.
    Rounds,
    /// The time was up.
    Time,
    /// The user ended the study.
    Cancelled,
}

/// The failure of a trial's sample.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Failed {
    /// An arm could not take its sample.
    #[error("{arm}: {why}")]
    Sample {
        /// The arm's name.
        arm: String,
        /// The arm's words.
        why: String,
    },
    /// A sample is not a positive number.
    #[error("{arm}: {value} is not a positive number")]
    NotPositive {
        /// The arm's name.
        arm: String,
        /// The sample.
        value: f64,
    },
}

/// Sees how a trial goes, and may end it.
pub trait Watch {
    /// Tells whether the user wants the study to end.
    fn is_cancelled(&self) -> bool;
    /// Is told of each round: how many are done, and how many there are at most.
    fn round(&self, done: u32, at_most: u32);
}

/// The samples of all arms, by round.
#[derive(Clone, PartialEq, Debug)]
pub struct Trial {
    /// The arms' names; the first is the baseline.
    pub arms: Vec<String>,
    /// The samples of each arm, in the order of rounds: `samples[arm][round]`.
    pub samples: Vec<Vec<f64>>,
    /// Why there are no more rounds.
    pub stopped: Stopped,
}

impl Trial {
    /// Measures the arms.
    ///
    /// A trial that `watch` cancels keeps the rounds that were whole. A trial of the baseline alone ends when the
    /// interval of its median is as narrow as was wanted.
    ///
    /// # Errors
    /// [`Failed`] with the first arm that could not take its sample, or whose sample is not a positive number.
    pub fn run(arms: &mut [Arm<'_>], plan: &Plan, watch: &dyn Watch) -> Result<Self, Failed> {
        let began = Instant::now();
        let mut random = Pcg64Mcg::seed_from_u64(plan.seed);
        let mut order: Vec<usize> = (0..arms.len()).collect();
        let mut trial = Self {
            arms: arms.iter().map(|arm| arm.name.clone()).collect(),
            samples: vec![Vec::new(); arms.len()],
            stopped: Stopped::Rounds,
        };
        let mut next_look = plan.rounds_at_least;
        for round in 0..plan.warm_up + plan.rounds_at_most {
            order.shuffle(&mut random);
            let mut values = vec![0.0; arms.len()];
            for &index in &order {
                if watch.is_cancelled() {
                    trial.stopped = Stopped::Cancelled;
                    return Ok(trial);
                }
                let arm = &mut arms[index];
                let value = (arm.sample)().map_err(|why| Failed::Sample { arm: arm.name.clone(), why })?;
                if !(value.is_finite() && value > 0.0) {
                    return Err(Failed::NotPositive { arm: arm.name.clone(), value });
                }
                values[index] = value;
            }
            let Some(done) = (round + 1).checked_sub(plan.warm_up).filter(|done| *done > 0) else { continue };
            trial.samples.iter_mut().zip(values).for_each(|(samples, value)| samples.push(value));
            watch.round(done, plan.rounds_at_most);
            if done < plan.rounds_at_least {
                continue;
            }
            if done >= next_look {
                next_look = done + (done / LOOK_AGAIN_AFTER).max(1);
                if trial.is_precise(plan) {
                    trial.stopped = Stopped::Precise;
                    return Ok(trial);
                }
            }
            if began.elapsed() >= plan.budget {
                trial.stopped = Stopped::Time;
                return Ok(trial);
            }
        }
        Ok(trial)
    }

    /// Compares an arm with the baseline; `None` where there are too few rounds.
    pub fn effect(&self, arm: usize, plan: &Plan) -> Option<Effect> {
        Effect::of(self.samples.first()?, self.samples.get(arm)?, plan.confidence)
    }

    fn is_precise(&self, plan: &Plan) -> bool {
        match &self.samples[..] {
            [] => true,
            [alone] => median(alone).zip(median_interval(alone, plan.confidence)).is_some_and(
                |(median, interval)| (interval.high - interval.low) / 2.0 <= plan.precision * median,
            ),
            [_, ..] => (1..self.arms.len()).all(|arm| {
                self.effect(arm, plan).is_some_and(|effect| effect.half_width() <= plan.precision)
            }),
        }
    }
}
