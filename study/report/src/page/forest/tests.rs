use super::*;

#[test]
fn ticks_are_few_round_and_have_no_effect_among_them() {
    for (low, high) in [(0.985, 1.015), (0.9, 1.4), (0.5, 2.0), (0.01, 100.0), (1e-6, 1e6), (0.7, 3.4)] {
        let ticks = ticks(low, high);
        assert!((2..=9).contains(&ticks.len()), "{low} to {high}: {ticks:?}");
        assert!(ticks.iter().any(|tick| (tick - 1.0).abs() < 1e-9), "{ticks:?}");
        assert!(ticks.iter().all(|tick| *tick >= low && *tick <= high), "{ticks:?}");
    }
}

#[test]
fn places_are_within_the_width_whatever_the_ratio() {
    let scale = Scale::over(std::iter::empty());
    for ratio in [f64::NAN, f64::INFINITY, 0.0, -1.0, 1.0, 1e300] {
        assert!((0.0..=100.0).contains(&scale.place(ratio)));
    }
    assert!((scale.place(1.0) - 50.0).abs() < 1.0);
}
