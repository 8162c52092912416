use super::*;

/// Twelve rounds: the arm takes 2 % longer than its baseline, and a bit more or less.
fn samples() -> (Vec<f64>, Vec<f64>) {
    let baseline: Vec<f64> = (0..12).map(|round| 100.0 + f64::from(round * 37 % 11)).collect();
    let arm = baseline
        .iter()
        .zip(0..)
        .map(|(base, round)| base * (1.02 + 0.001 * f64::from(round * 5 % 7 - 3)))
        .collect();
    (baseline, arm)
}

#[test]
fn a_planted_effect_is_found_with_its_size() {
    let (baseline, arm) = samples();
    let effect = Effect::of(&baseline, &arm, 0.95).expect("an effect");
    assert!((effect.ratio - 1.02).abs() < 0.001, "{effect:?}");
    assert!(effect.low < 1.02 && 1.02 < effect.high, "{effect:?}");
    assert_eq!(effect.finding(), Finding::More);
    assert_eq!(effect.rounds, 12);
    // All rounds agree: three p-values of two, among the signs of 12 rounds.
    assert!((effect.p - 3.0 / 4096.0).abs() < 1e-15, "{effect:?}");
    let reverse = Effect::of(&arm, &baseline, 0.95).expect("an effect");
    assert_eq!(reverse.finding(), Finding::Less);
    assert!((reverse.ratio * effect.ratio - 1.0).abs() < 1e-12);
    assert!((reverse.low * effect.high - 1.0).abs() < 1e-12);
}

#[test]
fn the_same_against_the_same_has_no_effect() {
    let (baseline, _) = samples();
    let effect = Effect::of(&baseline, &baseline, 0.95).expect("an effect");
    assert_eq!((effect.ratio, effect.low, effect.high, effect.p), (1.0, 1.0, 1.0, 1.0));
    assert_eq!(effect.finding(), Finding::Unseen);
    assert_eq!(effect.smallest_detectable, Some(0.0));
}

#[test]
fn exact_counts_that_differ_are_an_effect_without_width() {
    let effect = Effect::of(&[400.0; 10], &[404.0; 10], 0.95).expect("an effect");
    assert!((effect.ratio - 1.01).abs() < 1e-12);
    assert_eq!(effect.half_width(), 0.0);
    assert_eq!(effect.finding(), Finding::More);
}

#[test]
fn too_few_rounds_and_samples_that_are_no_times_have_no_effect() {
    let (baseline, arm) = samples();
    assert_eq!(Effect::of(&baseline[..5], &arm[..5], 0.95), None);
    assert!(Effect::of(&baseline[..6], &arm[..6], 0.95).is_some());
    assert_eq!(Effect::of(&baseline, &arm[1..], 0.95), None);
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let mut arm = arm.clone();
        arm[3] = bad;
        assert_eq!(Effect::of(&baseline, &arm, 0.95), None, "{bad}");
    }
}

#[test]
fn an_effect_is_the_same_in_every_unit() {
    let (baseline, arm) = samples();
    let ns = Effect::of(&baseline, &arm, 0.95).expect("an effect");
    let [baseline, arm] =
        [baseline, arm].map(|samples| samples.iter().map(|sample| sample / 1024.0).collect::<Vec<_>>());
    let us = Effect::of(&baseline, &arm, 0.95).expect("an effect");
    assert!((ns.ratio - us.ratio).abs() < 1e-12);
    assert_eq!(ns.p, us.p);
}
