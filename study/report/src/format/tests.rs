use super::*;

#[test]
fn numbers_have_few_digits_and_groups() {
    let cases: [(f64, &str); 12] = [
        (0.0, "0"),
        (-0.0, "0"),
        (7.0, "7"),
        (1234567.0, "1,234,567"),
        (-1234.5, "−1,234"),
        (445.4, "445"),
        (12.345, "12.3"),
        (0.01234, "0.0123"),
        (1e300, "1.00e300"),
        (1e-9, "1.00e−9"),
        (f64::NAN, "–"),
        (f64::INFINITY, "–"),
    ];
    for (value, text) in cases {
        assert_eq!(number(value), text);
    }
}

#[test]
fn sizes_and_times_are_scaled() {
    assert_eq!(bytes(0.0), "0 B");
    assert_eq!(bytes(4096.0), "4 KiB");
    assert_eq!(bytes(1.5 * 1024.0 * 1024.0), "1.50 MiB");
    assert_eq!(bytes(f64::NAN), "– B");
    assert_eq!(bytes(u64::MAX as f64), "16,384 PiB");
    assert_eq!(quantity(445.2, "ns"), "445 ns");
    assert_eq!(quantity(46_000.0, "ns"), "46 µs");
    assert_eq!(quantity(2.5e9, "ns"), "2.50 s");
    assert_eq!(quantity(f64::NAN, "ns"), "–");
    assert_eq!(quantity(3.0, ""), "3");
    assert_eq!(quantity(1028.0, "KiB"), "1.00 MiB");
    assert_eq!(quantity(512.0, "MiB"), "512 MiB");
    assert_eq!(quantity(0.0309, "share"), "3.1 %");
    assert_eq!(probability(0.00125), "1.25e−3");
    assert_eq!(probability(f64::NAN), "–");
    assert_eq!(span(0.0), "0 s");
    assert_eq!(span(0.0001), "<1 ms");
    assert_eq!(span(0.012), "12 ms");
    assert_eq!(span(4.25), "4.2 s");
    assert_eq!(span(200.0), "3 min 20 s");
    assert_eq!(span(3840.0), "1 h 4 min");
    assert_eq!(page(None), "not mapped");
}

#[test]
fn ratios_are_changes() {
    assert_eq!(change(1.0), "+0 %");
    assert_eq!(change(1.0234), "+2.3 %");
    assert_eq!(change(1.0012), "+0.12 %");
    assert_eq!(change(0.5), "−50 %");
    assert_eq!(change(4.12), "×4.10");
    assert_eq!(change(f64::NAN), "–");
    assert_eq!(interval(0.99, 1.02), "−1.0 % to +2.0 %");
    assert_eq!(share(0.5), "50 %");
}

#[test]
fn moments_are_read_at_a_glance() {
    assert_eq!(moment(1_795_828_000), "28 November 2026, 01:06 UTC");
    assert_eq!(moment(u64::MAX), "–");
    assert_eq!(counted(1, "comparison"), "1 comparison");
    assert_eq!(counted(1000, "machine"), "1,000 machines");
    assert_eq!(sentence("It is so"), "It is so.");
}

#[test]
fn units_stay_with_their_numbers() {
    let whole = |text: &str| with_whole_units(text).replace(NO_BREAK, "_");
    assert_eq!(whole("48 % of 2 MiB, 64 B each"), "48_% of 2_MiB, 64_B each");
    assert_eq!(whole("a % 3 Bytes x=\"1 ms=\" 7"), "a % 3 Bytes x=\"1 ms=\" 7");
    assert_eq!(whole(" 5 ns"), " 5_ns");
    assert_eq!(whole(""), "");
}
