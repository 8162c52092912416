//! An effect is there: how often do the intervals hold it?

use rhumb_method::{Compared, adjust};

use crate::machine::{Noise, trial};
use crate::plan;

/// The arm takes 2 % longer.
const RATIO: f64 = 1.02;

#[test]
fn intervals_hold_the_true_ratio_as_often_as_stated_although_trials_stop_early() {
    for noise in Noise::ALL {
        let holds = |seed: &u64| {
            let plan = plan(*seed);
            let effect = trial(noise, &[RATIO], &plan).effect(1, &plan).expect("rounds enough");
            effect.low <= RATIO && RATIO <= effect.high
        };
        let held = (0..4_000).filter(holds).count();
        // 95 of 100 are stated.
        assert!((3_800..3_920).contains(&held), "{noise:?}: {held} of 4,000 intervals hold the true ratio");
    }
}

/// Of ten comparisons, five have an effect.
#[test]
fn each_adjusted_interval_holds_its_ratio_oftener_than_one_alone_and_most_studies_hold_all() {
    const RATIOS: [f64; 10] = [1.0, 1.0, 1.0, 1.0, 1.0, 0.97, 1.02, 1.03, 1.05, 1.1];
    let (mut intervals, mut studies) = (0, 0);
    for seed in 0..1_000 {
        let plan = plan(seed);
        let trial = trial(Noise::ALL[seed as usize % 5], &RATIOS, &plan);
        let mut effects: Vec<_> =
            (1..=RATIOS.len()).map(|arm| trial.effect(arm, &plan).expect("rounds enough")).collect();
        let mut compared: Vec<Compared<'_>> = effects
            .iter_mut()
            .zip(&trial.samples[1..])
            .map(|(effect, arm)| Compared { baseline: &trial.samples[0], arm, effect })
            .collect();
        adjust(&mut compared);
        let held = effects.iter().zip(RATIOS).filter(|(effect, ratio)| {
            effect.adjusted.is_none_or(|interval| interval.low <= *ratio && *ratio <= interval.high)
        });
        let held = held.count();
        intervals += held;
        studies += usize::from(held == RATIOS.len());
    }
    assert!(intervals >= 9_900, "{intervals} of 10,000 intervals hold their ratio");
    assert!(studies >= 940, "{studies} of 1,000 studies hold all ratios");
}
