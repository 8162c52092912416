//! Effects between phases that cannot take turns.
//!
//! A broken map cannot be mended, so all that is measured on the whole map comes before all that is measured on the broken
//! one. In between the machine itself may have changed: its clock, its neighbours, its caches. Intervals from the noise
//! within phases know nothing of such drift, and find effects where there are none.
//!
//! **Model.** A phase is a row of *blocks*, in each of which every workload is measured once. The logarithm of a block's
//! value is the workload's own level in this phase, plus noise that differs by block, plus two drifts that go on from block
//! to block as random walks: a common one, of the whole machine, and the workload's own. The drifts are estimated from
//! neighbouring *pieces* of the same phase, between which the map did not change ([`pieces`]). The common one is what all
//! workloads' pieces share, the quiet ones counting more. The own one is the rest, as a multiple of the noise.
//!
//! **Own drift.** The halves of one workload's few phases tell little of it, so that the own drift is pooled over all
//! workloads and phases. A workload whose halves differ by more than noise makes them in nine of ten cases has an estimate
//! of its own instead, and one whose halves differ in one direction that clearly has its *slope* added, as far as it leads
//! from phase to phase: there are workloads that become slower with each block, such as one whose files fill a disk. A drift
//! of one workload that is too small for this test, and too large for its neighbours', remains: it may look like an effect.
//!
//! **From pieces to phases.** Of a random walk, the means of two neighbouring stretches of `m` blocks differ with variance
//! `2 m / 3` for each unit of its variance in a block. Two phases of `n` blocks differ so with `2 n / 3`, and the gap between
//! them adds its own length. Drift that only comes and goes is overestimated so.
//!
//! **Pieces.** Quarters tell more often than halves, and halves see a drift that goes on in one direction. The larger of
//! the two estimates of the common drift counts. The own one is of halves, because it is small beside its noise, which
//! large pieces have less of.
//!
//! **Degrees of freedom.** The differences of `k + 1` neighbouring pieces share pieces, so that they count as
//! `k² / (k + (k - 1) / 2)` independent ones for the common drift. A quarter of the noise that its estimate contains stays in
//! it, so that it is never taken for nothing. Variances are added as Satterthwaite (1946) does, and Student's distribution
//! gives interval and p-value. A block farther than [`FAR`] robust deviations from its phase's median counts as that far.
//!
//! **Control.** Each phase's halves are compared with each other as well, in the mean of all workloads, with the drift that
//! small pieces show. No such comparison may find an effect: a machine that changes once in the
//! middle of a phase, or that changes on and on, does so more than its small pieces tell.

mod pieces;
#[cfg(test)]
mod tests;

pub(crate) use self::pieces::Drift;

use rhumb_method::{Effect, effect::POWER, median, summary::Interval};
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// Deviations from the median, beyond which a block counts as that far.
const FAR: f64 = 3.0;

/// A median of absolute distances, in standard deviations of the normal distribution.
const MEDIAN_DISTANCE: f64 = 0.6745;

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

/// Returns for how many blocks a drift has gone on, in the sense of the module's text, between two phases, and by how many
/// blocks their middles are apart.
fn blocks_between(one: &Phase, other: &Phase, blocks: f64) -> (f64, f64) {
    let length_s = ((one.ended_s - one.began_s) + (other.ended_s - other.began_s)) / 2.0;
    let gap_s = (other.began_s - one.ended_s).max(0.0);
    let gap = if length_s > 0.0 { gap_s * blocks / length_s } else { 0.0 };
    (2.0 * blocks / 3.0 + gap, blocks + gap)
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
    /// Adds variances to a level's noise, each with the degrees of freedom of its estimate.
    fn new(level: Level, drifts: &[(f64, f64)], blocks: usize) -> Self {
        let parts = || drifts.iter().copied().chain([(level.variance, level.freedom)]);
        let variance: f64 = parts().map(|(variance, _)| variance).sum();
        let spread: f64 = parts().map(|(variance, freedom)| variance.powi(2) / freedom).sum();
        // Where all blocks are alike, nothing is known of the noise; then no effect is claimed of a difference of 0.
        let freedom = if spread > 0.0 { variance.powi(2) / spread } else { level.freedom };
        Self { mean: level.mean, deviation: variance.sqrt().max(1e-9), freedom, blocks: blocks as u32 }
    }

    /// Compares a workload in two phases; `None` where blocks are too few or no positive numbers.
    pub(crate) fn between(one: &Phase, other: &Phase, workload: usize, drift: &Drift) -> Option<Self> {
        let (before, after) = (one.blocks.get(workload)?, other.blocks.get(workload)?);
        let blocks = before.len().min(after.len());
        if blocks < BLOCKS_AT_LEAST {
            return None;
        }
        let level = Level::of(before)?.to(Level::of(after)?);
        let (length, apart) = blocks_between(one, other, blocks as f64);
        // The variance of a block: half of that of the difference, times the blocks of a side.
        let block = level.variance * blocks as f64 / 2.0;
        let own = drift.own_of(workload);
        let drifts = [
            (drift.common.variance * length, drift.common.freedom),
            (own.walk.variance * block * length, own.walk.freedom),
            ((own.slope * apart).powi(2), level.freedom),
        ];
        Some(Self::new(level, &drifts, blocks))
    }

    /// Compares the halves of a phase of one workload. A block in the middle belongs to none.
    pub(crate) fn of_halves(phase: &Phase, drift: &Drift) -> Option<Self> {
        let blocks = phase.blocks.first().filter(|blocks| blocks.len() >= BLOCKS_AT_LEAST)?;
        let half = blocks.len() / 2;
        let level = Level::of(&blocks[..half])?.to(Level::of(&blocks[blocks.len() - half..])?);
        let length = 2.0 * half as f64 / 3.0;
        Some(Self::new(level, &[(drift.common.variance * length, drift.common.freedom)], half))
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
