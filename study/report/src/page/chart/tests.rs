use super::*;

#[test]
fn ticks_are_round_and_within_the_range() {
    for (low, high, count) in
        [(0.0, 1.0, 5), (0.0, 16_450.0, 5), (-3.0, 3.0, 4), (1e-9, 2e-9, 4), (5.0, 5.0, 4), (0.0, 1e300, 8)]
    {
        let axis = Axis::over(low, high, count);
        assert!((2..=2 * count).contains(&axis.ticks.len()), "{low} to {high}: {:?}", axis.ticks);
        let room = (axis.high - axis.low) * 1e-6;
        assert!(
            axis.ticks.iter().all(|tick| *tick >= axis.low - room && *tick <= axis.high + room),
            "{axis:?}"
        );
    }
    assert_eq!(Axis::over(0.0, 100.0, 5).ticks, [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
}

#[test]
fn powers_are_whole() {
    assert_eq!(Axis::of_powers(5.0, 20.0, 8).ticks, [5.0, 7.0, 9.0, 11.0, 13.0, 15.0, 17.0, 19.0]);
    assert_eq!(Axis::of_powers(2.0, 4.0, 8).ticks, [2.0, 3.0, 4.0]);
    assert_eq!(power(5.0), "32");
    assert_eq!(power_bytes(21.0), "2 MiB");
    assert_eq!(power(-1.0), "0.5");
}

#[test]
fn ticks_are_short() {
    let cases: [(f64, &str); 6] = [
        (0.0, "0"),
        (1e-17, "0"),
        (0.25, "0.25"),
        (2.5, "2.5"),
        (15_000.0, "15,000"),
        (2_500_000.0, "2.50 M"),
    ];
    for (value, text) in cases {
        assert_eq!(tick(value), text);
    }
}

#[test]
fn a_drawing_has_no_size_of_its_own() {
    let drawn = draw(NARROW, "a <b>", |_| Ok(())).unwrap().into_string();
    assert!(
        drawn.starts_with(
            "<svg class=\"plot narrow\" viewBox=\"0 0 1400 1120\" role=\"img\" aria-label=\"a &lt;b&gt;\">"
        ),
        "{drawn}"
    );
    assert_eq!(drawn.matches("<svg").count(), 1);
    assert!(drawn.ends_with("</svg>"));
}
