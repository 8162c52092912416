//! Many comparisons at once: each of them may raise a false alarm, so they are adjusted together.

use crate::effect::{Effect, logarithms};
use crate::signed_rank::Walsh;

#[cfg(test)]
mod tests;

/// One of the comparisons that are adjusted together: its effect, and the samples that the effect was made of.
#[derive(Debug)]
pub struct Compared<'a> {
    /// The baseline's samples, by round.
    pub baseline: &'a [f64],
    /// The arm's samples, by round.
    pub arm: &'a [f64],
    /// The effect that is to be adjusted.
    pub effect: &'a mut Effect,
}

/// Adjusts the effects of all comparisons of a study, once, when all of them are measured.
///
/// Sets each p-value as [`holm`] does, each adjusted interval at the level at which Holm's procedure tests that
/// comparison, and each smallest effect at the same level. So the chance of one false alarm or more among all
/// comparisons stays below 1 - confidence, and an adjusted interval excludes 1 exactly where there is an effect.
/// The comparisons share the confidence of the first.
pub fn adjust(compared: &mut [Compared<'_>]) {
    let Some(level) = compared.first().map(|first| 1.0 - first.effect.confidence) else { return };
    let p: Vec<f64> = compared.iter().map(|one| one.effect.p).collect();
    let tested = holm(&p).into_iter().zip(tested_levels(&p, level));
    for (Compared { baseline, arm, effect }, (p_adjusted, tested)) in compared.iter_mut().zip(tested) {
        effect.p_adjusted = p_adjusted;
        if let Some(logarithms) = logarithms(baseline, arm) {
            effect.set_level(&mut Walsh::of(&logarithms), tested);
        }
    }
}

/// Returns the p-values adjusted as Holm (1979) does, in the order of `p`.
///
/// The chance of at least one false alarm among all comparisons stays below the level at which the adjusted values are
/// read.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut adjusted = vec![0.0; p.len()];
    let mut largest = 0.0f64;
    for (rank, &index) in ascending(p).iter().enumerate() {
        largest = largest.max(p[index] * (p.len() - rank) as f64).min(1.0);
        adjusted[index] = largest;
    }
    adjusted
}

/// Returns the level at which Holm's procedure tests each of `p`, in the order of `p`, where all of them together have
/// `level`.
///
/// The smallest p-value is tested at the level divided by the number of tests, the next one at the level divided by one
/// less, until one is not significant. That one and all that are larger are tested at its level. A p-value is at most
/// its level exactly where the p-value that [`holm`] gives is at most `level`.
pub fn tested_levels(p: &[f64], level: f64) -> Vec<f64> {
    let found = holm(p).iter().filter(|adjusted| **adjusted <= level).count();
    let mut levels = vec![level; p.len()];
    for (rank, &index) in ascending(p).iter().enumerate() {
        levels[index] = level / (p.len() - rank.min(found)).max(1) as f64;
    }
    levels
}

/// Returns the places of `p` by ascending value.
fn ascending(p: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&one, &other| p[one].total_cmp(&p[other]));
    order
}
