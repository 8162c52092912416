//! Medians, quartiles and spreads of samples.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, DiscreteCDF};

#[cfg(test)]
mod tests;

/// A range that holds a true value, and how often such ranges do.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The share of such intervals that hold the true value: 0.95.
    pub confidence: f64,
}

/// The shape of a set of samples.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Samples.
    pub count: u32,
    /// The smallest.
    pub least: f64,
    /// The first quartile: a quarter of the samples is smaller.
    pub first_quartile: f64,
    /// The median.
    pub median: f64,
    /// The third quartile: a quarter of the samples is larger.
    pub third_quartile: f64,
    /// The largest.
    pub most: f64,
    /// The median of the distances from the median.
    pub deviation: f64,
}

impl Summary {
    /// Summarises `values`, which need no order; `None` of nothing.
    pub fn of(values: &[f64]) -> Option<Self> {
        let sorted = sorted(values);
        let middle = quantile(&sorted, 0.5)?;
        let distances: Vec<f64> = sorted.iter().map(|value| (value - middle).abs()).collect();
        Some(Self {
            count: u32::try_from(sorted.len()).unwrap_or(u32::MAX),
            least: *sorted.first()?,
            first_quartile: quantile(&sorted, 0.25)?,
            median: middle,
            third_quartile: quantile(&sorted, 0.75)?,
            most: *sorted.last()?,
            deviation: median(&distances)?,
        })
    }

    /// Returns the range from the first to the third quartile as a share of the median; 0 where both are 0.
    pub fn spread(&self) -> f64 {
        let range = self.third_quartile - self.first_quartile;
        if range == 0.0 { 0.0 } else { range / self.median.abs() }
    }
}

/// Returns the quantile `q` (0 to 1) of `sorted`, interpolated linearly between neighbours; `None` of nothing.
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = q.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let above = sorted.get(below + 1).copied().unwrap_or(sorted[below]);
    Some(sorted[below] + (above - sorted[below]) * (place - below as f64))
}

/// Returns the median of `values`, which need no order; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(&sorted(values), 0.5)
}

/// Returns the interval of the median of the source of `values`: two of the values, chosen by the sign test.
///
/// Returns `None` where there are too few values: 0.95 needs six. The interval takes the values for independent of each
/// other. A drift of the machine that all of them share is not in it, so that two intervals of this kind are no
/// comparison: an [`Effect`](crate::Effect) is.
///
/// Source: Thompson (1936).
pub fn median_interval(values: &[f64], confidence: f64) -> Option<Interval> {
    let sorted = sorted(values);
    let halves = Binomial::new(0.5, sorted.len() as u64).ok()?;
    let tail = (1.0 - confidence) / 2.0;
    // As many values may lie on the far side of an end as is unlikely in fair tosses of a coin.
    let outside = (0..sorted.len() / 2).take_while(|count| halves.cdf(*count as u64) <= tail).last()?;
    Some(Interval { low: sorted[outside], high: sorted[sorted.len() - 1 - outside], confidence })
}

/// A batch that took more than so many times the median was interrupted.
const INTERRUPTED: f64 = 4.0;

/// Returns the mean time of those batches of one sample that ran undisturbed; `None` of nothing.
///
/// A batch takes a part of a millisecond, and a CPU that was given to another program is away for milliseconds. So the
/// batches in which that happened are told by their length. On a busy machine they would be most of the sample.
pub fn undisturbed_mean(batches: &[f64]) -> Option<f64> {
    let longest = INTERRUPTED * median(batches)?;
    let kept = batches.iter().filter(|time| **time <= longest);
    let (sum, count) = kept.fold((0.0, 0.0), |(sum, count), time| (sum + time, count + 1.0));
    Some(sum / count)
}

/// Returns the pseudo-median of Hodges and Lehmann (1963): the median of the means of all pairs; `None` of nothing.
///
/// Cost: the square of the number of values.
pub fn pseudo_median(values: &[f64]) -> Option<f64> {
    median(&walsh_averages(values))
}

/// Returns the means of all pairs of values, each with itself, too.
pub(crate) fn walsh_averages(values: &[f64]) -> Vec<f64> {
    let mut means = Vec::with_capacity(values.len() * (values.len() + 1) / 2);
    for (index, one) in values.iter().enumerate() {
        means.extend(values[index..].iter().map(|other| one.midpoint(*other)));
    }
    means
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}
