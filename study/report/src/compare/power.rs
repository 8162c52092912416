//! The smallest difference between machines that Cochran's test would have seen.
//!
//! One machine that differs from all others by `d`, on the scale of logarithms, gives the test a noncentral chi-squared
//! distribution: its parameter is the square of `d`, by what that machine and the others know together. The machine that
//! differs is taken to know as much as the median machine.
//!
//! Source: Hedges and Pigott (2001), the power of tests of homogeneity.

use std::collections::BTreeMap;

use rhumb_method::{Effect, median};
use statrs::distribution::{ChiSquared, ContinuousCDF};

use super::pool::known;

#[cfg(test)]
mod tests;

/// The chance with which the smallest difference is seen, as for the effects of a study.
const POWER: f64 = 0.8;

/// A chi-squared distribution that is cut where this share of it is left.
const REST: f64 = 1e-9;

/// The smallest differences that tests at one level would have seen.
pub(super) struct Power {
    level: f64,
    /// The parameter with which the test has its power, by the number of machines.
    needed: BTreeMap<usize, Option<f64>>,
}

impl Power {
    /// Makes the power of tests at `level`, each.
    pub(super) fn at(level: f64) -> Self {
        Self { level, needed: BTreeMap::new() }
    }

    /// Returns the smallest difference between one machine and the others that would have been seen, as a share; `None` of
    /// fewer than two machines.
    pub(super) fn smallest(&mut self, effects: &[Effect]) -> Option<f64> {
        let known = known(effects);
        if known.len() < 2 {
            return None;
        }
        let level = self.level;
        let needed = *self.needed.entry(known.len()).or_insert_with(|| needed(known.len(), level));
        let weights: Vec<f64> = known.iter().map(|(_, variance)| 1.0 / variance).collect();
        let total: f64 = weights.iter().sum();
        let weight =
            median(&weights.iter().map(|weight| weight * (1.0 - weight / total)).collect::<Vec<_>>())?;
        let smallest = (needed? / weight).sqrt().exp() - 1.0;
        smallest.is_finite().then_some(smallest)
    }
}

/// Returns the parameter with which the test of `machines` at `level` has its power; `None` where it has none at all.
fn needed(machines: usize, level: f64) -> Option<f64> {
    let freedom = (machines - 1) as f64;
    let edge = ChiSquared::new(freedom).ok()?.inverse_cdf(1.0 - level);
    let (mut low, mut high) = (0.0, 1.0);
    while power(freedom, high, edge)? < POWER {
        (low, high) = (high, high * 2.0);
        if high > 1e4 {
            return None;
        }
    }
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        if power(freedom, middle, edge)? < POWER {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(high)
}

/// Returns the chance that a noncentral chi-squared value lies beyond `edge`: a mixture of central ones.
fn power(freedom: f64, parameter: f64, edge: f64) -> Option<f64> {
    let half = parameter / 2.0;
    let mut weight = (-half).exp();
    let (mut beyond, mut left) = (0.0, 1.0);
    let mut step = 0.0;
    while left > REST {
        beyond += weight * ChiSquared::new(freedom + 2.0 * step).ok()?.sf(edge);
        left -= weight;
        step += 1.0;
        weight *= half / step;
        // Rounding may keep a rest; beyond twice the mean and some, nothing is left.
        if step > 4.0 * half + 100.0 {
            break;
        }
    }
    Some(beyond)
}
