//! The ratio of two arms, from samples that were taken in pairs.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

use crate::signed_rank::Walsh;
use crate::summary::Interval;

#[cfg(test)]
mod tests;

/// The power at which [`Effect::smallest_detectable`] is stated.
pub const POWER: f64 = 0.8;

/// The price of looking at the precision while a trial runs: each level is divided by it, and each p-value multiplied.
///
/// A trial that stops when its interval is narrow enough stops more often where the noise seems smaller than it is. In
/// simulated trials of 12 to 200 rounds, tests without this price raise 1.0 to 1.5 times as many false alarms as their
/// level says, the more the stricter the level. With it, intervals are 9 % wider.
const PRICE_OF_LOOKING: f64 = 1.5;

/// [`Effect::smallest_detectable`] is larger than the normal distribution says by this share, divided by the rounds.
///
/// The ends of an interval are themselves estimates. Where they are too near by chance, more power is lost than is won
/// where they are too far. The number was found by simulation: with it, the stated power holds on average.
const ALLOWANCE: f64 = 3.0;

/// The ratio of an arm to its baseline, and how well this trial knows it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Effect {
    /// The arm's value in units of the baseline's: 1.02 is 2 % more.
    pub ratio: f64,
    /// The lower end of the interval of this comparison alone.
    pub low: f64,
    /// The upper end of the interval of this comparison alone.
    pub high: f64,
    /// The share of such intervals that hold the true ratio: 0.95.
    pub confidence: f64,
    /// The chance of a ratio at least as far from 1 where there is no effect.
    pub p: f64,
    /// `p`, adjusted for all comparisons of the study by [`adjust`](crate::adjust()).
    pub p_adjusted: f64,
    /// The interval adjusted for all comparisons of the study: it excludes 1 exactly where [`Effect::finding`] sees an
    /// effect. `None` where these rounds are too few for so many comparisons.
    pub adjusted: Option<Interval>,
    /// The smallest effect, as a share of the baseline, that a trial like this one finds in 80 of 100 cases, after the
    /// adjustment: 0.01 is 1 %. `None` where these rounds are too few to find any.
    pub smallest_detectable: Option<f64>,
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
    /// Returns `None` where the rounds are too few for an interval (0.95 needs six), or where a sample is not a positive
    /// number.
    ///
    /// The ratio is the pseudo-median of the rounds' ratios, on the scale of their logarithms. Interval and p-value are
    /// those of Wilcoxon's signed-rank test, which is exact where the order of the arms was drawn anew in each round, with
    /// an allowance for trials that stop early.
    /// Cost: the square of the number of rounds.
    ///
    /// Sources: Hodges and Lehmann (1963), Wilcoxon (1945), Hollander and Wolfe (1999), section 3.
    pub fn of(baseline: &[f64], arm: &[f64], confidence: f64) -> Option<Self> {
        let mut walsh = Walsh::of(&logarithms(baseline, arm)?);
        let (low, high) = walsh.interval((1.0 - confidence) / PRICE_OF_LOOKING)?;
        let p = (walsh.p() * PRICE_OF_LOOKING).min(1.0);
        let mut effect = Self {
            ratio: walsh.center()?.exp(),
            low: low.exp(),
            high: high.exp(),
            confidence,
            p,
            p_adjusted: p,
            adjusted: None,
            smallest_detectable: None,
            rounds: u32::try_from(arm.len()).unwrap_or(u32::MAX),
        };
        effect.set_level(&mut walsh, 1.0 - confidence);
        Some(effect)
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
        (self.high / self.low).sqrt() - 1.0
    }

    /// Sets the adjusted interval, and the effect that would have been seen, for a test at `level`.
    pub(crate) fn set_level(&mut self, walsh: &mut Walsh, level: f64) {
        let tested = level / PRICE_OF_LOOKING;
        let ends = walsh.interval(tested).map(|(low, high)| (low.exp(), high.exp()));
        self.adjusted = ends.map(|(low, high)| Interval { low, high, confidence: 1.0 - level });
        // An effect as large as the way to an end of the interval is found in one of two cases. The farther end counts:
        // in noise of rare spikes, the nearer one often knows of none.
        let normal = Normal::standard();
        let certain = normal.inverse_cdf(1.0 - tested / 2.0);
        let reach =
            (certain + normal.inverse_cdf(POWER)) / certain * (1.0 + ALLOWANCE / f64::from(self.rounds));
        self.smallest_detectable =
            ends.map(|(low, high)| (self.ratio / low).max(high / self.ratio).powf(reach) - 1.0);
    }
}

/// Returns the logarithm of each round's ratio; `None` where the samples do not pair or one is not a positive number.
pub(crate) fn logarithms(baseline: &[f64], arm: &[f64]) -> Option<Vec<f64>> {
    let positive = |value: &f64| value.is_finite() && *value > 0.0;
    let pair = baseline.len() == arm.len() && baseline.iter().chain(arm).all(positive);
    pair.then(|| baseline.iter().zip(arm).map(|(base, arm)| arm.ln() - base.ln()).collect())
}
