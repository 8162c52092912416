//! Effects between phases that cannot take turns.
//!
//! A broken map cannot be mended, so all that is measured on the whole map comes before all that is measured on the broken
//! one. In between the machine itself may have changed: its clock, its neighbours, its caches. Intervals from the noise
//! within phases know nothing of such drift, and find effects where there are none.
//!
//! **Model.** A phase is a row of *blocks*, in each of which every workload is measured once. The logarithm of a block's
//! value is the workload's own level in this phase, plus noise that differs by block, plus two drifts that go on over time as
//! random walks: a common one, of the whole machine, and the workload's own. The noise is estimated from the blocks of a
//! phase. The drifts are estimated from the *halves* of each phase, where the map did not change. The common one is what all
//! workloads' halves share, the quiet ones counting more. The own one is the rest, as a multiple of the noise, pooled over
//! all workloads and phases, because each of them alone tells too little.
//!
//! **From halves to phases.** Of a random walk, the means of two neighbouring stretches of length L differ with variance
//! 2 L / 3 for each unit of time. Halves of a phase of length T have L = T / 2; two phases have L = T, and the gap g
//! between them adds its own length. So the variance of drift between phases is 2 + 3 g / T times that between halves.
//!
//! **Degrees of freedom.** The common drift is seen once in each phase, so that its estimate has as many degrees of freedom
//! as there are phases; a quarter of the noise that it contains stays in it, so that it is never taken for nothing. Variances are added as
//! Satterthwaite (1946) does, and Student's distribution gives interval and p-value. A block farther than [`FAR`] robust
//! deviations from its phase's median counts as that far.
//!
//! **Control.** Each phase's halves are also compared with each other by the same rules, with a drift that is taken from the
//! *other* phases, where there are two of them. No such comparison may find an effect.

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
        if values.len() < 2 || !values.iter().all(|value| value.is_finite() && *value > 0.0) {
            return None;
        }
        let logs: Vec<f64> = values.iter().map(|value| value.ln()).collect();
        let middle = median(&logs)?;
        let distances: Vec<f64> = logs.iter().map(|log| (log - middle).abs()).collect();
        let far = FAR * median(&distances)? / MEDIAN_DISTANCE;
        let logs: Vec<f64> = match far > 0.0 {
            true => logs.iter().map(|log| log.clamp(middle - far, middle + far)).collect(),
            false => logs,
        };
        let count = logs.len() as f64;
        let mean = logs.iter().sum::<f64>() / count;
        let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (count - 1.0);
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

/// Returns the difference between the halves of a phase's blocks. A block in the middle belongs to none.
fn halves(blocks: &[f64]) -> Option<Level> {
    let half = blocks.len() / 2;
    Some(Level::of(&blocks[..half])?.to(Level::of(&blocks[blocks.len() - half..])?))
}

/// The drifts between halves of phases.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Drift {
    /// The variance of the logarithm that all workloads share.
    pub(crate) common: f64,
    /// The degrees of freedom of that estimate.
    pub(crate) common_freedom: f64,
    /// The variance of each workload's own drift, as a multiple of its noise; 0 where noise explains all.
    pub(crate) own: f64,
    /// The degrees of freedom of that estimate.
    pub(crate) own_freedom: f64,
}

impl Drift {
    /// No drift: all differences are noise or effects.
    pub(crate) const NONE: Self = Self { common: 0.0, common_freedom: 1.0, own: 0.0, own_freedom: 1.0 };

    /// Estimates the drifts from phases in which nothing was changed.
    pub(crate) fn of<'a>(phases: impl IntoIterator<Item = &'a Phase>) -> Self {
        let mut squares = Vec::new();
        let mut noises = Vec::new();
        let mut ratios = Vec::new();
        for phase in phases {
            let halves: Vec<Level> = phase
                .blocks
                .iter()
                .filter_map(|blocks| halves(blocks).filter(|halves| halves.variance > 0.0))
                .collect();
            let weight: f64 = halves.iter().map(|halves| 1.0 / halves.variance).sum();
            if halves.is_empty() {
                continue;
            }
            let common = halves.iter().map(|halves| halves.mean / halves.variance).sum::<f64>() / weight;
            squares.push(common.powi(2));
            noises.push(1.0 / weight);
            ratios.extend(halves.iter().filter_map(|halves| {
                // The common drift contains a part of this workload's noise.
                let left = halves.variance - 1.0 / weight;
                // The mean of F with these degrees of freedom, which noise alone has.
                let expected = halves.freedom / (halves.freedom - 2.0).max(1.0);
                (left > 0.05 * halves.variance).then(|| (halves.mean - common).powi(2) / left / expected)
            }));
        }
        let mean = |values: &[f64], of_none| match values.len() {
            0 => of_none,
            count => values.iter().sum::<f64>() / count as f64,
        };
        let noise = mean(&noises, 0.0);
        Self {
            common: (mean(&squares, 0.0) - noise).max(noise * NOISE_KEPT),
            common_freedom: squares.len().max(1) as f64,
            own: (mean(&ratios, 1.0) - 1.0).max(0.0),
            own_freedom: ratios.len().saturating_sub(squares.len()).max(1) as f64,
        }
    }

    /// Returns how much larger the variance of drift is between two phases than between halves of one.
    fn growth(one: &Phase, other: &Phase) -> f64 {
        let length = ((one.ended_s - one.began_s) + (other.ended_s - other.began_s)) / 2.0;
        let gap = (other.began_s - one.ended_s).max(0.0);
        if length > 0.0 { 2.0 + 3.0 * gap / length } else { 2.0 }
    }
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
        let growth = Drift::growth(one, other);
        // The noise between halves is twice that between phases, which have twice the blocks.
        Some(Self::new(
            level,
            growth * drift.common,
            2.0 * growth * drift.own * level.variance,
            drift,
            blocks,
        ))
    }

    /// Compares the halves of a phase, with a drift that is taken from other phases.
    pub(crate) fn of_halves(phase: &Phase, workload: usize, drift: Drift) -> Option<Self> {
        let blocks = phase.blocks.get(workload).filter(|blocks| blocks.len() >= BLOCKS_AT_LEAST)?;
        let level = halves(blocks)?;
        Some(Self::new(level, drift.common, drift.own * level.variance, drift, blocks.len() / 2))
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
