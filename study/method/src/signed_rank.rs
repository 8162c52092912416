//! Wilcoxon's signed-rank test and the interval that belongs to it.
//!
//! The test counts the *Walsh averages* of `n` differences: the means of all pairs of them, each with itself, too. Of
//! these `n (n + 1) / 2` averages, the number below zero is Wilcoxon's statistic. Without an effect, each difference is
//! as likely to have the other sign, and the distribution of the statistic follows exactly: it is that of the sum of
//! those of the numbers 1 to `n` that a fair coin chose. Nothing is assumed of the shape of the noise.
//!
//! The interval at a level is the set of shifts that the test does not reject at the level, so that the two never
//! contradict each other. Its ends are Walsh averages.
//!
//! Ties and zeroes count against an effect, which makes the test careful where samples are coarse.
//!
//! Why not the bootstrap: of 8 and of 12 differences, its percentile intervals of 95 % held the truth in 91 to 93 of 100
//! simulated cases. Studentised ones held it in 95 to 98, with heavy tails (Student's t with two degrees of freedom) at
//! intervals that were 8 and 17 % wider than these, which held it in 96 and 97. These need no resamples, either.
//!
//! Sources: Wilcoxon (1945), Tukey (1949), Hollander and Wolfe (1999), section 3.

use statrs::distribution::{ContinuousCDF, Normal};

use crate::summary::walsh_averages;

#[cfg(test)]
mod tests;

/// Up to this many differences, the distribution is computed exactly: some 3 million additions. Above it, the normal
/// distribution differs from it by less than a twentieth of any p-value above 0.0001.
const EXACT_UP_TO: usize = 256;

/// The distribution of the signed-rank statistic of `n` differences that have no effect.
#[derive(Debug)]
pub(crate) struct SignedRank {
    n: usize,
    /// `cumulative[t]` is the chance of a statistic of at most `t`; for the lower half of them.
    cumulative: Option<Vec<f64>>,
}

impl SignedRank {
    /// Computes the distribution for `n` differences. Cost: the cube of `n`, bounded by [`EXACT_UP_TO`].
    pub(crate) fn of(n: usize) -> Self {
        let cumulative = (n <= EXACT_UP_TO).then(|| {
            let half = Self { n, cumulative: None }.averages() / 2;
            let mut chance = vec![0.0; half + 1];
            chance[0] = 1.0;
            let mut reach = 0;
            for rank in 1..=n {
                reach = (reach + rank).min(half);
                for sum in (0..=reach).rev() {
                    let with = if sum >= rank { chance[sum - rank] } else { 0.0 };
                    chance[sum] = (chance[sum] + with) / 2.0;
                }
            }
            let mut sum = 0.0;
            chance.iter_mut().for_each(|entry| {
                sum += *entry;
                *entry = sum;
            });
            chance
        });
        Self { n, cumulative }
    }

    /// Returns the number of Walsh averages.
    fn averages(&self) -> usize {
        self.n * (self.n + 1) / 2
    }

    /// Returns the chance of a statistic at least as far from the middle as `statistic`, on both sides.
    pub(crate) fn p(&self, statistic: usize) -> f64 {
        let one_side = match &self.cumulative {
            Some(cumulative) => cumulative.get(statistic).copied().unwrap_or(1.0),
            None => {
                let n = self.n as f64;
                let deviation = (n * (n + 1.0) * (2.0 * n + 1.0) / 24.0).sqrt();
                Normal::standard().cdf((statistic as f64 + 0.5 - n * (n + 1.0) / 4.0) / deviation)
            }
        };
        (2.0 * one_side).min(1.0)
    }

    /// Returns the largest statistic that is significant at `level`; `None` where there is none.
    fn critical(&self, level: f64) -> Option<usize> {
        let (mut low, mut high) = (0, self.averages() / 2);
        // The first statistic that is not significant lies in `low..=high`: its p-value is 1 in the middle.
        while low < high {
            let middle = low.midpoint(high);
            if self.p(middle) <= level { low = middle + 1 } else { high = middle }
        }
        low.checked_sub(1)
    }
}

/// The Walsh averages of a set of differences.
#[derive(Debug)]
pub(crate) struct Walsh {
    averages: Vec<f64>,
    null: SignedRank,
}

impl Walsh {
    /// Computes the averages. Cost: the square of the number of differences, and that of [`SignedRank::of`]. Each of the
    /// other methods costs the square.
    pub(crate) fn of(differences: &[f64]) -> Self {
        Self { averages: walsh_averages(differences), null: SignedRank::of(differences.len()) }
    }

    /// Returns the middle of the averages: the estimate of Hodges and Lehmann (1963); `None` of nothing.
    pub(crate) fn center(&mut self) -> Option<f64> {
        let count = self.averages.len();
        Some(self.nth(count.checked_sub(1)? / 2)?.midpoint(self.nth(count / 2)?))
    }

    /// Returns the p-value of the hypothesis that the differences lie around zero.
    pub(crate) fn p(&self) -> f64 {
        let not_above = self.averages.iter().filter(|average| **average <= 0.0).count();
        let not_below = self.averages.iter().filter(|average| **average >= 0.0).count();
        self.null.p(not_above.min(not_below))
    }

    /// Returns the shifts that the test does not reject at `level`, such as 0.05; `None` where there are too few
    /// differences to reject any.
    pub(crate) fn interval(&mut self, level: f64) -> Option<(f64, f64)> {
        let critical = self.null.critical(level)?;
        let last = self.averages.len().checked_sub(1)?;
        Some((self.nth(critical)?, self.nth(last.checked_sub(critical)?)?))
    }

    /// Returns the average that has `place` smaller ones.
    fn nth(&mut self, place: usize) -> Option<f64> {
        let inside = place < self.averages.len();
        inside.then(|| *self.averages.select_nth_unstable_by(place, f64::total_cmp).1)
    }
}
