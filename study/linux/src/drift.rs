//! Effects between phases that cannot take turns.
//!
//! A broken map cannot be mended, so all that is measured on the whole map comes before all that is measured on the broken
//! one. In between the machine itself may have changed: its clock, its neighbours, its caches. Intervals from the noise
//! within phases know nothing of such drift, and find effects where there are none.
//!
//! **Model.** A phase is a row of *blocks*, in each of which every workload is measured once. The logarithm of a block's
//! value is the workload's own level in this phase, plus noise that differs by block, plus two drifts that go on from block
//! to block as random walks: a common one, of the whole machine, and the workload's own. The drifts are estimated from
//! neighbouring *pieces* of the same phase, between which the map did not change. The common one is what all workloads'
//! pieces share, the quiet ones counting more. The own one is the rest, as a multiple of the noise, pooled over all workloads
//! and phases, because each of them alone tells too little.
//!
//! **From pieces to phases.** Of a random walk, the means of two neighbouring stretches of `m` blocks differ with variance
//! `2 m / 3` for each unit of its variance in a block. Two phases of `n` blocks differ so with `2 n / 3`, and the gap between
//! them adds its own length. Drift that only comes and goes is overestimated so.
//!
//! **Pieces.** Quarters tell more often than halves, and halves see a drift that goes on in one direction. The larger of
//! the two estimates counts.
//!
//! **Degrees of freedom.** The differences of `k + 1` neighbouring pieces share pieces, so that they count as
//! `k² / (k + (k - 1) / 2)` independent ones for the common drift. A quarter of the noise that its estimate contains stays in
//! it, so that it is never taken for nothing. Variances are added as Satterthwaite (1946) does, and Student's distribution
//! gives interval and p-value. A block farther than [`FAR`] robust deviations from its phase's median counts as that far.
//!
//! **Control.** Each phase's halves are compared with each other as well, in the mean of all workloads, with the drift that
//! small pieces ([`SMALL`] of each phase) show. No such comparison may find an effect: a machine that changes once in the
//! middle of a phase, or that changes on and on, does so more than its small pieces tell.

#[cfg(test)]
mod tests;

use rhumb_method::{Effect, effect::POWER, median, summary::Interval};
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// Deviations from the median, beyond which a block counts as that far.
const FAR: f64 = 3.0;

/// A median of absolute distances, in standard deviations of the normal distribution.
const MEDIAN_DISTANCE: f64 = 0.6745;

/// The share of its noise that an estimate of the common drift keeps. In simulated studies, less raises more false alarms
/// than the level says.
const NOISE_KEPT: f64 = 0.25;

/// The widest half of an interval, on the scale of logarithms: a factor of a thousand. Beyond it, nothing is known.
const REACH_AT_MOST: f64 = 6.9;

/// The largest effect that is stated as one that would have been found: twice the time.
const EFFECT_AT_MOST: f64 = 1.0;

/// The fewest blocks of a phase.
pub(crate) const BLOCKS_AT_LEAST: usize = 6;

/// The fewest blocks of a piece of a phase.
const PIECE_AT_LEAST: usize = 3;

/// The small pieces of a phase, where it has blocks enough.
pub(crate) const SMALL: usize = 8;

/// A phase: the blocks of each workload, and when they were measured.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Phase {
    /// When the phase began, in seconds.
    pub(crate) began_s: f64,
    /// When it ended.
    pub(crate) ended_s: f64,
    /// The value of each block, by workload: positive numbers.
    pub(crate) blocks: Vec<Vec<f64>>,
}

/// A level with its noise.
#[derive(Clone, Copy, Debug)]
struct Level {
    mean: f64,
    /// The variance of the mean.
    variance: f64,
    freedom: f64,
}

impl Level {
    /// Estimates the level of values; `None` of fewer than two, or of one that is not a positive number.
    fn of(values: &[f64]) -> Option<Self> {
        let logs = logs(values)?;
        let (mean, variance) = moments(&logs)?;
        let count = logs.len() as f64;
        Some(Self { mean, variance: variance / count, freedom: count - 1.0 })
    }

    /// Returns the difference of two levels.
    fn to(self, other: Self) -> Self {
        Self {
            mean: other.mean - self.mean,
            variance: self.variance + other.variance,
            freedom: self.freedom + other.freedom,
        }
    }
}

/// Returns the logarithms of positive numbers, none of them farther from their median than [`FAR`] robust deviations.
fn logs(values: &[f64]) -> Option<Vec<f64>> {
    if !values.iter().all(|value| value.is_finite() && *value > 0.0) {
        return None;
    }
    let logs: Vec<f64> = values.iter().map(|value| value.ln()).collect();
    let middle = median(&logs)?;
    let distances: Vec<f64> = logs.iter().map(|log| (log - middle).abs()).collect();
    let far = FAR * median(&distances)? / MEDIAN_DISTANCE;
    Some(match far > 0.0 {
        true => logs.iter().map(|log| log.clamp(middle - far, middle + far)).collect(),
        false => logs,
    })
}

/// Returns mean and variance; `None` of fewer than two values.
fn moments(values: &[f64]) -> Option<(f64, f64)> {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (values.len() >= 2).then(|| (mean, squares / (count - 1.0)))
}

/// The mean of several numbers, or a value for none.
fn mean_or(values: &[f64], of_none: f64) -> f64 {
    match values.len() {
        0 => of_none,
        count => values.iter().sum::<f64>() / count as f64,
    }
}

/// One workload in the pieces of a phase.
struct Pieces {
    /// Mean of the second piece less that of the first, and so on.
    steps: Vec<f64>,
    /// The variance of a step by noise alone.
    noise: f64,
    /// The degrees of freedom of that estimate.
    freedom: f64,
}

impl Pieces {
    /// Cuts a phase's blocks; `None` where pieces would be too short, or the blocks have no noise.
    fn of(blocks: &[f64], pieces: usize) -> Option<Self> {
        let length = blocks.len() / pieces;
        if length < PIECE_AT_LEAST {
            return None;
        }
        let logs = logs(blocks)?;
        let parts: Vec<(f64, f64)> = (0..pieces)
            .filter_map(|piece| {
                let start = piece * logs.len() / pieces;
                moments(&logs[start..start + length])
            })
            .collect();
        let variance = parts.iter().map(|(_, variance)| variance).sum::<f64>() / pieces as f64;
        (variance > 0.0).then(|| Self {
            steps: parts.windows(2).map(|pair| pair[1].0 - pair[0].0).collect(),
            noise: 2.0 * variance / length as f64,
            freedom: (pieces * (length - 1)) as f64,
        })
    }
}

/// The drifts of a machine.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Drift {
    /// The variance that a block adds to the logarithm of all workloads alike.
    pub(crate) common: f64,
    /// The degrees of freedom of that estimate.
    pub(crate) common_freedom: f64,
    /// The variance that a block adds to each workload besides, as a multiple of the variance of its noise in a block; 0
    /// where noise explains all.
    pub(crate) own: f64,
    /// The degrees of freedom of that estimate.
    pub(crate) own_freedom: f64,
}

impl Drift {
    /// No drift: all differences are noise or effects.
    pub(crate) const NONE: Self = Self { common: 0.0, common_freedom: 1.0, own: 0.0, own_freedom: 1.0 };

    /// Estimates the drifts from phases in which nothing was changed.
    pub(crate) fn of(phases: &[Phase]) -> Self {
        let (quarters, halves) = (Self::over(phases, 4), Self::over(phases, 2));
        let one = if quarters.1 > 0.0 { quarters } else { halves };
        Self { common: one.0.common.max(halves.0.common).max(halves.1 * NOISE_KEPT), ..one.0 }
    }

    /// Estimates the drifts from small pieces of phases: [`SMALL`] of each, or fewer of short ones.
    pub(crate) fn of_small(phases: &[Phase]) -> Self {
        let drifts = [SMALL, 4, 2].map(|pieces| Self::over(phases, pieces));
        let (drift, noise) = drifts.into_iter().find(|(_, noise)| *noise > 0.0).unwrap_or((Self::NONE, 0.0));
        Self { common: drift.common.max(noise * NOISE_KEPT), ..drift }
    }

    /// Estimates the drifts between so many neighbouring pieces of each phase. Returns as well by how much noise alone makes
    /// the common one vary: 0 where no phase has blocks enough for so many pieces.
    fn over(phases: &[Phase], pieces: usize) -> (Self, f64) {
        let (mut drifts, mut noises, mut own) = (Vec::new(), Vec::new(), Vec::new());
        let (mut common_freedom, mut own_freedom) = (0.0, 0.0);
        for phase in phases {
            let cut: Vec<Pieces> =
                phase.blocks.iter().filter_map(|blocks| Pieces::of(blocks, pieces)).collect();
            let Some(blocks) = phase.blocks.iter().map(Vec::len).max().filter(|_| !cut.is_empty()) else {
                continue;
            };
            let length = (blocks / pieces) as f64;
            // A random walk with a variance of 1 in a block differs by this much between pieces.
            let grown = 2.0 * length / 3.0;
            let weight: f64 = cut.iter().map(|one| 1.0 / one.noise).sum();
            for step in 0..pieces - 1 {
                let common = cut.iter().map(|one| one.steps[step] / one.noise).sum::<f64>() / weight;
                drifts.push(common.powi(2) / grown);
                noises.push(1.0 / weight / grown);
                own.extend(cut.iter().filter_map(|one| {
                    // The common drift contains a part of this workload's noise.
                    let left = one.noise - 1.0 / weight;
                    // The mean of F with these degrees of freedom, which noise alone has.
                    let expected = one.freedom / (one.freedom - 2.0).max(1.0);
                    let times = (one.steps[step] - common).powi(2) / left / expected;
                    // The noise of a step is twice that of a block, divided by a piece's length.
                    (left > 0.05 * one.noise).then(|| (times - 1.0) * 2.0 / length / grown)
                }));
            }
            let steps = (pieces - 1) as f64;
            let independent = steps.powi(2) / (steps + (steps - 1.0) / 2.0);
            common_freedom += independent;
            own_freedom += independent * (cut.len() - 1) as f64;
        }
        let noise = mean_or(&noises, 0.0);
        let drift = Self {
            common: mean_or(&drifts, 0.0) - noise,
            common_freedom: f64::max(common_freedom, 1.0),
            own: mean_or(&own, 0.0).max(0.0),
            own_freedom: f64::max(own_freedom, 1.0),
        };
        (drift, noise)
    }
}

/// Returns for how many blocks a drift has gone on, in the sense of the module's text, between two phases.
fn blocks_between(one: &Phase, other: &Phase, blocks: f64) -> f64 {
    let length_s = ((one.ended_s - one.began_s) + (other.ended_s - other.began_s)) / 2.0;
    let gap_s = (other.began_s - one.ended_s).max(0.0);
    2.0 * blocks / 3.0 + if length_s > 0.0 { gap_s * blocks / length_s } else { 0.0 }
}

/// Returns phases whose only workload is the mean of all workloads, the quiet ones counting more. Those with too few
/// blocks in one of the phases have no part in it.
pub(crate) fn means(phases: &[Phase]) -> Vec<Phase> {
    let workloads = phases.iter().map(|phase| phase.blocks.len()).min().unwrap_or(0);
    let rows: Vec<(f64, Vec<Vec<f64>>)> = (0..workloads)
        .filter_map(|workload| {
            let of_phase =
                |phase: &Phase| logs(&phase.blocks[workload]).filter(|logs| logs.len() >= BLOCKS_AT_LEAST);
            let rows: Vec<Vec<f64>> = phases.iter().map(of_phase).collect::<Option<_>>()?;
            let noise = rows.iter().map(|logs| noise_of(logs)).sum::<Option<f64>>()?;
            Some((1.0 / noise.max(f64::MIN_POSITIVE), rows))
        })
        .collect();
    let weight: f64 = rows.iter().map(|(weight, _)| weight).sum();
    let mean = |(number, phase): (usize, &Phase)| {
        let blocks = rows.iter().map(|(_, rows)| rows[number].len()).min().unwrap_or(0);
        let mean = |block: usize| {
            rows.iter().map(|(own, rows)| own / weight * rows[number][block]).sum::<f64>().exp()
        };
        Phase {
            began_s: phase.began_s,
            ended_s: phase.ended_s,
            blocks: vec![(0..blocks).map(mean).collect()],
        }
    };
    phases.iter().enumerate().map(mean).collect()
}

/// Returns the variance of noise from neighbours, in which drift has little part; `None` of fewer than two.
fn noise_of(logs: &[f64]) -> Option<f64> {
    let squares: f64 = logs.windows(2).map(|pair| (pair[1] - pair[0]).powi(2)).sum();
    (logs.len() >= 2).then(|| squares / 2.0 / (logs.len() - 1) as f64)
}

/// A difference with its whole uncertainty.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Difference {
    /// The difference of logarithms.
    pub(crate) mean: f64,
    /// Its standard deviation, drift included.
    pub(crate) deviation: f64,
    /// Degrees of freedom.
    pub(crate) freedom: f64,
    /// Blocks of each side.
    pub(crate) blocks: u32,
}

impl Difference {
    /// Adds the drifts to a level's noise: `common` and `own` as variances.
    fn new(level: Level, common: f64, own: f64, drift: Drift, blocks: usize) -> Self {
        let variance = level.variance + common + own;
        let parts = level.variance.powi(2) / level.freedom
            + common.powi(2) / drift.common_freedom
            + own.powi(2) / drift.own_freedom;
        // Where all blocks are alike, nothing is known of the noise; then no effect is claimed of a difference of 0.
        let freedom = if parts > 0.0 { variance.powi(2) / parts } else { level.freedom };
        Self { mean: level.mean, deviation: variance.sqrt().max(1e-9), freedom, blocks: blocks as u32 }
    }

    /// Compares a workload in two phases; `None` where blocks are too few or no positive numbers.
    pub(crate) fn between(one: &Phase, other: &Phase, workload: usize, drift: Drift) -> Option<Self> {
        let (before, after) = (one.blocks.get(workload)?, other.blocks.get(workload)?);
        let blocks = before.len().min(after.len());
        if blocks < BLOCKS_AT_LEAST {
            return None;
        }
        let level = Level::of(before)?.to(Level::of(after)?);
        let length = blocks_between(one, other, blocks as f64);
        // The variance of a block: half of that of the difference, times the blocks of a side.
        let block = level.variance * blocks as f64 / 2.0;
        Some(Self::new(level, drift.common * length, drift.own * block * length, drift, blocks))
    }

    /// Compares the halves of a phase of one workload. A block in the middle belongs to none.
    pub(crate) fn of_halves(phase: &Phase, drift: Drift) -> Option<Self> {
        let blocks = phase.blocks.first().filter(|blocks| blocks.len() >= BLOCKS_AT_LEAST)?;
        let half = blocks.len() / 2;
        let level = Level::of(&blocks[..half])?.to(Level::of(&blocks[blocks.len() - half..])?);
        let length = 2.0 * half as f64 / 3.0;
        Some(Self::new(level, drift.common * length, 0.0, drift, half))
    }

    /// Returns the p-value.
    pub(crate) fn p(&self) -> f64 {
        match StudentsT::new(0.0, 1.0, self.freedom) {
            Ok(student) => 2.0 * student.cdf(-(self.mean / self.deviation).abs()),
            Err(_) => 1.0,
        }
    }

    /// Returns the half width of the interval at `level`, on the scale of logarithms.
    fn reach(&self, level: f64) -> f64 {
        let quantile =
            StudentsT::new(0.0, 1.0, self.freedom).map(|student| student.inverse_cdf(1.0 - level / 2.0));
        (quantile.unwrap_or(f64::INFINITY) * self.deviation).min(REACH_AT_MOST)
    }

    /// Returns the effect, before it is adjusted for other comparisons.
    pub(crate) fn effect(&self, confidence: f64) -> Effect {
        let reach = self.reach(1.0 - confidence);
        let p = self.p();
        let mut effect = Effect {
            ratio: self.mean.exp(),
            low: (self.mean - reach).exp(),
            high: (self.mean + reach).exp(),
            confidence,
            p,
            p_adjusted: p,
            adjusted: None,
            smallest_detectable: None,
            rounds: self.blocks,
        };
        self.set_level(&mut effect, 1.0 - confidence);
        effect
    }

    /// Sets the interval and the smallest effect of a test at `level`.
    pub(crate) fn set_level(&self, effect: &mut Effect, level: f64) {
        let reach = self.reach(level);
        let (low, high) = ((self.mean - reach).exp(), (self.mean + reach).exp());
        effect.adjusted = Some(Interval { low, high, confidence: 1.0 - level });
        let found = (reach + Normal::standard().inverse_cdf(POWER) * self.deviation).exp() - 1.0;
        effect.smallest_detectable = Some(found).filter(|found| *found <= EFFECT_AT_MOST);
    }
}
