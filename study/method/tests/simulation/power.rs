//! An effect as large as the smallest that a trial claims to see: how often is it seen?

use rhumb_method::{Compared, Finding, Plan, adjust};

use crate::machine::{Noise, trial};
use crate::plan;

/// Runs a study of `comparisons` arms without an effect, then one on a machine of the same kind in which each arm has
/// the effect that the first study said it would have seen. Returns the share of these that are found.
fn share_found(noise: Noise, comparisons: usize, studies: u64, plan: impl Fn(u64) -> Plan) -> f64 {
    let mut found = 0;
    for seed in 0..studies {
        let effects = |ratios: &[f64], plan: &Plan| {
            let trial = trial(noise, ratios, plan);
            let mut effects: Vec<_> =
                (1..=ratios.len()).map(|arm| trial.effect(arm, plan).expect("rounds enough")).collect();
            let mut compared: Vec<Compared<'_>> = effects
                .iter_mut()
                .zip(&trial.samples[1..])
                .map(|(effect, arm)| Compared { baseline: &trial.samples[0], arm, effect })
                .collect();
            adjust(&mut compared);
            effects
        };
        let without = effects(&vec![1.0; comparisons], &plan(2 * seed));
        let smallest = without[0].smallest_detectable.expect("rounds enough to see any");
        // The first arm has the effect. The others have none, so that Holm's procedure helps none of them.
        let mut ratios = vec![1.0; comparisons];
        ratios[0] += smallest.min(1e6);
        found += u32::from(effects(&ratios, &plan(2 * seed + 1))[0].finding() == Finding::More);
    }
    f64::from(found) / studies as f64
}

#[test]
fn the_smallest_effect_is_seen_as_often_as_stated() {
    for noise in Noise::ALL {
        let share = share_found(noise, 1, 1_000, plan);
        assert!((0.8..0.95).contains(&share), "{noise:?}: {share} of the smallest effects were found");
    }
}

#[test]
fn the_smallest_effect_among_many_comparisons_is_seen_as_often_as_stated() {
    for noise in Noise::ALL {
        let share = share_found(noise, 8, 300, plan);
        assert!((0.77..0.95).contains(&share), "{noise:?}: {share} of the smallest effects were found");
    }
}

#[test]
fn the_smallest_effect_is_seen_as_often_as_stated_in_trials_of_few_and_of_many_rounds() {
    for rounds in [8, 12, 20, 40, 100] {
        let fixed = |seed| Plan { rounds_at_least: rounds, rounds_at_most: rounds, ..plan(seed) };
        let share = share_found(Noise::Calm, 1, 500, fixed);
        assert!((0.8..0.95).contains(&share), "{rounds} rounds: {share} of the smallest effects were found");
    }
}

/// The limit of the statement: rare spikes that a dozen rounds may not show.
#[test]
fn few_rounds_of_rare_spikes_claim_little_too_much() {
    let fixed = |seed| Plan { rounds_at_least: 12, rounds_at_most: 12, ..plan(seed) };
    let share = share_found(Noise::Spikes, 8, 500, fixed);
    assert!((0.7..0.85).contains(&share), "{share} of the smallest effects were found");
}
