//! Shares that mean something, and others.

use super::*;

#[test]
fn shares_and_sizes_are_read() {
    for (text, amount, shown) in [
        ("10%", Amount::Share(0.1), "10 %"),
        ("0.5%", Amount::Share(0.005), "0.5 %"),
        ("100%", Amount::Share(1.0), "100 %"),
        ("max", Amount::Most, "as much as memory allows"),
        ("512M", Amount::Bytes(512 << 20), "512 MiB"),
        ("2GiB", Amount::Bytes(2 << 30), "2 GiB"),
    ] {
        assert_eq!(text.parse(), Ok(amount), "{text}");
        assert_eq!(amount.to_string(), shown);
    }
    assert_eq!(Amount::Share(0.5).of(1 << 30), 1 << 29);
    assert_eq!(Amount::Bytes(u64::MAX).of(77), 77);
    assert_eq!(Amount::Most.of(77), 77);
}

#[test]
fn nonsense_is_refused_in_one_sentence() {
    for text in
        ["0%", "200%", "-5%", "NaN%", "inf%", "%", "", "lots", "10", "0M", "-1M", "99999999999T", "1X", "M"]
    {
        let error = text.parse::<Amount>().expect_err(text);
        assert!(error.contains("percentage") && !error.contains('\n'), "{error}");
    }
}
