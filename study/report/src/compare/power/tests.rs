use statrs::distribution::Normal;

use super::super::pool::same;
use super::*;
use crate::samples::Dice;

/// Returns an effect with an interval of `error` on the scale of logarithms.
fn effect(value: f64, error: f64) -> Effect {
    let base = [100.0; 20];
    let mut effect = Effect::of(&base, &base, 0.95).unwrap();
    let reach = Normal::standard().inverse_cdf(0.975) * error;
    (effect.ratio, effect.low, effect.high) = (value.exp(), (value - reach).exp(), (value + reach).exp());
    effect.adjusted = None;
    effect
}

#[test]
fn two_machines_need_what_a_test_of_two_means_needs() {
    // Of two machines, the test is that of a normal value: both quantiles, of level and power, in deviations.
    let normal = Normal::standard();
    for level in [0.05, 0.001] {
        let reach = normal.inverse_cdf(1.0 - level / 2.0) + normal.inverse_cdf(POWER);
        assert!((needed(2, level).unwrap().sqrt() - reach).abs() < 1e-3);
    }
}

#[test]
fn the_smallest_difference_is_seen_as_often_as_it_says() {
    let mut dice = Dice::new(3);
    for machines in [2, 8, 40] {
        let errors: Vec<f64> = (0..machines).map(|_| 0.01).collect();
        let effects: Vec<Effect> = errors.iter().map(|error| effect(0.0, *error)).collect();
        let smallest = Power::at(0.05).smallest(&effects).unwrap();
        let rounds = 2_000;
        let seen = (0..rounds).filter(|_| {
            let drawn = errors.iter().enumerate().map(|(index, error)| {
                let apart = if index == 0 { smallest.ln_1p() } else { 0.0 };
                effect(apart + error * dice.bell(), *error)
            });
            same(&drawn.collect::<Vec<_>>()).unwrap() <= 0.05
        });
        let share = seen.count() as f64 / f64::from(rounds);
        assert!((0.76..0.84).contains(&share), "{machines} machines: {share}");
    }
}

#[test]
fn a_machine_alone_has_no_power() {
    assert_eq!(Power::at(0.05).smallest(&[effect(0.0, 0.01)]), None);
}
