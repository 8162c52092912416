//! The ratio of two arms, from samples that were taken in pairs.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

use crate::summary::{pseudo_median, quantile};

/// How many resamples the interval and the p-value rest on.
const RESAMPLES: usize = 2_000;

/// The power at which [`Effect::smallest_detectable`] is stated.
pub const POWER: f64 = 0.8;

/// The ratio of an arm to its baseline, and how well this trial knows it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Effect {
    /// The arm's value in units of the baseline's: 1.02 is 2 % more.
    pub ratio: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
    /// The share of such intervals that hold the true ratio: 0.95.
    pub confidence: f64,
    /// The chance of a ratio at least as far from 1 where there is no effect.
    pub p: f64,
    /// `p`, adjusted for all comparisons of the study ([`crate::adjust`]).
    pub p_adjusted: f64,
    /// The smallest effect, as a share of the baseline, that a trial like this one finds in 80 of 100 cases: 0.01 is 1 %.
    pub smallest_detectable: f64,
    /// Pairs of samples.
    pub rounds: u32,
}

/// The answer of a comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// The arm's value is smaller than the baseline's.
    Less,
    /// The arm's value is larger than the baseline's.
    More,
    /// No effect was seen; one of [`Effect::smallest_detectable`] would most likely have been.
    Unseen,
}

impl Effect {
    /// Compares the samples of `arm` with those of `baseline` that were taken in the same round.
    ///
    /// Returns `None` for fewer than three pairs, or where a sample is not a positive number. The same samples and the
    /// same `seed` give the same effect.
    ///
    /// Sources: Hodges and Lehmann (1963) for the ratio; Efron and Tibshirani (1993), chapters 13 and 15, for the
    /// interval and the p-value.
    pub fn of(baseline: &[f64], arm: &[f64], confidence: f64, seed: u64) -> Option<Self> {
        let positive = |value: &f64| value.is_finite() && *value > 0.0;
        if baseline.len() != arm.len() || arm.len() < 3 || !baseline.iter().chain(arm).all(positive) {
            return None;
        }
        let logs: Vec<f64> = baseline.iter().zip(arm).map(|(base, arm)| (arm / base).ln()).collect();
        let center = pseudo_median(&logs)?;
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let mut drawn = vec![0.0; logs.len()];
        let mut resamples = Vec::with_capacity(RESAMPLES);
        let mut extreme = 0;
        for _ in 0..RESAMPLES {
            for slot in &mut drawn {
                *slot = logs[random.random_range(0..logs.len())];
            }
            resamples.push(pseudo_median(&drawn)?);
            // Without an effect, the sign of each pair is as good as drawn.
            for (slot, log) in drawn.iter_mut().zip(&logs) {
                *slot = if random.random() { *log } else { -log };
            }
            extreme += usize::from(pseudo_median(&drawn)?.abs() >= center.abs());
        }
        resamples.sort_by(f64::total_cmp);
        let tail = (1.0 - confidence) / 2.0;
        let (low, high) = (quantile(&resamples, tail)?, quantile(&resamples, 1.0 - tail)?);
        let normal = Normal::standard();
        let certain = normal.inverse_cdf(1.0 - tail);
        let deviation = (high - low) / (2.0 * certain);
        let p = f64::from(extreme as u32 + 1) / (RESAMPLES + 1) as f64;
        Some(Self {
            ratio: center.exp(),
            low: low.exp(),
            high: high.exp(),
            confidence,
            p,
            p_adjusted: p,
            smallest_detectable: ((certain + normal.inverse_cdf(POWER)) * deviation).exp() - 1.0,
            rounds: logs.len() as u32,
        })
    }

    /// Returns the answer of this comparison, once its p-value is adjusted.
    pub fn finding(&self) -> Finding {
        if self.p_adjusted > 1.0 - self.confidence {
            Finding::Unseen
        } else if self.ratio < 1.0 {
            Finding::Less
        } else {
            Finding::More
        }
    }

    /// Returns half the width of the interval, as a share of the baseline.
    pub fn half_width(&self) -> f64 {
        ((self.high / self.low).ln() / 2.0).exp() - 1.0
    }
}
