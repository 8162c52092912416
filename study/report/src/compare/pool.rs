//! One effect out of many machines: a random-effects summary, and a test of whether the machines differ.
//!
//! Each machine has its own true effect, drawn from a population of machines. The summary gives the mean of the
//! population, and the range in which the next machine's effect is to be expected. All of it is on the scale of
//! logarithms, where a machine's interval is symmetric.
//!
//! Sources: DerSimonian and Laird (1986) for the variance between machines; Hartung and Knapp (2001), with the floor of
//! Röver, Knapp and Friede (2015), for the interval of the mean; Higgins, Thompson and Spiegelhalter (2009) for the range
//! of the next machine; Cochran (1954) for the test.

#[cfg(test)]
mod tests;

use rhumb_method::Effect;
use statrs::distribution::{ChiSquared, ContinuousCDF, Normal, StudentsT};

use crate::schema::check::fault;

/// The fewest machines that are summarised: fewer say little of a population.
const FEWEST: usize = 5;

/// The confidence of the summary's intervals.
pub(super) const CONFIDENCE: f64 = 0.95;

/// The effect of a population of machines.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pooled {
    /// The mean effect of the population, as a ratio.
    pub ratio: f64,
    /// The lower end of its interval.
    pub low: f64,
    /// The upper end of its interval.
    pub high: f64,
    /// The lower end of the range of the next machine's effect.
    pub next_low: f64,
    /// The upper end of that range.
    pub next_high: f64,
    /// The deviation of the true effects between machines, on the scale of logarithms: 0.01 is about 1 %.
    pub deviation: f64,
    /// The machines.
    pub machines: usize,
}

/// The logarithm of a ratio, and the variance with which a machine knows it.
pub(super) type Known = (f64, f64);

/// Returns the summary of at least five effects; `None` of fewer.
pub(super) fn pooled(effects: &[Effect]) -> Option<Pooled> {
    pool(&known(effects))
}

/// Returns the chance of effects that differ as much where all machines have the same; `None` of fewer than two.
pub(super) fn same(effects: &[Effect]) -> Option<f64> {
    let known = known(effects);
    let freedom = known.len().checked_sub(1).filter(|freedom| *freedom > 0)? as f64;
    Some(ChiSquared::new(freedom).ok()?.sf(cochran(&known)))
}

/// Returns what each machine knows. An interval without a width would claim to know all, and is left out, as is an effect
/// that no trial can have had.
pub(super) fn known(effects: &[Effect]) -> Vec<Known> {
    let one = |effect: &Effect| {
        if fault(effect).is_some() {
            return None;
        }
        let certain = Normal::standard().inverse_cdf(0.5 + effect.confidence / 2.0);
        let error = (effect.high.ln() - effect.low.ln()) / (2.0 * certain);
        let known = (effect.ratio.ln(), error * error);
        (known.0.is_finite() && known.1.is_finite() && known.1 > 0.0).then_some(known)
    };
    effects.iter().filter_map(one).collect()
}

/// Returns Cochran's Q: the squares of the distances from the common mean, by what each machine knows.
fn cochran(known: &[Known]) -> f64 {
    let mean = mean(known, 0.0);
    known.iter().map(|(value, variance)| (value - mean).powi(2) / variance).sum()
}

/// Returns the mean, weighted by how well each value is known, where the values themselves vary by `between`.
fn mean(known: &[Known], between: f64) -> f64 {
    let (sum, weights) = known.iter().fold((0.0, 0.0), |(sum, weights), (value, variance)| {
        let weight = 1.0 / (variance + between);
        (sum + weight * value, weights + weight)
    });
    sum / weights
}

fn pool(known: &[Known]) -> Option<Pooled> {
    if known.len() < FEWEST {
        return None;
    }
    let machines = known.len() as f64;
    let (weights, squares) = known.iter().fold((0.0, 0.0), |(sum, squares), (_, variance)| {
        (sum + 1.0 / variance, squares + 1.0 / (variance * variance))
    });
    let between = ((cochran(known) - (machines - 1.0)) / (weights - squares / weights)).max(0.0);
    let center = mean(known, between);
    let weights: f64 = known.iter().map(|(_, variance)| 1.0 / (variance + between)).sum();
    let spread: f64 =
        known.iter().map(|(value, variance)| (value - center).powi(2) / (variance + between)).sum();
    // Machines that agree by chance better than they can know must not make the interval narrower.
    let error = ((spread / (machines - 1.0)).max(1.0) / weights).sqrt();
    let reach =
        |freedom: f64| Some(StudentsT::new(0.0, 1.0, freedom).ok()?.inverse_cdf(0.5 + CONFIDENCE / 2.0));
    let (of_mean, of_next) =
        (reach(machines - 1.0)? * error, reach(machines - 2.0)? * (between + error * error).sqrt());
    Some(Pooled {
        ratio: center.exp(),
        low: (center - of_mean).exp(),
        high: (center + of_mean).exp(),
        next_low: (center - of_next).exp(),
        next_high: (center + of_next).exp(),
        deviation: between.sqrt(),
        machines: known.len(),
    })
}
