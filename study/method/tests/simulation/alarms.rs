//! No effect is there: how often is one seen?

use rhumb_method::{Compared, Effect, Finding, Trial, adjust};

use crate::machine::{Machine, Noise, trial};
use crate::plan;

/// Runs a study of two trials on machines with different noise: seven comparisons. Tells the number of effects seen.
fn effects_seen(seed: u64) -> usize {
    let noises = [Noise::ALL[seed as usize % 5], Noise::ALL[(seed as usize / 5) % 5]];
    let plans = [plan(2 * seed), plan(2 * seed + 1)];
    let trials = [trial(noises[0], &[1.0; 3], &plans[0]), trial(noises[1], &[1.0; 4], &plans[1])];
    let mut effects: Vec<(&Trial, usize, Effect)> = Vec::new();
    for (trial, plan) in trials.iter().zip(&plans) {
        let arms = 1..trial.arms.len();
        effects.extend(arms.map(|arm| (trial, arm, trial.effect(arm, plan).expect("rounds enough"))));
    }
    let mut compared: Vec<Compared<'_>> = effects
        .iter_mut()
        .map(|(trial, arm, effect)| Compared {
            baseline: &trial.samples[0],
            arm: &trial.samples[*arm],
            effect,
        })
        .collect();
    adjust(&mut compared);
    effects.iter().filter(|(_, _, effect)| effect.finding() != Finding::Unseen).count()
}

#[test]
fn a_thousand_studies_without_an_effect_raise_false_alarms_no_oftener_than_stated() {
    let alarms = (0..1_000).filter(|&seed| effects_seen(seed) > 0).count();
    // 5 of 100 are stated. Far fewer would mean that the procedure throws power away.
    assert!((12..=50).contains(&alarms), "{alarms} of 1,000 studies saw an effect that is not there");
}

#[test]
fn a_single_comparison_raises_false_alarms_no_oftener_than_stated_in_any_noise() {
    for noise in Noise::ALL {
        let seen = |seed: &u64| {
            let plan = plan(*seed);
            trial(noise, &[1.0], &plan).effect(1, &plan).expect("rounds enough").finding() != Finding::Unseen
        };
        let alarms = (0..2_000).filter(seen).count();
        assert!(
            (40..=100).contains(&alarms),
            "{noise:?}: {alarms} of 2,000 comparisons saw an effect that is not there"
        );
    }
}

/// The reason why a trial draws the order of its arms anew in each round.
#[test]
fn a_fixed_order_would_raise_false_alarms_on_a_machine_that_drifts() {
    let seen = |seed: &u64| {
        let mut machine = Machine::new(Noise::Drift, *seed);
        let (baseline, arm): (Vec<f64>, Vec<f64>) =
            (0..200).map(|_| (machine.sample(1.0), machine.sample(1.0))).unzip();
        Effect::of(&baseline, &arm, 0.95).expect("rounds enough").finding() != Finding::Unseen
    };
    let alarms = (0..400).filter(seen).count();
    assert!(alarms > 40, "{alarms} of 400");
}
