use super::*;
use crate::samples::Dice;

/// Logarithms of risk ratios and their variances, of thirteen trials of the BCG vaccine (Colditz and others, 1994).
const TRIALS: [Known; 13] = [
    (-0.88931133392, 0.325584765004),
    (-1.585388657201, 0.194581121398),
    (-1.3480731483, 0.415367965368),
    (-1.441551190021, 0.020010031902),
    (-0.217547322211, 0.05121017217),
    (-0.786115585819, 0.006905618456),
    (-1.620898223598, 0.223017247572),
    (0.011952333524, 0.003961579298),
    (-0.469417648738, 0.056434210463),
    (-1.371344803473, 0.073024793613),
    (-0.339358828338, 0.012412213972),
    (0.445913400571, 0.5325058452),
    (-0.017313948217, 0.071404659684),
];

#[test]
fn the_summary_is_that_of_another_program() {
    // statsmodels 0.14, combine_effects(method_re="chi2", use_t=True): Q, tau2, and the row "random effect wls".
    assert!((cochran(&TRIALS) - 152.23300808237337).abs() < 1e-6);
    let pooled = pool(&TRIALS).unwrap();
    assert!((pooled.deviation.powi(2) - 0.30876026286237634).abs() < 1e-8);
    assert!((pooled.ratio.ln() - -0.714117).abs() < 1e-6);
    assert!((pooled.low.ln() - -1.107821).abs() < 1e-5, "{}", pooled.low.ln());
    assert!((pooled.high.ln() - -0.320413).abs() < 1e-5, "{}", pooled.high.ln());
    assert!(pooled.next_low < pooled.low && pooled.next_high > pooled.high);
}

#[test]
fn few_machines_have_no_summary() {
    assert_eq!(pool(&TRIALS[..4]), None);
    assert!(pool(&TRIALS[..5]).is_some());
}

#[test]
fn machines_that_agree_too_well_do_not_narrow_the_interval() {
    let pooled = pool(&[(0.01, 0.01); 5]).unwrap();
    // Of five values with a variance of 0.01 each, the mean has one of 0.002; t with 4 degrees of freedom reaches 2.776.
    let expected = 2.7764 * 0.002f64.sqrt();
    assert!(((pooled.high / pooled.ratio).ln() - expected).abs() < 1e-4);
    assert_eq!(pooled.deviation, 0.0);
}

#[test]
fn the_interval_has_the_mean_as_often_as_it_says() {
    let mut dice = Dice::new(11);
    let mut held = 0;
    let mut next = 0;
    let rounds = 2_000;
    for _ in 0..rounds {
        let mut draw = || {
            let error = 0.005 + 0.01 * dice.flat();
            (0.03 + 0.02 * dice.bell() + error * dice.bell(), error * error)
        };
        let known: Vec<Known> = (0..10).map(|_| draw()).collect();
        let pooled = pool(&known).unwrap();
        held += usize::from(pooled.low.ln() <= 0.03 && pooled.high.ln() >= 0.03);
        let truth = 0.03 + 0.02 * dice.bell();
        next += usize::from(pooled.next_low.ln() <= truth && pooled.next_high.ln() >= truth);
    }
    for (what, count) in [("mean", held), ("next", next)] {
        let share = count as f64 / rounds as f64;
        assert!((0.93..0.985).contains(&share), "{what}: {share}");
    }
}

#[test]
fn machines_that_are_alike_are_seldom_told_apart() {
    let mut dice = Dice::new(5);
    for (rounds, machines) in [(8, 2), (20, 2), (20, 8), (60, 8)] {
        let studies = 1_000;
        let mut alarms = 0;
        for _ in 0..studies {
            let effects: Vec<Effect> = (0..machines)
                .map(|_| {
                    let base = vec![100.0; rounds];
                    let arm: Vec<f64> = (0..rounds).map(|_| 103.0 * (0.01 * dice.bell()).exp()).collect();
                    Effect::of(&base, &arm, 0.95).unwrap()
                })
                .collect();
            alarms += usize::from(same(&effects).unwrap() <= 0.05);
        }
        let share = f64::from(alarms as u32) / f64::from(studies);
        assert!(share < 0.07, "{rounds} rounds, {machines} machines: {share}");
    }
}
