use rhumb_method::Effect;

use super::*;

/// So many rounds of an experiment.
fn rounds(number: u32) -> Rounds {
    Rounds { number, remedy: "give it more time with --minutes" }
}

#[test]
fn a_calm_machine_has_hope_and_a_noisy_one_has_none() {
    let calm = judge(0.01, Some(0.001), rounds(16));
    assert!(!calm.hopeless, "{}", calm.verdict);
    let noisy = judge(0.3, None, rounds(16));
    assert!(noisy.hopeless && noisy.verdict.contains("a comparison of 16 rounds"), "{}", noisy.verdict);
    assert!(
        noisy.verdict.ends_with("stop other programs, or give it more time with --minutes."),
        "{}",
        noisy.verdict
    );
}

#[test]
fn more_rounds_give_hope() {
    assert!(judge(0.1, None, rounds(40)).hopeless);
    assert!(!judge(0.1, None, rounds(200)).hopeless);
}

#[test]
fn a_machine_whose_time_is_stolen_is_hopeless_however_calm_it_seems() {
    let robbed = judge(0.001, Some(0.2), rounds(200));
    assert!(robbed.hopeless && robbed.verdict.contains("20.0 %"), "{}", robbed.verdict);
}

#[test]
fn stolen_time_is_a_share_of_all_time_and_unknown_where_none_was_ever_stolen() {
    assert_eq!(stolen(((1000, 10), (1200, 30))), Some(0.1));
    assert_eq!(stolen(((1000, 10), (1200, 10))), Some(0.0));
    assert_eq!(stolen(((1000, 0), (1200, 0))), None);
    assert_eq!(stolen(((1000, 10), (1000, 10))), None);
}

#[test]
fn this_machine_has_a_noise() {
    let session = Session::quiet(std::env::temp_dir());
    let noise = noise_of(20, &session, rounds(16)).expect("a noise");
    assert!(noise.spread.is_finite() && noise.spread >= 0.0, "{noise:?}");
    session.end();
    assert_eq!(super::noise(&session, rounds(16)), None);
}

/// Returns samples around 100 whose logarithms are off by 1 %, as sums of twelve numbers are: nearly normally.
fn samples(count: usize, mut state: u64) -> Vec<f64> {
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..count).map(|_| 100.0 * (0.01 * ((0..12).map(|_| next()).sum::<f64>() - 6.0)).exp()).collect()
}

#[test]
fn the_smallest_effect_that_is_promised_is_the_one_that_trials_find_among_fifty_comparisons() {
    for rounds in [40, 200] {
        let mut shares = Vec::new();
        for seed in 0..50 {
            let (baseline, arm) = (samples(rounds, 2 * seed), samples(rounds, 2 * seed + 1));
            let effect = Effect::of(&baseline, &arm, 1.0 - 0.05 / 50.0).expect("an effect");
            let spread = Summary::of(&baseline).expect("samples").spread();
            let promised = SMALLEST_BY_SPREAD * spread / (rounds as f64).sqrt();
            shares.push(effect.smallest_detectable.expect("rounds enough") / promised);
        }
        let share = Summary::of(&shares).expect("shares").median;
        assert!((0.8..1.25).contains(&share), "{rounds} rounds: {share} of what was promised");
    }
}
