use super::*;

/// Hamilton's depression scores before and after, of nine patients: the example of Hollander and Wolfe (1999), page 40,
/// and of R's help for `wilcox.test`.
const DEPRESSION: [f64; 9] = [-0.952, 0.147, -1.022, -0.430, -0.620, -0.590, -0.490, 0.080, -0.010];

fn close(one: f64, other: f64) {
    assert!((one - other).abs() <= 1e-12 * other.abs().max(1e-3), "{one} is not {other}");
}

/// The numbers are those of R 4: `wilcox.test(y, x, paired = TRUE, conf.int = TRUE)`.
#[test]
fn the_published_example_gives_the_published_figures() {
    let mut walsh = Walsh::of(&DEPRESSION);
    close(walsh.p(), 0.0390625);
    close(walsh.center().expect("an estimate"), -0.46);
    let (low, high) = walsh.interval(0.05).expect("an interval");
    close(low, -0.786);
    close(high, -0.010);
}

/// The numbers are those of SciPy 1.17.1: `wilcoxon(d, method="exact")`.
#[test]
fn ties_and_a_zero_are_no_more_significant_than_elsewhere() {
    let coarse = [
        0.016, -0.010, 0.0, 0.017, -0.008, 0.023, -0.010, 0.006, -0.218, 0.001, 0.009, 0.004, -0.025, -0.030,
        -0.012, 0.011, 0.028, 0.031, -0.007, -0.023, 0.021, 0.016, 0.060, 0.042, 0.025,
    ];
    let ours = Walsh::of(&coarse).p();
    assert!((0.27681541442871094..0.33).contains(&ours), "{ours}");
    close(Walsh::of(&[0.0; 20]).p(), 1.0);
}

/// The critical values are those of Wilcoxon and Wilcox (1964), table 2, two-sided.
#[test]
fn critical_values_are_the_tabulated_ones() {
    for (n, five_percent, one_percent) in [
        (5, None, None),
        (6, Some(0), None),
        (7, Some(2), None),
        (8, Some(3), Some(0)),
        (9, Some(5), Some(1)),
        (10, Some(8), Some(3)),
        (12, Some(13), Some(7)),
        (15, Some(25), Some(15)),
        (20, Some(52), Some(37)),
        (25, Some(89), Some(68)),
    ] {
        assert_eq!(SignedRank::of(n).critical(0.05), five_percent, "{n}");
        assert_eq!(SignedRank::of(n).critical(0.01), one_percent, "{n}");
    }
}

/// The numbers are those of SciPy 1.17.1: twice the cumulative distribution of its exact null distribution.
#[test]
fn tails_are_exact_where_they_are_small() {
    close(SignedRank::of(12).p(5), 0.0048828125);
    close(SignedRank::of(40).p(200), 0.004052109774420387);
    close(SignedRank::of(200).p(7000), 0.0001751910651611254);
    close(SignedRank::of(200).p(8000), 0.012178229704149404);
    close(SignedRank::of(256).p(12000), 0.000159724267382672);
}

/// The numbers are SciPy's, as above.
#[test]
fn the_normal_distribution_is_near_for_many_differences() {
    let near =
        |ours: f64, exact: f64| assert!((ours / exact - 1.0).abs() < 0.05, "{ours} is far from {exact}");
    near(SignedRank::of(300).p(18500), 0.006617254098268595);
    assert!(SignedRank::of(300).p(16000) > 1.040593930644213e-05, "it errs on the careful side");
}

#[test]
fn an_interval_holds_zero_exactly_where_the_test_does_not_reject() {
    for seed in 0..200 {
        // Coarse differences around a shift, so that ties and zeroes are there, too.
        let differences: Vec<f64> =
            (0..7 + seed % 30).map(|i| f64::from((i * 7919 + seed * 104_729) % 23) - 8.0).collect();
        let mut walsh = Walsh::of(&differences);
        for level in [0.2, 0.05, 0.01, 0.001] {
            let holds = walsh.interval(level).is_none_or(|(low, high)| low <= 0.0 && 0.0 <= high);
            assert_eq!(holds, walsh.p() > level, "{differences:?} at {level}");
        }
    }
}
