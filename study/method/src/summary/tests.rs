use super::*;

const EIGHT: [f64; 8] = [0.016, -0.01, 0.0, 0.017, -0.008, 0.023, -0.01, 0.006];

const FORTY: [f64; 40] = [
    -0.0156, -0.0033, -0.0698, 0.0254, 0.0123, 0.0101, 0.0276, 0.0146, 0.0019, 0.0085, -0.0106, 0.023,
    -0.0092, 0.0125, -0.0391, -0.0432, -0.0206, 0.0187, -0.0023, -0.0175, -0.0102, 0.003, -0.0003, -0.0147,
    -0.035, 0.0765, -0.0445, -0.0034, 0.016, 0.0104, 0.0024, 0.0093, 0.0127, 0.0076, -0.035, -0.0287, 0.0228,
    0.0067, 0.007, 0.024,
];

fn close(one: f64, other: f64) {
    assert!((one - other).abs() < 1e-12, "{one} is not {other}");
}

/// The numbers are those of NumPy 2.4.6 (`quantile`) and SciPy 1.17.1 (`median_abs_deviation`).
#[test]
fn summaries_are_those_of_another_implementation() {
    for (values, [first, middle, third, deviation]) in
        [(&EIGHT[..], [-0.0085, 0.003, 0.01625, 0.013]), (&FORTY[..], [-0.014925, 0.0027, 0.01255, 0.0131])]
    {
        let summary = Summary::of(values).expect("values");
        close(summary.first_quartile, first);
        close(summary.median, middle);
        close(summary.third_quartile, third);
        close(summary.deviation, deviation);
        assert_eq!(summary.count as usize, values.len());
    }
    let summary = Summary::of(&FORTY).expect("values");
    assert_eq!((summary.least, summary.most), (-0.0698, 0.0765));
}

/// The numbers are those of SciPy 1.17.1: `quantile_test(values, p=0.5).confidence_interval(0.95)`.
#[test]
fn the_interval_of_a_median_is_that_of_another_implementation() {
    let interval = median_interval(&EIGHT, 0.95).expect("an interval");
    assert_eq!((interval.low, interval.high), (-0.01, 0.023));
    let interval = median_interval(&FORTY, 0.95).expect("an interval");
    assert_eq!((interval.low, interval.high), (-0.0092, 0.0101));
}

#[test]
fn few_values_have_no_interval() {
    assert_eq!(median_interval(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.95), None);
    let interval = median_interval(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0.95).expect("an interval");
    assert_eq!((interval.low, interval.high), (1.0, 6.0));
    assert_eq!(median_interval(&[], 0.95), None);
}

#[test]
fn nothing_has_no_summary() {
    assert_eq!(Summary::of(&[]), None);
    assert_eq!(median(&[]), None);
    assert_eq!(pseudo_median(&[]), None);
    assert_eq!(quantile(&[], 0.5), None);
}

#[test]
fn one_outlier_moves_no_median() {
    assert_eq!(median(&[1.0, 2.0, 3.0, 4.0, 1e9]), Some(3.0));
    assert_eq!(pseudo_median(&[1.0, 2.0, 3.0, 4.0, 1e9]), Some(3.0));
    assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
}

#[test]
fn the_spread_is_a_share_of_the_median() {
    let summary = Summary::of(&[90.0, 95.0, 100.0, 105.0, 110.0]).expect("values");
    close(summary.spread(), 0.1);
    assert_eq!(Summary::of(&[0.0, 0.0]).expect("values").spread(), 0.0);
}

#[test]
fn batches_that_were_interrupted_are_left_out_and_slow_ones_are_not() {
    let mut times: Vec<f64> = (0..100).map(|batch| 1_000.0 + f64::from(batch % 3)).collect();
    let undisturbed = undisturbed_mean(&times).expect("a mean");
    assert!((1_000.0..1_003.0).contains(&undisturbed));
    // The CPU was away in every tenth batch: a mean of all would be 300 times as long.
    times.iter_mut().step_by(10).for_each(|time| *time += 3e6);
    assert!((undisturbed_mean(&times).expect("a mean") - undisturbed).abs() < 0.1);
    // Slow batches that belong to the work stay.
    times.iter_mut().skip(50).for_each(|time| *time = 2_000.0);
    assert!(undisturbed_mean(&times).expect("a mean") > 1_400.0);
    assert_eq!(undisturbed_mean(&[0.0, 0.0, 0.0]), Some(0.0));
    assert_eq!(undisturbed_mean(&[]), None);
}
